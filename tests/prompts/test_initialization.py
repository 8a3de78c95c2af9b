"""The starting values of a bank's slots."""

import jax
import numpy as np
import pytest

from mpt_jax.prompts import initialization
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.initialization import init_bank
from mpt_jax.prompts.slots import Slot, prompt_config

P, D = 3, 4


@pytest.fixture
def embedding():
  return np.random.default_rng(0).normal(0.0, 2.0, (50, D)).astype(np.float32)


def start(embedding, *slots, rank=0, **arguments):
  return init_bank(slots, prompt_config(slots, P, rank), embedding, **arguments)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_random_start_is_drawn_by_the_seed_of_its_slot(embedding, rank):
  slots = [Slot(task="a", seed=seed, init="random") for seed in (5, 0, 7)]
  found = start(embedding, *slots, rank=rank)["shared_prompt"]
  # The scale is the root mean square of the embedding.
  scale = np.sqrt(np.mean(embedding**2))
  for i, slot in enumerate(slots):
    expected = scale * jax.random.normal(jax.random.key(slot.seed), (P, D))
    np.testing.assert_allclose(found[i], expected, rtol=1e-6)
  assert not np.allclose(found[0], found[1])
  assert not np.allclose(found[1], found[2])


@pytest.mark.parametrize("init", ["vocabulary", "random"])
def test_a_start_is_the_same_in_a_bank_of_one_and_of_many(embedding, init):
  slots = [Slot(task="a", seed=seed, init=init) for seed in (2, 0, 1)]
  together = start(embedding, *slots, rank=2)
  for i, slot in enumerate(slots):
    alone = start(embedding, slot, rank=2)
    for name, array in alone.items():
      np.testing.assert_array_equal(array[0], together[name][i])
  # Two seeds draw different rows.
  shared = np.asarray(together["shared_prompt"])
  assert not np.array_equal(shared[0], shared[1])
  assert not np.array_equal(shared[1], shared[2])


def test_vocabulary_rows_are_those_of_the_embedding(embedding):
  found = np.asarray(
    start(embedding, Slot(task="a", seed=3)).pop("shared_prompt")
  )
  distances = np.abs(found[0][:, None] - embedding[None]).max(axis=-1)
  assert (distances.min(axis=1) == 0.0).all()


def test_a_group_starts_as_its_first_slot(embedding):
  slots = [
    Slot(task="a", seed=1, group="g"),
    Slot(task="b", seed=2),
    Slot(task="c", seed=3, group="g"),
  ]
  found = start(embedding, *slots, rank=1)
  alone = [start(embedding, slot, rank=1)["shared_prompt"] for slot in slots]
  np.testing.assert_array_equal(
    found["shared_prompt"], np.concatenate(alone[:2])
  )
  assert found["task_columns"].shape == (3, P, 1)


def test_a_text_is_encoded(embedding):
  slot = Slot(task="a", init="text:some words")
  texts = []

  def encode(text):
    texts.append(text)
    return [7, 9]

  found = start(embedding, slot, encode=encode)["shared_prompt"]
  np.testing.assert_array_equal(found[0], embedding[[7, 9, 7]])
  assert texts == ["some words"]


def save_bank(path, length=P, emb_dim=D, num_groups=1):
  rng = np.random.default_rng(1)

  def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)

  params = {
    "shared_prompt": draw(num_groups, length, emb_dim),
    "task_columns": draw(2, length, 1),
    "task_rows": draw(2, 1, emb_dim),
  }
  groups = tuple(i % num_groups for i in range(2))
  slots = ({"task": "nli"}, {"task": "qa"})
  bank = PromptBank(params, ("nli", "qa"), groups, "feed", slots)
  bank.save(path)
  return bank


def test_a_target_starts_from_the_source(embedding, tmp_path):
  source = save_bank(tmp_path / "x.safetensors").params
  slots = [
    Slot(
      task="a", label=init, init=init, source=str(tmp_path / "x.safetensors")
    )
    for init in ("mean_factors", "task:qa", "shared_only")
  ]
  found = start(embedding, *slots, rank=1)
  for i in range(3):
    np.testing.assert_array_equal(
      found["shared_prompt"][i], source["shared_prompt"][0]
    )
  rows = [source["task_rows"].mean(0), source["task_rows"][1], np.ones((1, D))]
  np.testing.assert_allclose(found["task_rows"], rows, rtol=1e-6)
  # A plain prompt starts as the composed one.
  plain = start(embedding, slots[1])["shared_prompt"][0]
  expected = source["shared_prompt"][0] * (
    source["task_columns"][1] @ source["task_rows"][1]
  )
  np.testing.assert_allclose(plain, expected, rtol=1e-5)


