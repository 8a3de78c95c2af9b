"""Tasks of slots from rows in memory."""

import pytest

from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.inference.find_tasks import find_tasks
from mpt_jax.prompts.slots import Slot
from mpt_jax.text import vocabularies

TASK = RowTask(
  name="one",
  rows={"train": [{"text": "a", "label": "x"}]},
  template="{text}",
  label_names=("x", "y"),
)
PATH = str(vocabularies.default_vocabulary_path())


def test_slots_get_their_tasks_with_the_vocabulary():
  slots = [Slot(task="one"), Slot(task="one", label="again")]
  found = find_tasks(slots, PATH, {"one": TASK})
  assert [task.name for task in found] == ["one", "one"]
  assert found[0] is found[1] and found[0].vocabulary_path == PATH


@pytest.mark.parametrize(
  ("slot", "message"),
  [
    (Slot(task="two"), "Slot.task must be one of one, got 'two'"),
    (Slot(task="one", shots=2), "shots=2 needs a task of seqio"),
  ],
)
def test_errors(slot, message):
  with pytest.raises(ValueError, match=message):
    find_tasks([slot], PATH, {"one": TASK})
