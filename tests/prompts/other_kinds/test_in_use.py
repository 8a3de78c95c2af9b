"""What other kinds of prompt have in common, and how they are used."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prompt_fixtures import random_params
from train_fixtures import tiny_backbone, tiny_experiment, tiny_tasks

from mpt_jax.cli import main as cli
from mpt_jax.data.mixing import MixConfig
from mpt_jax.export import prompt_files
from mpt_jax.inference.evaluator import EvalConfig, evaluate
from mpt_jax.inference.predictor import Predictor
from mpt_jax.prompts.bank import (
  PromptBank,
  concatenate,
  load_bank,
  merge,
  select,
)
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.initialization import init_bank
from mpt_jax.prompts.kinds import KINDS, expand_bank
from mpt_jax.prompts.slots import Slot
from mpt_jax.training import loop
from mpt_jax.training.optimizers import OptimizerConfig

__all__ = ["tiny_backbone", "tiny_tasks"]

OTHERS = ("dpt", "ulpt", "residual", "dept")
# Tokens whose embeddings DePT adds to.
INPUTS_LENGTH = 5
GROUPS = (0, 1, 2)
# With the paper's settings for T5-Base: the formula, and the count in print.
COUNTS = {
  # ULPT's tables (arXiv 2502.04501) have 9.0K; the formula gives 8.7K.
  "dpt": (100 * 10 + 10 * 768, 8_680),
  "ulpt": (100 * 64 + 2 * 768, 7_936),
  "residual": (100 * 768 + 2 * 768 * 400 + 400 + 3 * 768, 693_904),
  "dept": (40 * 768 + (256 + 768) * 45, 76_800),
}


def _config(kind, length=5, rank=2, groups=GROUPS):
  return PromptConfig(
    num_slots=len(groups),
    prompt_length=length,
    rank=rank,
    groups=groups,
    kind=kind,
    inputs_length=INPUTS_LENGTH,
  )


def _maker(kind, name):
  """A method of the kind, and that of its rows: (all, some)."""
  some = {"compose": "rows", "offsets": "offset_rows"}[name]
  return getattr(KINDS[kind], name), getattr(KINDS[kind], some)


@pytest.mark.parametrize("kind", OTHERS)
def test_counts_at_t5_base(kind, capsys):
  formula, expected = COUNTS[kind]
  assert cli.main(["inspect", "--config", "t5_base", "--kind", kind]) == 0
  assert f"one task {expected:,} =" in " ".join(capsys.readouterr().out.split())
  assert formula == expected


def test_counts_in_other_papers():
  def count(kind, rank, emb_dim):
    return _config(kind, 100, rank).num_parameters(emb_dim) / 3

  # Xiao et al. (2023), figure 1: 11.2K and 925K at T5-Large.
  assert count("dpt", 10, 1024) == 11_240
  assert count("residual", 400, 1024) == 925_072
  # ULPT's tables: 1.7K with a rank of 2.
  assert count("ulpt", 2, 768) == 1_736


# Of a bank of 7 prompts of 5 rows, 2 rows take parts of a slot each, 4 rows
# parts of three slots, and 9 rows the whole bank.
@pytest.mark.parametrize("count", [2, 4, 9])
@pytest.mark.parametrize(
  "kind, name",
  [
    *((kind, "compose") for kind in (*OTHERS, "multitask")),
    ("dept", "offsets"),
  ],
)
def test_rows_and_gradients_are_those_of_all_prompts(kind, name, count):
  groups = (0, 1, 1, 0, 2, 2, 2) if kind == "multitask" else tuple(range(7))
  params = random_params(_config(kind, groups=groups), 6)
  make_all, make_rows = _maker(kind, name)
  rng = np.random.default_rng(count)
  slots, positions = rng.permutation(28)[:count] % 7, rng.integers(0, 4, count)
  weights = rng.normal(size=(count, 6)).astype("f4")

  def by_rows(params):
    rows = make_rows(params, groups, slots, positions)
    return jnp.sum(rows * weights), rows

  def by_bank(params):
    rows = make_all(params, groups)[slots, positions]
    return jnp.sum(rows * weights), rows

  made = jax.jit(jax.value_and_grad(by_rows, has_aux=True))(params)
  expected = jax.jit(jax.value_and_grad(by_bank, has_aux=True))(params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    made,
    expected,
  )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", OTHERS)
def test_sound_prompts_are_those_of_finite_numbers(kind, dtype):
  rng = np.random.default_rng(3)
  found = []
  for seed in range(12):
    params = random_params(_config(kind), 6, seed)
    # One number of one slot is too large, or would be with a partner that it
    # does not have.
    name = rng.choice(list(params))
    slot = rng.integers(3)
    flat = params[name][slot].reshape(-1)
    flat[rng.integers(flat.size)] = rng.choice([3e4, 1e20, 3e38, np.nan])
    sound = KINDS[kind].find_sound(params, GROUPS, dtype)
    prompts = expand_bank(params, GROUPS).astype(dtype)
    finite = np.isfinite(prompts.astype("float32")).all(axis=(1, 2))
    np.testing.assert_array_equal(sound, finite)
    found += finite.tolist()
  assert 0 < sum(found) < len(found)


@pytest.mark.parametrize("kind", OTHERS[:3])
def test_a_slot_starts_from_a_trained_one(kind, tmp_path):
  slots = tuple({"task": name} for name in "abc")
  source = tmp_path / "source.safetensors"
  bank = PromptBank(
    random_params(_config(kind), 6), ("a", "b", "c"), GROUPS, "feed", slots
  )
  bank.save(source)
  slot = Slot(task="x", init="task:b", source=str(source))
  embedding = np.zeros((30, 6), np.float32)

  def start(kind, rank):
    config = PromptConfig(num_slots=1, prompt_length=5, rank=rank, kind=kind)
    params = init_bank((slot,), config, embedding)
    return params, np.asarray(KINDS[config.kind].compose(params, (0,)))[0]

  copied, prompt = start(kind, 2)
  for name, array in copied.items():
    np.testing.assert_array_equal(array[0], bank.params[name][1])
  np.testing.assert_allclose(prompt, bank.composed[1], rtol=1e-5, atol=1e-6)
  # Another kind starts at the composed prompt, which every plain one is.
  np.testing.assert_array_equal(start("plain", 0)[1], bank.composed[1])


@pytest.fixture(scope="module", params=OTHERS)
def trained(request, tiny_backbone, tiny_tasks, tmp_path_factory):
  """(kind, folder, result) of a short run of two slots."""
  experiment = tiny_experiment(
    (Slot(task=tiny_tasks[0]), Slot(task=tiny_tasks[1], seed=1)),
    tiny_backbone,
    rank=2,
    prompt_kind=request.param,
    total_steps=12,
    mix=MixConfig(batch_size=16),
    optimizer=OptimizerConfig(learning_rate=0.3),
  )
  folder = tmp_path_factory.mktemp(request.param) / "run"
  run = dict(checkpoint_period=4, log_period=1, tensorboard=False)
  return (
    experiment,
    folder,
    run,
    loop.train(experiment, model_dir=folder, **run),
  )


def _losses(folder):
  lines = [json.loads(x) for x in (folder / "metrics.jsonl").open()]
  return [x["loss"] for x in lines if x["kind"] == "train"]


def test_training_lowers_the_loss(trained):
  _, folder, _, result = trained
  losses = _losses(folder)
  assert len(losses) == 12 and not result.diverged
  # The T5 is random, so there is not more to gain than from 9.5 to 8.8; the
  # losses of batches differ by less than 0.1.
  assert np.mean(losses[-3:]) < losses[0] - 0.4


def test_resuming_is_exact(trained, tmp_path):
  experiment, folder, run, result = trained
  again = tmp_path / "run"
  shutil.copytree(folder, again)
  # As if the run had been killed after its second checkpoint.
  shutil.rmtree(again / "checkpoints" / "12")
  resumed = loop.train(experiment, model_dir=again, **run)
  for name, array in result.last.params.items():
    np.testing.assert_array_equal(resumed.last.params[name], array)
  assert _losses(again) == _losses(folder)


def test_files_merge_predict_and_count(
  trained, tiny_backbone, tmp_path, capsys
):
  experiment, folder, _, result = trained
  bank = load_bank(folder)
  assert bank.config == result.best.config
  assert bank.config.kind == experiment.prompt_kind
  assert cli.main(["inspect", str(folder), "--backbone", tiny_backbone]) == 0
  shown = capsys.readouterr().out
  for name, array in bank.params.items():
    assert " ".join([name, *" × ".join(map(str, array.shape)).split()]) in (
      " ".join(shown.split())
    )
  npz = tmp_path / "bank.npz"
  prompt_files.export_prompts(bank, "npz", npz)
  assert prompt_files.import_prompts([npz], "npz").fields == bank.fields
  parts = [select(bank, [name]) for name in reversed(bank.names)]
  other = concatenate(parts)
  np.testing.assert_array_equal(other.expanded, bank.expanded[::-1])
  if not bank.config.find_kind().has_offsets:
    other = merge(other)
    assert other.config.is_plain
    prompt_files.export_prompts(other, "peft", tmp_path / "peft")
  rows = [{"text": "red house", "task": name} for name in bank.names]
  lengths = dict(inputs_length=16, targets_length=4)
  made = [
    Predictor(prompts, tiny_backbone, **lengths).predict(rows)
    for prompts in (folder, other)
  ]
  assert made[0] == made[1]
  assert {row["prediction"] for row in made[0]} <= {"yes", "no"}


def test_evaluation_is_that_of_training(trained, tiny_backbone):
  result = trained[3]
  rows = evaluate(
    result.last,
    config=EvalConfig(split="validation"),
    backbone=tiny_backbone,
    inputs_length=16,
  )
  found = [row["value"] for row in rows if row["metric"] == "accuracy"]
  assert found == [metrics["accuracy"] for metrics in result.metrics]
