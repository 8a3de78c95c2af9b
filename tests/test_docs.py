"""Every block of README.md and docs/*.md is run as a reader would run it.

A page's blocks run in their order, in one empty folder. Stand-ins replace
downloads and what a reader has beforehand; see `make_stand_ins`. Commands that
cannot run here are parsed. Links, paths and dotted names must exist.
"""

import ast
import functools
import importlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from flax import traverse_util
from t5x_layouts import write_legacy
from train_fixtures import CACHE, save_tiny_backbone

import mpt_jax
from mpt_jax.backbones import backbone
from mpt_jax.cli import main as cli
from mpt_jax.launchers import gin_config
from mpt_jax.text import vocabularies

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ("README.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))
# Pages that continue another one, in its folder.
CONTINUES = {
  "docs/pytorch_service.md": "docs/real_t5.md",
  "docs/ahead_of_time.md": "docs/real_t5.md",
  "docs/getting_started.md": "README.md",
  "docs/from_peft.md": "docs/getting_started.md",
  "docs/weights_and_prompts.md": "docs/getting_started.md",
  "docs/reports.md": "docs/getting_started.md",
}
FILES = ("CONTRIBUTING.md", "benchmarks/README.md")

# Commands that are only parsed here, by a text in them, and the reason.
NOT_RUN = {
  "pip install": ".ci/run installs, in a fresh environment",
  "hf download": "it takes 0.9 GB from the network",
  "google/flan-t5-base": "the same; test_hub.py has a small hub",
  "mpt quickstart": ".ci/run and tests/quickstart/ run it",
  "python -m pytest": "these are the tests themselves",
  "python -m t5x.": "t5x is not on PyPI; tests/t5x runs it where it is",
  "packed.gather": "it fetches 200 MB; pretraining_fixtures.py has such data",
  "packed.overlap": "it needs that data; test_overlap.py counts in small texts",
  "benchmarks/pretrain.py": "it takes hours; test_pretrain.py trains a tiny T5",
  "benchmarks/gate.py": "it takes hours; test_gate.py runs it with a tiny T5",
  "gin/pretrain.gin": "it takes hours; test_gin_tables.py trains a tiny T5",
  "--only 'sources/*' 'arena/k*' arena/digits": "hours; test_arena.py runs it",
  "mpt compare runs/arena": "it needs that run; test_arena.py has a small one",
  "mpt serve": "it runs until a signal; tests/serve/http runs it",
  "curl ": "it needs a server; tests/serve/http asks the same",
  "benchmarks/serve.py": "it needs a server; tests/serve/http has one",
  "docker ": "there may be no docker, and it fetches an image",
  "--multiprocess": "it needs several machines; test_processes.py has two",
  "--coordinator_address": "the same",
  "benchmarks/tpu_table.py": "it takes hours; tests/test_tpu_table.py",
  "--topology v5e": "it needs libtpu and minutes; tests/cli/test_compile.py",
  "gcloud ": "it needs an account; what it runs on pods is parsed",
  "xpk ": "the same",
  "kubectl ": "it needs a cluster; what the file runs is parsed",
}

# What is appended to training commands: two steps of a tiny prompt, and a tiny
# T5 where the command names none, since the default one takes long to compile.
SMALL = (
  "--gin.TRAIN_STEPS=2",
  "--gin.PROMPT_LENGTH=3",
  '--gin.TASK_FEATURE_LENGTHS=\'{"inputs": 16, "targets": 4}\'',
  "--gin.EVAL_EXAMPLES=4",
)
# The same for a script that trains: what replaces `total_steps=...`.
SMALL_SCRIPT = (
  'total_steps=2, prompt_length=3, backbone="tiny-t5",'
  " batch=mpt.BatchConfig(inputs_length=16, targets_length=4)"
)
SMALL_T5 = "--gin.INITIAL_CHECKPOINT_PATH='\"tiny-t5\"'"
TRAIN = "python -m mpt_jax.train "
FIT = "mpt fit "
SMALL_FIT = ("--steps 10", "--prompt-length 3", "--backbone tiny-t5")
SMALL_FIT_SCRIPT = 'steps=10, prompt_length=3, backbone="tiny-t5"'

# Datasets that are downloaded become 24 rows of random words in each split.
DATASETS = """
import importlib.abc
import importlib.machinery
import random
import string
import sys

WORDS = "red green blue good bad house tree water".split()


def load_splits(sources, name):
  source, rng = sources[name], random.Random(name)
  fields = [f for _, f, _, _ in string.Formatter().parse(source.template) if f]
  make = lambda i: {
    **{f: " ".join(rng.choices(WORDS, k=6)) for f in fields},
    "label": source.label_names[i % len(source.label_names)],
  }
  splits = ("train", "validation", "test")
  return {split: [make(i) for i in range(24)] for split in splits}


class Finder(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name != "mpt_jax.tasks.public.sources":
      return None
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    run = spec.loader.exec_module

    def exec_module(module):
      run(module)
      module.load_splits = lambda name: load_splits(module.SOURCES, name)

    spec.loader.exec_module = exec_module
    return spec


sys.meta_path.insert(0, Finder())
"""


# ----------------------------------------------------------------- reading


def blocks(page):
  """(language, text) of the page's code blocks."""
  text = (ROOT / page).read_text(encoding="utf-8")
  return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text):
  """The commands of a block of shell."""
  lines = text.replace("\\\n", " ").splitlines()
  return [x for x in lines if x.strip() and not x.lstrip().startswith("#")]


