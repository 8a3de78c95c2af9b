"""A tiny T5 and tiny tasks over files, for tests that train."""

import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

import tasks
from mpt_jax import backbones, vocabularies
from mpt_jax.batches import BatchConfig
from mpt_jax.evaluation import EvalConfig
from mpt_jax.experiment import Experiment
from mpt_jax.model import Model
from mpt_jax.network import T5Config
from mpt_jax.optimizers import OptimizerConfig
from mpt_jax.pipeline import MixConfig
from mpt_jax.prompts import PromptConfig

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


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
  """Folder of a tiny random T5."""
  return save_tiny_backbone(tmp_path_factory.mktemp("backbone") / "t5")


@pytest.fixture(scope="session")
def tiny_tasks(tmp_path_factory):
  """Names of four tasks of 24 training and 8 validation examples."""
  folder = tmp_path_factory.mktemp("tasks")
  return [register_tiny_task(folder, seed=seed) for seed in range(4)]
