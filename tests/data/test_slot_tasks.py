"""The tasks of a bank's slots: vocabulary, few-shot draws, unknown names."""

import pytest
import seqio
from row_tasks import register
from train_fixtures import register_tiny_task

from mpt_jax import tasks
from mpt_jax.data.slot_tasks import slot_tasks, task_rates
from mpt_jax.prompts.slots import make_slots
from mpt_jax.text import vocabularies


def test_each_slot_has_its_draw_over_one_vocabulary(tmp_path):
  names = [register_tiny_task(tmp_path, seed=seed) for seed in range(2)]
  slots = make_slots(names, shots=(2,), seeds=(0, 1))
  made = slot_tasks(slots, vocabularies.BYTES_PATH)
  assert len(made) == len(slots) == 4
  for task in made:
    vocabulary = task.output_features["inputs"].vocabulary
    assert isinstance(vocabulary, seqio.ByteVocabulary)
  texts = [
    sorted(text for text, _ in task.source.examples("train")) for task in made
  ]
  # Two examples of each of the two labels; each seed draws its own.
  assert [len(drawn) for drawn in texts] == [4] * 4
  by_slot = dict(zip(slots, texts, strict=True))
  for name in names:
    first, second = (by_slot[s] for s in slots if s.task == name)
    assert first != second


def test_without_a_path_each_task_keeps_its_vocabulary(tmp_path):
  name = register_tiny_task(tmp_path)
  (task,) = slot_tasks(make_slots([name]), None)
  assert task is seqio.TaskRegistry.get(name)


def test_an_unknown_task_is_reported_with_its_neighbours(tmp_path):
  name = register_tiny_task(tmp_path, name="slot_tasks_reviews")
  with pytest.raises(ValueError, match=f"unknown task.*{name}"):
    slot_tasks(make_slots([name + "x"]), None)


def mixture(name, parts, **options):
  return seqio.MixtureRegistry.add(name, parts, **options).name


def test_a_mixture_keeps_its_order_and_rates():
  b, a, c = (register(f"mix_{letter}").name for letter in "bac")
  equal = mixture("mix_equal", [b, a, c], default_rate=3.0)
  assert tasks.task_rates(equal) == tasks.task_names(equal) == (b, a, c)
  assert tasks.task_rates((c, equal)) == (c, b, a)
  unequal = mixture("mix_unequal", [(b, 9.0), (a, 1)])
  assert tasks.task_rates(unequal) == ((b, 9.0), (a, 1.0))
  by_size = mixture(
    "mix_by_size", [(b, lambda task: 4.0), (c, lambda task: 2.0)]
  )
  assert tasks.task_rates(by_size) == ((b, 4.0), (c, 2.0))
  # A mixture of mixtures: 10 is shared 9 to 1.
  nested = mixture("mix_nested", [(c, 5.0), (unequal, 10.0)])
  assert tasks.task_rates(nested) == ((c, 5.0), (b, 9.0), (a, 1.0))
  with pytest.raises(ValueError, match=r"'mix_unequal' has rates \(mix_b 9, m"):
    tasks.task_rates((unequal, c))
  with pytest.raises(ValueError, match="has rates .*use task_rates"):
    tasks.task_names(unequal)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_that_are_no_shares(tmp_path, rate):
  names = [register_tiny_task(tmp_path) for _ in range(2)]
  name = f"slot_tasks_rate_{rate}"
  seqio.MixtureRegistry.add(name, [(names[0], rate), (names[1], 1.0)])
  with pytest.raises(ValueError, match=f"{name}' has the rate .* positive"):
    task_rates(name)


@pytest.mark.parametrize("names", [None, "", ()])
def test_no_task_at_all(names):
  with pytest.raises(TypeError, match="MIXTURE_OR_TASK_NAME must be the name"):
    task_rates(names)