def not_run(command):
  return any(text in command for text in NOT_RUN)


def file_name(text):
  """The file that a block is to be saved as, or None."""
  match = re.match(r"# ([\w.-]+\.\w+)\n", text)
  return match and match[1]


def all_commands():
  return [
    command
    for page in PAGES
    for language, text in blocks(page)
    if language == "sh"
    for command in commands(text)
  ]


def test_every_block_is_of_a_known_kind():
  for page in PAGES:
    for language, text in blocks(page):
      known = ("sh", "python", "gin", "yaml", "text", "")
      assert language in known, (page, text)
      if language in ("gin", "yaml"):
        assert file_name(text), f"{page}: no file name in {text!r}"
      if language in ("text", ""):
        # Blocks that are not run contain no command.
        assert not re.search(r"^(mpt|python|pip|hf|\$) ", text, re.MULTILINE)


def test_what_is_not_run_is_in_the_docs():
  for text in NOT_RUN:
    assert any(text in command for command in all_commands()), text


def check_training(command):
  """Checks a training command without running it.

  All macros must be known, the gin files must be there, and the process
  arguments must be valid.
  """
  *_, program, arguments = command.partition("python -m ")
  program, *words = shlex.split(arguments)
  files, macros, others = [], [], []
  for word in words:
    name, _, value = word.partition("=")
    if name == "--gin_file":
      files.append(value)
    elif name.startswith("--gin."):
      macros.append(name.removeprefix("--gin."))
    else:
      others.append(name)
  launcher = ROOT / "gin" / "launchers" / f"{program}.gin"
  paths = [*(ROOT / name for name in files), ROOT / "gin" / "base.gin"]
  paths += [launcher, *ROOT.glob("gin/launchers/t5x.gin")]
  text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
  for macro in macros:
    assert re.search(rf"^{macro} =", text, re.MULTILINE), (macro, command)
  processes = set(gin_config.PROCESS_ARGUMENTS)
  if program.startswith("t5x."):
    processes = (processes - {"--multiprocess"}) | {"--multiprocess_gpu"}
  assert set(others) <= processes, command
  if "--coordinator_address" in others:
    assert {"--process_count", "--process_index"} <= set(others), command


def check_compile(command):
  """Checks `mpt compile`: its own arguments, and those of the gin files."""
  words = shlex.split(command)[1:]
  _, rest = cli.make_parser().parse_known_args(words)
  check_training("python -m mpt_jax.train " + shlex.join(rest))


def check_remote(word) -> bool:
  """Checks what a word of another program's command runs elsewhere."""
  _, equals, inner = word.partition("--command=")
  if not equals or TRAIN.strip() not in inner:
    return False
  check_training(inner)
  return True


def test_files_for_a_cluster_run_what_exists():
  checked = 0
  for page in PAGES:
    for language, text in blocks(page):
      if language != "yaml":
        continue
      for document in yaml.safe_load_all(text):
        if document["kind"] != "Job":
          continue
        pod = document["spec"]["template"]["spec"]
        for container in pod["containers"]:
          check_training(shlex.join(container["command"]))
          checked += 1
  assert checked == 2


