"""The `mpt` commands that exchange T5s and prompts with other programs.

Like `cli`, this imports what a command needs when it runs.
"""

# Of `mpt export`; those after the first are about the programs.
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
    command: as in `cli.make_parser`: (name, function, text) -> its parser.
  """
  sub = command(
    "convert",
    _convert,
    "A T5 of Hugging Face's or t5x's as a folder of ours.",
  )
  sub.add_argument(
    "source",
    metavar="SRC",
    help="Hugging Face folder, or a t5x checkpoint (its newest step)",
  )
  sub.add_argument("--out", required=True, metavar="DIR", help="a new folder")
  sub.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="of the weights on disk (default: %(default)s)",
  )
  sub.add_argument(
    "--vocabulary",
    metavar="FILE",
    help="sentencepiece model, or 'bytes' (ByT5); by default the source's",
  )

  sub = command(
    "export",
    _export,
    "Prompts as a PEFT adapter, as a NumPy file, or compiled with their T5.",
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
    help="only these prompts, in this order",
  )
  sub.add_argument(
    "--merge",
    action="store_true",
    help="each as one plain prompt, the shared one times its factors",
  )
  sub.add_argument(
    "--backbone",
    metavar="DIR",
    help="check that they belong to this T5; stablehlo: by default the run's",
  )
  sub.add_argument(
    "--base-model",
    metavar="NAME",
    help="what PEFT's config names as the model; by default the backbone",
  )
  sub = sub.add_argument_group("only with --to stablehlo")
  sub.add_argument(
    "--add",
    action="store_true",
    help="put the prompts into the folder --out, which has the programs",
  )
  sub.add_argument(
    "--inputs-length",
    type=int,
    nargs="+",
    metavar="N",
    help="tokens of an input, a program for each; default: 32, 64, ... up to"
    " the run's",
  )
  sub.add_argument(
    "--targets-length",
    type=int,
    metavar="N",
    help="longest generated text in tokens; default: the run's",
  )
  sub.add_argument(
    "--platforms",
    nargs="+",
    choices=("cpu", "cuda", "rocm", "tpu"),
    help="where the programs will run; default: cpu cuda tpu",
  )
  sub.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="of weights and computation; default: the T5's",
  )

  sub = command(
    "import", _import, "Prompts of PEFT or google-research/prompt-tuning in."
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

  for line in convert.convert(
    arguments.source, arguments.out, arguments.dtype, arguments.vocabulary
  ):
    print(line)


def _export(arguments):
  from mpt_jax.export import prompt_files
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
  ):
    print(line)


def _export_stablehlo(bank, arguments):
  from mpt_jax.export import stablehlo
  from mpt_jax.io import run_settings
  from mpt_jax.io.progress import Progress

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
