"""The `mpt` commands that exchange T5s and prompts with other programs.

Like `main`, this file imports what a command needs when the command runs.
"""

from mpt_jax.cli.arguments import count

# Options of `mpt export` that need --to stablehlo. All but the first describe
# the programs.
STABLEHLO_OPTIONS = (
  "add",
  "inputs_length",
  "targets_length",
  "platforms",
  "dtype",
)


def add_commands(command):
  """Adds convert, export and import.

  Args:
    command: the function of `main.make_parser`: (name, function, text) ->
      parser.
  """
  _add_convert(command)
  _add_export(command)
  _add_import(command)


def _add_convert(command):
  sub = command(
    "convert",
    _convert,
    "Convert a T5 to a folder that mpt reads, or that transformers reads.",
  )
  sub.add_argument(
    "source",
    metavar="SRC",
    help="Hugging Face folder, a model on the Hugging Face hub (owner/model or"
    " owner/model@revision), a t5x checkpoint (its newest step is used), a"
    " folder of mpt, or 'default'",
  )
  sub.add_argument("--out", required=True, metavar="DIR", help="a new folder")
  sub.add_argument(
    "--to",
    choices=("mpt", "huggingface"),
    default="mpt",
    help="whose folder to write (default: %(default)s)",
  )
  sub.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="type of the weights on disk (default: %(default)s)",
  )
  sub.add_argument(
    "--vocabulary",
    metavar="PATH",
    help="sentencepiece model; 'bytes' for ByT5; or a tokenizer's folder, whose"
    " special tokens are cut out of texts as transformers does (default: the"
    " source's)",
  )


def _add_export(command):
  sub = command(
    "export",
    _export,
    "Export prompts as a PEFT adapter, as a NumPy file, or compiled with their"
    " T5.",
  )
  sub.add_argument(
    "prompts", metavar="FILE|DIR", help="a prompt file or run folder"
  )
  sub.add_argument(
    "--to", required=True, choices=("peft", "npz", "safetensors", "stablehlo")
  )
  sub.add_argument(
    "--out", required=True, metavar="FILE|DIR", help="a new file or folder"
  )
  sub.add_argument(
    "--task",
    nargs="+",
    action="extend",
    default=[],
    metavar="NAME",
    help="export only these prompts, in this order",
  )
  sub.add_argument(
    "--merge",
    action="store_true",
    help="export each prompt as a plain one: the shared one times its factors",
  )
  sub.add_argument(
    "--backbone",
    metavar="DIR",
    help="check that the prompts belong to this T5 (default for stablehlo: the"
    " run's)",
  )
  sub.add_argument(
    "--base-model",
    metavar="NAME",
    help="name of the model in PEFT's config (default: the backbone's folder)",
  )
  _add_stablehlo(sub.add_argument_group("only with --to stablehlo"))


def _add_stablehlo(group):
  group.add_argument(
    "--add",
    action="store_true",
    help="add the prompts to the folder --out, which has the programs already",
  )
  group.add_argument(
    "--inputs-length",
    type=count,
    nargs="+",
    metavar="N",
    help="tokens of an input; each number gets a program (default: 32, 64, ..."
    " up to the run's)",
  )
  group.add_argument(
    "--targets-length",
    type=count,
    metavar="N",
    help="longest generated text in tokens (default: the run's)",
  )
  group.add_argument(
    "--platforms",
    nargs="+",
    choices=("cpu", "cuda", "rocm", "tpu"),
    help="where the programs will run (default: cpu cuda tpu)",
  )
  group.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="type of the weights and of the computation (default: the T5's)",
  )


def _add_import(command):
  sub = command(
    "import",
    _import,
    "Import prompts of PEFT or google-research/prompt-tuning.",
  )
  sub.add_argument(
    "source",
    nargs="+",
    metavar="SRC",
    help="adapter folders, .npz or .npy files; several become one file",
  )
  sub.add_argument(
    "--from",
    required=True,
    dest="source_format",
    choices=("peft", "npz", "npy"),
  )
  sub.add_argument("--out", required=True, metavar="FILE", help="a new file")
  sub.add_argument(
    "--backbone", metavar="DIR", help="the T5 that they were trained on"
  )
  sub.add_argument(
    "--task",
    nargs="+",
    action="extend",
    default=[],
    metavar="NAME",
    help="names of the prompts, in their order",
  )
  sub.add_argument(
    "--encoder-half",
    action="store_true",
    help="peft: drop the decoder's half of an adapter that has one",
  )


def _convert(arguments):
  from mpt_jax.backbones import convert

  where = arguments.source, arguments.out, arguments.dtype
  if arguments.to == "huggingface":
    if arguments.vocabulary is not None:
      raise ValueError("--vocabulary goes with --to mpt only")
    lines = convert.convert_to_hugging_face(*where)
  else:
    lines = convert.convert(*where, arguments.vocabulary)
  for line in lines:
    print(line)


def _export(arguments):
  from mpt_jax.export import card, prompt_files
  from mpt_jax.prompts.bank import load_bank, merge, select

  stablehlo = arguments.to == "stablehlo"
  for name in STABLEHLO_OPTIONS:
    value = getattr(arguments, name)
    if value is not None and value is not False and not stablehlo:
      flag = name.replace("_", "-")
      raise ValueError(f"--{flag} goes with --to stablehlo only")
  if arguments.base_model is not None and arguments.to != "peft":
    raise ValueError("--base-model goes with --to peft only")
  bank = load_bank(arguments.prompts)
  if arguments.task:
    bank = select(bank, arguments.task)
  if stablehlo:
    for line in _export_stablehlo(bank, arguments):
      print(line)
    return
  if arguments.merge:
    bank = merge(bank)
  for line in prompt_files.export_prompts(
    bank,
    arguments.to,
    arguments.out,
    backbone=arguments.backbone,
    base_model=arguments.base_model,
    facts=card.read_facts(arguments.prompts),
  ):
    print(line)


def _export_stablehlo(bank, arguments):
  from mpt_jax.export import stablehlo
  from mpt_jax.process.progress import Progress
  from mpt_jax.prompts import run_settings

  if arguments.add:
    unused = [
      n for n in STABLEHLO_OPTIONS[1:] if getattr(arguments, n) is not None
    ]
    if unused:
      raise ValueError(
        f"--{unused[0].replace('_', '-')} does not go with --add: the programs"
        " are there already"
      )
    return stablehlo.add_prompts(bank, arguments.out, arguments.backbone)
  settings = run_settings.read(arguments.prompts)
  inputs_length, targets_length = run_settings.lengths(settings)
  if arguments.targets_length is not None:
    targets_length = arguments.targets_length
  with Progress("programs", transient=True) as bar:
    return stablehlo.export_stablehlo(
      bank,
      arguments.out,
      arguments.backbone or run_settings.backbone(settings),
      inputs_lengths=arguments.inputs_length
      or stablehlo.default_lengths(inputs_length),
      targets_length=targets_length,
      platforms=arguments.platforms or stablehlo.PLATFORMS,
      dtype=arguments.dtype,
      report=bar.update,
    )


def _import(arguments):
  from mpt_jax.export import prompt_files
  from mpt_jax.io.files import check_free

  if arguments.encoder_half and arguments.source_format != "peft":
    raise ValueError("--encoder-half goes with --from peft only")
  check_free(arguments.out, folder=False)
  bank = prompt_files.import_prompts(
    arguments.source,
    arguments.source_format,
    backbone=arguments.backbone,
    names=arguments.task,
    encoder_half=arguments.encoder_half,
  )
  bank.save(arguments.out)
  print(f"{arguments.out}: {bank.listing}")