def test_commands_that_are_not_run_are_well_formed():
  parsed = 0
  for command in all_commands():
    if not_run(command):
      parts = [part.strip() for part in command.split("&&")]
      if command.startswith(("gcloud ", "xpk ")):
        parts = [command]  # It may quote the && of a command elsewhere.
      for part in parts:
        if part.startswith("mpt compile "):
          check_compile(part)
          parsed += 1
        elif part.startswith("mpt "):
          words = shlex.split(part)[1:]
          _, rest = cli.make_parser().parse_known_args(words)
          if words[0] == "sweep":
            gin_config.parse_args(rest)
          else:
            assert not rest, part
          parsed += 1
        elif part.startswith(("gcloud ", "xpk ")):
          parsed += sum(map(check_remote, shlex.split(part)))
        elif "python -m t5x." in part or part.startswith(TRAIN):
          check_training(part)
          parsed += 1
        for path in re.findall(r"\btests/\S+", part):
          assert (ROOT / path).exists(), part
  assert parsed > 10


def test_commands_within_the_text_exist():
  known = set(cli.make_parser()._subparsers._group_actions[0].choices)
  for page in PAGES:
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for found in re.findall(r"`mpt\s+([^`]*)`", text):
      name, *rest = found.split()
      assert name in known, f"{page}: mpt {found}"
      parser = cli.make_parser()._subparsers._group_actions[0].choices[name]
      for flag in rest:
        if flag.startswith("--") and not flag.startswith("--gin"):
          assert flag in parser._option_string_actions, f"{page}: mpt {found}"


def test_links_lead_somewhere():
  for page in PAGES:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
      if "://" in target:
        continue
      path, _, anchor = target.partition("#")
      path = (ROOT / page).parent / path if path else ROOT / page
      assert path.exists(), (page, target)
      if anchor:
        assert anchor in anchors(path), (page, target)


def anchors(path):
  """The anchors that GitHub makes of a page's headings."""
  text = path.read_text(encoding="utf-8")
  text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
  headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
  plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
  return {heading.replace(" ", "-") for heading in plain}


def test_the_readme_is_short():
  assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_every_page_is_in_the_table_of_contents():
  for contents, folder in (("README.md", "docs/"), ("docs/README.md", "")):
    text = (ROOT / contents).read_text(encoding="utf-8")
    for page in PAGES:
      name = page.removeprefix("docs/")
      if name != "README.md":
        assert f"]({folder}{name})" in text, (contents, page)


# ----------------------------------------------------------------- running


def make_t5_base(folder):
  """A Hugging Face folder of a tiny random T5."""
  reason = "a Hugging Face folder is made by transformers (the test extra)"
  pytest.importorskip("torch", reason=reason)
  pytest.importorskip("peft", reason=reason)
  transformers = pytest.importorskip("transformers", reason=reason)
  config = transformers.T5Config(
    vocab_size=8064,
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=1,
    num_decoder_layers=1,
    num_heads=2,
    decoder_start_token_id=0,
  )
  transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
  vocabulary = vocabularies.default_vocabulary_path()
  shutil.copyfile(vocabulary, folder / "spiece.model")


def make_stand_ins(page, folder):
  """Makes what the reader of a page has before its first command."""
  if page == "docs/real_t5.md":
    make_t5_base(folder / "t5-base")
  elif "docs/real_t5.md" not in (page, CONTINUES.get(page)):
    save_tiny_backbone(folder / "tiny-t5")
  if page == "docs/weights_and_prompts.md":
    params = backbone.load_backbone(folder / "tiny-t5").params
    flat = traverse_util.flatten_dict(params, sep="/")
    write_legacy(folder / "t5x_checkpoint", flat)
    vocabulary = vocabularies.default_vocabulary_path()
    shutil.copyfile(vocabulary, folder / "spiece.model")
  if page == "README.md":
    for split in ("train", "dev", "test"):
      with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
        for i, (text, label) in enumerate(
          (("it broke", "bad"), ("lovely", "good")) * 8
        ):
          row = {"text": f"{text} {i}", "label": label}
          file.write(json.dumps(row) + "\n")


@functools.cache
def environment(stand_ins):
  (stand_ins / "sitecustomize.py").write_text(DATASETS)
  path = [os.path.dirname(sys.executable), os.environ["PATH"]]
  return {
    **os.environ,
    "PATH": os.pathsep.join(path),
    "PYTHONPATH": f"{stand_ins}{os.pathsep}{ROOT}",
    "XLA_FLAGS": "",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "80",
  }