@pytest.mark.parametrize(
  "source, init, rank, message",
  [
    (dict(length=5), "task:qa", 1, "have prompt_length=5 .* prompt_length=3"),
    (dict(emb_dim=6), "task:qa", 1, "width 6, .* a T5 of width 4"),
    (dict(num_groups=2), "mean_matrix", 1, "has 2 shared prompts"),
    ({}, "task:nlu", 1, "no source task 'nlu'; the bank has nli, qa"),
    ({}, "mean_matrix", 0, "from multitask prompts to plain .*'task:NAME'"),
    (None, "mean_matrix", 1, "'random' or 'text:...', and no source"),
  ],
)
def test_what_does_not_fit(source, init, rank, message, embedding, tmp_path):
  path = None
  if source is not None:
    path = str(tmp_path / "x.safetensors")
    save_bank(path, **source)
  with pytest.raises(ValueError, match=f"slot 'a': .*{message}"):
    start(embedding, Slot(task="a", init=init, source=path), rank=rank)


def test_a_source_of_another_t5(embedding, tmp_path):
  path = str(tmp_path / "x.safetensors")
  save_bank(path)
  slot = Slot(task="a", init="task:qa", source=path)
  with pytest.raises(ValueError, match="another T5 .*feed, this one is beef"):
    init_bank(
      (slot,),
      PromptConfig(num_slots=1, prompt_length=P, rank=1),
      embedding,
      backbone="beef",
    )


def test_random_rows_have_the_scale_asked_for():
  rows = initialization.random_rows(jax.random.key(0), 100, 64, scale=0.5)
  # The standard error of the deviation of 6,400 draws is 0.5 / √12,800.
  assert rows.shape == (100, 64)
  assert float(rows.std()) == pytest.approx(0.5, abs=5 * 0.5 / 12_800**0.5)


def test_vocabulary_rows_are_distinct_frequent_pieces():
  embedding = np.arange(20.0)[:, None] * np.ones((1, 2))

  def draw(seed, **kwargs):
    return initialization.vocabulary_rows(
      jax.random.key(seed), embedding, 6, **kwargs
    )[:, 0].tolist()

  ids = draw(0, num_most_frequent=8)
  assert len(set(ids)) == 6 and set(ids) <= set(range(3, 11))
  assert ids == draw(0, num_most_frequent=8) != draw(1, num_most_frequent=8)
  assert set(sum((draw(s) for s in range(20)), [])) == set(range(3, 20))
  longer = initialization.vocabulary_rows(jax.random.key(0), embedding, 30)
  assert longer.shape == (30, 2)


def test_text_rows_repeat_and_cut():
  embedding = np.arange(10.0)[:, None]

  def rows(*args):
    return initialization.text_rows(embedding, *args)[:, 0].tolist()

  assert rows([4, 7], 5) == [4, 7, 4, 7, 4]
  assert rows([4, 7, 9], 2) == [4, 7]
  with pytest.raises(ValueError, match="no tokens"):
    rows([], 2)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
  ("init", "mean"),
  # The prompts are all 0, all 1 and all 5.
  [("mean", 2.0), ("mean:a,c", 2.5), ("mean:b", 1.0), ("task:c", 5.0)],
)
def test_a_mean_of_source_prompts(embedding, tmp_path, rank, init, mean):
  prompts = np.stack([np.full((P, D), v, np.float32) for v in (0, 1, 5)])
  path = tmp_path / "teachers.safetensors"
  slots = tuple({"task": name} for name in "abc")
  PromptBank(
    {"shared_prompt": prompts}, tuple("abc"), (0, 1, 2), "f", slots
  ).save(path)
  slot = Slot(task="x", init=init, source=str(path), train_factors=False)
  found = start(embedding, slot, rank=rank)
  np.testing.assert_array_equal(
    found["shared_prompt"][0], np.full((P, D), mean)
  )
