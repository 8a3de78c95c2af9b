"""Pretraining data: examples from tiny sources; no download."""

import collections
import json
import random

import pytest

from mpt_jax.tasks.pretraining import (
  forms,
  lexical,
  tasks,
)
from mpt_jax.tasks.pretraining import (
  sources as pretraining_sources,
)
from mpt_jax.tasks.public import sources


def make_source(name="rotten_tomatoes", labels=("negative", "positive")):
  texts = {
    label: [f"{label} text number {i}" for i in range(20)] for label in labels
  }
  return pretraining_sources.LabelledSource(
    name, f"{name}: ", tuple(labels), texts, 1.0
  )


@pytest.fixture
def words():
  return [f"common{i}" for i in range(40)], [f"rare{i}" for i in range(90)]


@pytest.fixture
def maker(words):
  many = [f"class{i}" for i in range(20)]
  labelled = [make_source(), make_source("newsgroups", many)]
  return forms.ExampleMaker(labelled, *words)


def take(maker, seed, count=300):
  examples = maker.examples(seed)
  return [next(examples) for _ in range(count)]


def test_examples_depend_on_the_seed_alone(maker):
  assert take(maker, 0) == take(maker, 0)
  assert take(maker, 0) != take(maker, 1)


def test_no_example_is_empty(maker):
  assert all(inputs and targets for inputs, targets in take(maker, 0, 2000))


def form(maker, name, count=200):
  rng = random.Random(0)
  for _ in range(count):
    for source in maker.sources:
      yield source, *getattr(maker, "_" + name)(rng, source)


def true_label(source, inputs):
  """The class whose text the inputs hold, as these texts name their class."""
  return next(
    label for label in source.label_names if f"{label} text" in inputs
  )


def test_native_form_is_the_prefixed_task(maker):
  for source, inputs, targets in form(maker, "native"):
    assert inputs.startswith(source.prefix)
    assert targets == true_label(source, inputs)


def test_yes_exactly_where_the_asked_class_is_right(words):
  # Class words without synonyms, so that the question can be read back.
  source = make_source("tiny", ("cat", "dog", "cow"))
  maker = forms.ExampleMaker([source], *words)
  answers = collections.Counter()
  for _, inputs, targets in form(maker, "yes_no"):
    text = inputs.index(f"{true_label(source, inputs)} text")
    asked = next(n for n in source.label_names if n in inputs[:text])
    right = asked == true_label(source, inputs)
    assert targets in (("yes", "true") if right else ("no", "false"))
    answers[right] += 1
  assert min(answers.values()) > 50


def test_options_name_the_answer(maker):
  for _, inputs, targets in form(maker, "options"):
    assert targets in inputs


def test_tags_always_mean_the_same(maker):
  meaning = {}
  for source, inputs, targets in form(maker, "tag", 2000):
    tag = " ".join(w for w in inputs.split() if w.startswith("rare"))
    key = source.name, tag, true_label(source, inputs)
    assert meaning.setdefault(key, targets) == targets


def test_validation_may_lack_classes_and_keeps_the_tags(maker):
  before = maker.tags["newsgroups"]
  smaller = make_source("newsgroups", ["class0", "class3"])
  maker.sources = [make_source(), smaller]
  maker.restrict(smaller)
  for name in ("native", "options", "tag", "yes_no"):
    assert list(form(maker, name, 20))
  kept = maker.tags["newsgroups"]
  assert kept == [tag for tag in before if {"class0", "class3"} & {*tag.labels}]


def test_held_out_tasks_are_not_read():
  asked = []

  def load(name):
    asked.append(name)
    label = sources.SOURCES[name].label_names[0]
    row = {"text": "a b", "question": "q", "context": "c", "label": label}
    return {"validation": [row]}

  made = pretraining_sources.load_sources("validation", load_splits=load)
  assert not any(sources.SOURCES[name].held_out for name in asked)
  assert {source.name for source in made} == set(asked)


def test_chunks_hold_whole_words_of_at_most_70_pieces(tmp_path):
  path = tmp_path / "corpus.txt"
  rng = random.Random(0)
  lines = [
    " ".join(
      rng.choice(["the", "cat", "running", "house", "Paris"])
      for _ in range(rng.randint(1, 40))
    )
    for _ in range(50)
  ]
  path.write_text("\n".join(lines))
  processor = tasks.load_processor()
  chunks = list(tasks._chunks(processor, path))
  assert all(len(processor.encode(chunk)) <= 70 for chunk in chunks)
  assert sum(len(processor.encode(c)) > 60 for c in chunks) >= len(chunks) - 1
  # Nothing is lost but an unfinished last chunk.
  text = " ".join(lines)
  assert text.startswith(" ".join(chunks))


def test_write_supervised_lines(tmp_path, monkeypatch):
  monkeypatch.setattr(
    pretraining_sources, "load_sources", lambda split: [make_source()]
  )
  monkeypatch.setattr(lexical, "lexical_makers", lambda: ())
  path = tasks.write_supervised(tmp_path / "rows.jsonl", 50)
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert len(rows) == 50
  assert all(set(row) == {"inputs", "targets"} for row in rows)
  assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