def execute(command, folder, stand_ins):
  """Runs a command of the shell; returns its output."""
  made = subprocess.run(
    ["bash", "-euo", "pipefail", "-c", command],
    cwd=folder,
    env=environment(stand_ins),
    capture_output=True,
    text=True,
    check=False,
  )
  assert made.returncode == 0, (
    f"{command}\n{made.stdout[-2000:]}\n{made.stderr[-3000:]}"
  )
  return made.stdout


@pytest.fixture(scope="session")
def run_page(tmp_path_factory):
  """Runs a page once; gives its folder and output."""
  stand_ins = tmp_path_factory.mktemp("stand_ins")

  @functools.cache
  def run(page):
    if page in CONTINUES:
      folder = run(CONTINUES[page])[0]
    else:
      folder = tmp_path_factory.mktemp("page")
    make_stand_ins(page, folder)
    output, found = "", blocks(page)
    for number, (language, text) in enumerate(found):
      name = file_name(text)
      if language == "sh":
        for command in commands(text):
          if command.startswith(TRAIN):
            command = " ".join([command, *SMALL])
            if "INITIAL_CHECKPOINT_PATH" not in command:
              command += " " + SMALL_T5
          if command.startswith(FIT):
            command = " ".join([command, *SMALL_FIT])
          if not not_run(command):
            output += execute(command, folder, stand_ins)
      elif language in ("python", "gin"):
        path = folder / (name or "block.py")
        text = re.sub(r"total_steps=\d+", SMALL_SCRIPT, text)
        text = text.replace(', out="', f', {SMALL_FIT_SCRIPT}, out="')
        path.write_text(text, encoding="utf-8")
        stem = path.name.partition(".")[0]
        used = any(stem in later for _, later in found[number + 1 :])
        # A file that a later block uses or runs is only saved.
        if language == "python" and not (name and used):
          command = f"python {shlex.quote(path.name)}"
          output += execute(command, folder, stand_ins)
    return folder, output

  return run


EXPECTED = {
  "README.md": ("vader_amazon", "prediction", "'score'"),
  "docs/getting_started.md": ("vader_amazon", "prediction"),
  "docs/python.md": ("vader_amazon_k16_s1 accuracy",),
  "docs/reports.md": ("report: compared.html", "report: runs/mine/report.html"),
  "docs/datasets.md": ("super_glue_record", "own/adapt", "mails, headlines"),
  "docs/choosing.md": ("737,668,096", "103,524"),
  "docs/concepts.md": ("83,744",),
  "docs/from_peft.md": ("'score'", "MULTITASK_PROMPT_TUNING"),
  "docs/from_prompt_tuning.md": ("sst2",),
  "docs/arena.md": ("0.75", "arena/k64", "hotels, spam_words"),
  "docs/paper_tables.md": ("glue/adapt", "python -m mpt_jax.train"),
  "docs/weights_and_prompts.md": ("MULTITASK_PROMPT_TUNING", "prompts.npz"),
  "docs/jsonl_to_prompt.md": ("reviews_k16_s2", "prediction"),
  "docs/real_t5.md": ("Hugging Face", "prediction", "bfloat16"),
  "docs/pytorch_service.md": ("adapters/sarcasm", "negative"),
  "docs/ahead_of_time.md": ("prediction_ids", "scores", "sarcasm"),
  # DPT and DePT at T5-Base, residual prompts at T5-Large; see the page.
  "docs/other_methods.md": ("8,680", "76,800", "925,072", "PROMPT_TUNING"),
  # 100 · 768 + 868 and 100 · 768 + 8 · 868.
  "docs/method.md": ("77,668", "83,744"),
}


@pytest.mark.parametrize("page", PAGES)
def test_page(page, run_page):
  _, output = run_page(page)
  for expected in EXPECTED.get(page, ()):
    assert expected in output, f"{expected!r} is not in\n{output[-3000:]}"


# ------------------------------------------------------------ what is named


