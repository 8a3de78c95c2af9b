"""Tasks over rows in memory give the examples that seqio gives."""

import dataclasses

import numpy as np
import pytest

from mpt_jax import tasks
from mpt_jax.data.in_memory.row_task import RowTask, read_examples
from mpt_jax.data.text_tasks import get_task

ROWS = [
  {"text": "a ﬁne  film", "label": "good", "n": 1.0},
  {"text": "it broke", "label": "bad", "n": 2},
]


def make(**changes):
  values = dict(
    name="rows",
    rows={"train": ROWS, "test": ROWS[:1]},
    template="review {n}: {text}",
    label_names=("bad", "good"),
  )
  return RowTask(**{**values, **changes})


def test_examples_equal_those_of_a_file_task(tmp_path):
  path = tmp_path / "rows.jsonl"
  path.write_text(
    '{"text": "a ﬁne  film", "label": "good", "n": 1.0}\n'
    '{"text": "it broke", "label": "bad", "n": 2}\n',
    encoding="utf-8",
  )
  tasks.register_file_task(
    "row_task_same",
    {"train": path},
    template="review {n}: {text}",
    label_names=("bad", "good"),
  )
  expected = read_examples(get_task("row_task_same"), "train")
  found = read_examples(make(), "train")
  assert len(found) == len(expected) == 2
  for ours, theirs in zip(found, expected, strict=True):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
      np.testing.assert_array_equal(value, theirs[name])


def test_a_limit_and_a_spread():
  task = make(rows={"train": [{**ROWS[0], "n": n} for n in range(9)]})

  def numbers(**options):
    made = read_examples(task, "train", 3, **options)
    return [int(x["inputs_pretokenized"].split()[1][:-1]) for x in made]

  assert numbers() == [0, 1, 2]
  assert numbers(spread=True) == [0, 3, 6]


def test_all_right_answers_reach_the_metrics():
  rows = {"train": [{"text": "q", "label": ["a", "b"]}]}
  task = make(kind="text", label_names=None, template="{text}", rows=rows)
  (example,) = read_examples(task, "train")
  assert example["targets_pretokenized"] == b"a"
  assert task.postprocess_fn("a", example, True) == ["a", "b"]
  assert task.postprocess_fn(" b ", example, False) == "b"


def test_numbers():
  task = make(kind="number", label_names=("0.5", "1.0"))
  assert task.postprocess_fn("0.5") == 0.5
  assert np.isnan(task.postprocess_fn("half"))


def test_a_digest_is_of_what_the_t5_sees():
  base = make()
  assert base.digest() == make().digest()
  other = [{**row, "unused": 1} for row in ROWS]
  assert (
    make(rows={"train": other, "test": other[:1]}).digest() == base.digest()
  )
  for changes in (
    dict(template="{text}"),
    dict(label_names=("good", "bad")),
    dict(rows={"train": ROWS[::-1], "test": ROWS[:1]}),
    dict(rows={"train": ROWS}),
  ):
    assert make(**changes).digest() != base.digest()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(kind="labels", label_names=None), "labels and numbers have label"),
    (dict(kind="guess"), "kind must be one of"),
    (dict(template="no field"), "must name at least one field"),
    (dict(metric_names=("acuracy",)), "Did you mean accuracy"),
  ],
)
def test_errors(changes, message):
  with pytest.raises(ValueError, match=message):
    make(**changes)


def test_an_empty_target_names_its_row():
  rows = {"train": [*ROWS, {**ROWS[0], "label": " "}]}
  with pytest.raises(ValueError, match="row 3 of 'train' is empty"):
    read_examples(make(rows=rows), "train")


def test_another_vocabulary(tmp_path):
  path = tmp_path / "bytes.json"
  path.write_text('{"type": "bytes", "extra_ids": 125}')
  task = make(template="{text}").with_vocabulary(str(path))
  assert dataclasses.asdict(task)["name"] == "rows"
  # ByT5: each byte plus 3, and the end of sequence.
  ids = task.example("train", 1)["inputs"]
  assert ids.tolist() == [*(3 + b for b in b"it broke"), 1]
