"""A tiny T5 and tiny tasks over files, for tests that train."""

import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

from mpt_jax import tasks
from mpt_jax.backbones import backbone as backbones
from mpt_jax.data import vocabularies
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.pipeline import MixConfig
from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model
from mpt_jax.prompts.parametrization import PromptConfig
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.optimizers import OptimizerConfig

# Runs of one experiment compile the same programs: let them share those.
CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "xla"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

LABELS = ("yes", "no")
WORDS = ("red", "green", "blue", "good", "bad", "house", "tree", "water")
_numbers = itertools.count()


def save_tiny_backbone(folder, seed=0, **changes):
  """Writes a random T5 of 0.3 million parameters over the own vocabulary."""
  values = dict(
    vocab_size=8000,
    emb_dim=32,
    num_heads=2,
    head_dim=8,
    mlp_dim=48,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  config = T5Config.preset("t5_tiny", **{**values, **changes})
  variables = jax.jit(Model(config, PromptConfig(1, 1, 0)).init_variables)(
    jax.random.key(seed)
  )
  params = {k: v for k, v in variables["params"].items() if k != "prompt"}
  params = jax.tree.map(np.asarray, params)
  backbones.save_backbone(
    folder, config, params, vocabularies.default_vocabulary_path()
  )
  return str(folder)


def write_rows(path, num, seed=0):
  """Writes JSONL rows of random words; the label is the first word's."""
  rng = np.random.default_rng(seed)
  rows = []
  for _ in range(num):
    words = rng.choice(WORDS, rng.integers(3, 9))
    label = LABELS[int(WORDS.index(words[0]) % 2)]
    rows.append({"text": " ".join(words), "label": label})
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def register_tiny_task(folder, num=24, seed=0, name=None, **changes):
  """Registers a file task of LABELS under a new name, which it returns."""
  name = name or f"tiny_{next(_numbers)}"
  folder.mkdir(parents=True, exist_ok=True)
  files = {
    "train": write_rows(folder / f"{name}_train.jsonl", num, seed),
    "validation": write_rows(folder / f"{name}_valid.jsonl", 8, seed + 100),
  }
  values = dict(template="text: {text}", label_names=LABELS)
  tasks.register_file_task(name, files, **{**values, **changes})
  return name


def tiny_experiment(slots, backbone, **changes):
  """An experiment of few short steps."""
  values = dict(
    slots=slots,
    total_steps=6,
    backbone=backbone,
    prompt_length=3,
    rank=0,
    batch=BatchConfig(inputs_length=16, targets_length=4, row_multiple=8),
    mix=MixConfig(batch_size=8),
    optimizer=OptimizerConfig(learning_rate=0.1, factor_learning_rate=0.05),
    eval=EvalConfig(period=3, num_rows=8),
  )
  return Experiment(**{**values, **changes})


TASKS = """
import pathlib
import seqio
from mpt_jax import tasks
folder = pathlib.Path(__file__).parent
for name in {names!r}:
  tasks.register_file_task(
    name,
    {{s: folder / f"{{name}}_{{s}}.jsonl" for s in ("train", "validation")}},
    template="text: {{text}}",
    label_names={labels!r},
  )
seqio.MixtureRegistry.add("both", {names!r}[:2], default_rate=1.0)
"""


def write_user_folder(
  folder, module, num, names=("first", "second", "third"), **changes
):
  """What a user brings: a T5, files of tasks, a module that registers them.

  Args:
    folder: gets t5/, NAME_train.jsonl and NAME_validation.jsonl, the module
      and own.gin, which imports it. The mixture "both" is of the first two.
    module: the module's name; the folder must be on PYTHONPATH.
    num: rows of each file of the first task; each further one has one more.
    names: of the tasks.
    **changes: of the T5's `T5Config`.
  """
  save_tiny_backbone(folder / "t5", **changes)
  for i, name in enumerate(names):
    for split in ("train", "validation"):
      write_rows(folder / f"{name}_{split}.jsonl", num + i, seed=i)
  code = TASKS.format(names=list(names), labels=LABELS)
  (folder / f"{module}.py").write_text(code)
  (folder / "own.gin").write_text(
    f"from __gin__ import dynamic_registration\nimport {module}\n"
  )
  return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
  """Folder of a tiny random T5."""
  return save_tiny_backbone(tmp_path_factory.mktemp("backbone") / "t5")


@pytest.fixture(scope="session")
def tiny_tasks(tmp_path_factory):
  """Names of four tasks of 24 training and 8 validation examples."""
  folder = tmp_path_factory.mktemp("tasks")
  return [register_tiny_task(folder, seed=seed) for seed in range(4)]