@functools.cache
def texts_of_the_code():
  """All literal texts of the code, with … for inserted values."""
  found = []
  for folder in ("mpt_jax", "tasks"):
    for path in sorted((ROOT / folder).glob("**/*.py")):
      for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
          parts = [getattr(part, "value", "…") for part in node.values]
          found.append(
            "".join(part if isinstance(part, str) else "…" for part in parts)
          )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
          found.append(node.value)
  return found


def test_quoted_errors_are_the_codes():
  quoted = [
    text.strip()
    for language, text in blocks("docs/troubleshooting.md")
    if language == "text"
  ]
  assert len(quoted) > 20
  for message in quoted:
    pattern = ".*".join(re.escape(part) for part in message.split("…"))
    assert any(
      re.fullmatch(pattern, text, re.DOTALL) for text in texts_of_the_code()
    ), f"no error of the code reads {message!r}"


def written_pages():
  for page in (*PAGES, *FILES):
    yield page, (ROOT / page).read_text(encoding="utf-8")


def test_named_objects_exist():
  named = set()
  for _, text in written_pages():
    named |= set(re.findall(r"`(mpt_jax(?:\.\w+)+)`", text))
  assert len(named) > 15
  for name in sorted(named):
    assert exists(name), name


def exists(name):
  """Whether a dotted name is a module, or an object of one."""
  parts = name.split(".")
  for count in range(len(parts), 0, -1):
    path = ROOT.joinpath(*parts[:count])
    if path.is_dir() or path.with_suffix(".py").is_file():
      break
  module, rest = ".".join(parts[:count]), parts[count:]
  if not rest:
    return True
  if module.startswith("mpt_jax.t5x."):
    # It cannot be imported without t5x.
    tree = ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))
    return rest[0] in {getattr(node, "name", None) for node in tree.body}
  found = importlib.import_module(module)
  for part in rest:
    if not hasattr(found, part):
      return False
    found = getattr(found, part)
  return True


def test_named_paths_exist():
  roots = "mpt_jax|gin|tasks|tests|docs|benchmarks"
  pattern = rf"`((?:{roots})/[\w./-]*)`"
  named = {
    (page, path)
    for page, text in written_pages()
    for path in re.findall(pattern, text)
  }
  assert len(named) > 15
  for page, path in sorted(named):
    if path != "gin/launcher.gin":  # It stands for a file of gin/launchers/.
      assert (ROOT / path).exists(), (page, path)


def rooms():
  """{room: (floor, sentence)} of the map in find_your_way.md."""
  text = (ROOT / "docs/find_your_way.md").read_text(encoding="utf-8")
  row = r"^\| (\d+) \| `mpt_jax/(\w+)/` \| (.*) \|$"
  found = re.findall(row, text, re.MULTILINE)
  return {room: (int(floor), sentence) for floor, room, sentence in found}


def test_the_map_has_every_room_and_its_sentence():
  files = sorted(ROOT.glob("mpt_jax/*/__init__.py"))
  assert {path.parent.name for path in files} == set(rooms())
  for path in files:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert rooms()[path.parent.name][1] == docstring.splitlines()[0], path


def test_the_floors_are_those_of_the_import_contract():
  text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
  contract = tomllib.loads(text)["tool"]["importlinter"]["contracts"][0]
  # The first layer is of modules, not of rooms.
  layers = [set(layer.split(" | ")) for layer in contract["layers"][1:]]
  floors = {
    room: len(layers) - i for i, layer in enumerate(layers) for room in layer
  }
  assert floors == {room: floor for room, (floor, _) in rooms().items()}


def test_the_hour_has_its_lines():
  text = (ROOT / "docs/find_your_way.md").read_text(encoding="utf-8")
  rows = re.findall(
    r"^\| (\d+) \| `([\w/]+\.py)` \| (\d+) \|", text, re.MULTILINE
  )
  assert [int(number) for number, _, _ in rows] == list(range(1, 12))
  sizes = []
  for _, path, lines in rows:
    found = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    # The table may lag behind small changes.
    assert abs(found - int(lines)) <= 10 + found // 20, (path, found)
    sizes.append(found)
  (whole,) = re.findall(r"the core, about ([\d,]+) lines", text)
  assert abs(sum(sizes) - int(whole.replace(",", ""))) <= 100, sum(sizes)


def test_the_page_on_python_has_every_public_name():
  text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
  _, table = text.split("## What is public")
  named = set(re.findall(r"`(\w+)`", table))
  assert set(mpt_jax.__all__) - {"__version__"} <= named
