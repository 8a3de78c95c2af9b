"""A kind of prompt that the library does not know needs only one class.

The kinds here are those of other papers, in a few lines each. They pass
through training, files, export, merging, prediction and `mpt inspect`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_fixtures import (
  tiny_backbone,
  tiny_experiment,
  tiny_tasks,
)

from mpt_jax.cli import main as cli
from mpt_jax.data.mixing import MixConfig
from mpt_jax.export import prompt_files
from mpt_jax.inference.predictor import Predictor
from mpt_jax.prompts import kinds
from mpt_jax.prompts.bank import (
  PromptBank,
  concatenate,
  load_bank,
  merge,
  select,
)
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.initialization import init_bank
from mpt_jax.prompts.kind import EMBED, GROUPS, LENGTH, RANK, SLOTS, Kind, Leaf
from mpt_jax.prompts.slots import Slot, make_slots, prompt_config
from mpt_jax.training import loop

__all__ = ["tiny_backbone", "tiny_tasks"]


class LowRank(Kind):
  """P_k = U_k V_k with both trained: decomposed prompt tuning."""

  name = "low_rank"
  leaves = {
    "left": Leaf((SLOTS, LENGTH, RANK), "learning_rate"),
    "right": Leaf((SLOTS, RANK, EMBED), "factor_learning_rate"),
  }

  def compose(self, params, groups):
    return jnp.einsum("npr,nrd->npd", params["left"], params["right"])

  def start(self, rows, sizes, key):
    rank = sizes[RANK]
    left, values, right = jnp.linalg.svd(rows, full_matrices=False)
    return {
      "left": left[:, :rank] @ jnp.diag(values[:rank]),
      "right": right[:rank],
    }


class LowDimensional(Kind):
  """P_k = (Z_k B) ∘ s_k + b_k, where B is random and not trained: ULPT."""

  name = "low_dimensional"
  leaves = {
    "codes": Leaf((SLOTS, LENGTH, RANK), "learning_rate"),
    "scales": Leaf((SLOTS, EMBED), "factor_learning_rate"),
    "shifts": Leaf((SLOTS, EMBED), "factor_learning_rate"),
  }

  def compose(self, params, groups):
    rank, emb_dim = params["codes"].shape[-1], params["scales"].shape[-1]
    rows = params["codes"] @ basis(rank, emb_dim)
    return rows * params["scales"][:, None] + params["shifts"][:, None]

  def start(self, rows, sizes, key):
    return {
      "codes": jax.random.normal(key, (sizes[LENGTH], sizes[RANK])),
      "scales": jnp.ones((sizes[EMBED],)),
      "shifts": rows.mean(axis=0),
    }


def basis(rank, emb_dim):
  return np.random.RandomState(0).normal(size=(rank, emb_dim)).astype("f4")


@pytest.fixture(autouse=True)
def registered():
  """Makes both kinds known during a test."""
  made = (LowRank(), LowDimensional())
  for kind in made:
    kinds.register_kind(kind)
  yield
  for kind in made:
    del kinds.KINDS[kind.name]


@pytest.fixture
def low_rank_bank():
  """Three prompts U V of rank 2, length 4 and width 6."""
  rng = np.random.default_rng(0)
  params = {
    "left": rng.normal(size=(3, 4, 2)).astype("f4"),
    "right": rng.normal(size=(3, 2, 6)).astype("f4"),
  }
  slots = tuple({"task": name} for name in "abc")
  return PromptBank(params, ("a", "b", "c"), (0, 1, 2), "feed", slots)


@pytest.mark.parametrize("kind", ["low_rank", "low_dimensional"])
def test_a_kind_trains_is_saved_merged_and_predicts(
  kind, tiny_backbone, tiny_tasks, tmp_path
):
  slots = (
    Slot(task=tiny_tasks[0]),
    Slot(task=tiny_tasks[1], seed=1),
    Slot(task=tiny_tasks[1], seed=1, label="kept", train_factors=False),
  )
  experiment = tiny_experiment(
    slots,
    tiny_backbone,
    rank=2,
    prompt_kind=kind,
    total_steps=3,
    mix=MixConfig(batch_size=9),
  )
  run = dict(checkpoint_period=2, log_period=3, tensorboard=False)
  result = loop.train(experiment, model_dir=tmp_path / "run", **run)
  start = loop.set_up(experiment).trainable["prompt"]
  config = prompt_config(slots, 3, 2, kind)
  assert {k: v.shape for k, v in start.items()} == config.shapes(32)
  for name, array in result.last.params.items():
    moved = np.abs(array - start[name]).reshape(3, -1).max(axis=1)
    # Three steps of AdamW at 0.1 and 0.05, the last at a third of the rate.
    assert (moved[:2] > 0.01).all() and (moved < 0.3).all()
    assert moved[2] == 0.0
  # A finished run is restored from its checkpoint.
  again = loop.train(experiment, model_dir=tmp_path / "run", **run)
  assert again.metrics == result.metrics

  loaded = load_bank(tmp_path / "run")
  assert loaded.config == result.best.config == config
  assert set(loaded.params) == set(config.leaves)
  merged = merge(loaded)
  assert merged.config.is_plain
  np.testing.assert_array_equal(merged.composed, loaded.composed)
  merged.save(tmp_path / "merged.safetensors")
  rows = [{"text": "red house", "task": name} for name in loaded.names]
  # A prompt file does not know the run's lengths, which decide the shapes.
  lengths = dict(inputs_length=16, targets_length=4)
  of_kind, of_merged = (
    Predictor(path, tiny_backbone, **lengths).predict(rows)
    for path in (tmp_path / "run", tmp_path / "merged.safetensors")
  )
  assert of_kind == of_merged
  assert {row["prediction"] for row in of_kind} <= {"yes", "no"}


def test_composition_is_the_formula(low_rank_bank):
  params = low_rank_bank.params
  for i in range(3):
    np.testing.assert_allclose(
      low_rank_bank.composed[i], params["left"][i] @ params["right"][i], 1e-5
    )
  rng = np.random.default_rng(1)
  codes, scales, shifts = (
    rng.normal(size=shape).astype("f4") for shape in ((2, 4, 3), (2, 6), (2, 6))
  )
  params = {"codes": codes, "scales": scales, "shifts": shifts}
  found = kinds.compose_bank(params, (0, 1))
  for i in range(2):
    expected = (codes[i] @ basis(3, 6)) * scales[i] + shifts[i]
    np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


def test_a_slot_starts_with_the_nearest_product():
  embedding = np.random.default_rng(0).normal(size=(30, 6)).astype("f4")

  def start(kind, rank):
    return init_bank(
      (Slot(task="a"), Slot(task="b", seed=1)),
      PromptConfig(num_slots=2, prompt_length=4, rank=rank, kind=kind),
      embedding,
    )

  plain = start("multitask", 0)["shared_prompt"]
  made = start("low_rank", 2)
  # Eckart and Young: what is left out are the last singular values.
  for i in range(2):
    left_out = np.linalg.svd(plain[i], compute_uv=False)[2:]
    error = np.sum((plain[i] - made["left"][i] @ made["right"][i]) ** 2)
    np.testing.assert_allclose(error, np.sum(left_out**2), rtol=1e-3)
  # The random start depends on the slot's seed.
  codes = start("low_dimensional", 2)["codes"]
  assert not np.allclose(codes[0], codes[1])


def test_a_kind_starts_from_a_prompt_of_any_other(low_rank_bank, tmp_path):
  path = tmp_path / "source.safetensors"
  low_rank_bank.save(path)
  slot = Slot(task="x", init="task:b", source=str(path))
  embedding = np.zeros((30, 6), np.float32)
  for kind in ("low_rank", "multitask"):
    params = init_bank(
      (slot,),
      PromptConfig(num_slots=1, prompt_length=4, rank=2, kind=kind),
      embedding,
    )
    found = kinds.compose_bank(params, (0,))[0]
    np.testing.assert_allclose(found, low_rank_bank.composed[1], atol=1e-5)
  slot = Slot(task="x", init="mean_matrix", source=str(path))
  with pytest.raises(
    ValueError, match="slot 'x': init 'mean_matrix' .* low_rank .*'task:NAME'"
  ):
    init_bank(
      (slot,), PromptConfig(num_slots=1, prompt_length=4, rank=2), embedding
    )


def test_parts_of_a_bank(low_rank_bank):
  one, two = select(low_rank_bank, ["c"]), select(low_rank_bank, ["a", "b"])
  both = concatenate([one, two])
  np.testing.assert_array_equal(
    both.composed, low_rank_bank.composed[[2, 0, 1]]
  )
  assert both.config == PromptConfig(
    num_slots=3, prompt_length=4, rank=2, kind="low_rank"
  )


def test_export_knows_the_kind_by_its_arrays(low_rank_bank, tmp_path):
  prompt_files.export_prompts(low_rank_bank, "npz", tmp_path / "x.npz")
  again = prompt_files.import_prompts([tmp_path / "x.npz"], "npz")
  assert again.fields == low_rank_bank.fields
  np.testing.assert_array_equal(again.composed, low_rank_bank.composed)
  with pytest.raises(ValueError, match="no method for low_rank .*--merge"):
    prompt_files.export_prompts(low_rank_bank, "peft", tmp_path / "peft")
  lines = prompt_files.export_prompts(
    merge(low_rank_bank), "peft", tmp_path / "peft"
  )
  assert [line.rpartition(": ")[2] for line in lines] == [
    f"PROMPT_TUNING, {name}" for name in "abc"
  ]


def test_inspect_counts(low_rank_bank, tmp_path, capsys):
  low_rank_bank.save(tmp_path / "bank.safetensors")
  assert cli.main(["inspect", str(tmp_path / "bank.safetensors")]) == 0
  lines = [" ".join(x.split()) for x in capsys.readouterr().out.splitlines()]
  # U is 4 × 2 and V is 2 × 6.
  assert "one task 20 = 4·2 + 2·6" in lines
  assert "in all 60 = (4·2 + 2·6)·3" in lines
  assert "left 3 × 4 × 2" in lines


def test_kinds_that_are_refused():
  same = type("Same", (LowRank,), {"name": "same"})
  with pytest.raises(ValueError, match="'same' .* not new: .*'low_rank'"):
    kinds.register_kind(same())
  with pytest.raises(ValueError, match="prompt_groups or prompt_slots"):
    Leaf((LENGTH, EMBED), "learning_rate")
  with pytest.raises(ValueError, match="prompt_rank, embed and prompt_inputs"):
    Leaf((GROUPS, "mlp"), "learning_rate")


def test_settings_that_do_not_fit(tiny_backbone, tmp_path):
  with pytest.raises(ValueError, match="prompt_kind must be one of multitask"):
    PromptConfig(num_slots=1, kind="lowrank")
  slots = make_slots(("a", "b"), share="all")
  with pytest.raises(ValueError, match="'low_rank' has no arrays .* share"):
    prompt_config(slots, 3, 2, "low_rank")
  slots = make_slots(("a", "b"), train_factors=False)
  with pytest.raises(ValueError, match="train_factors must be True .*'low_ra"):
    prompt_config(slots, 3, 2, "low_rank")
  assert prompt_config(slots, 3, 2).num_slots == 2
