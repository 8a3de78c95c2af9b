"""The forms that packed pretraining adds, on a tiny source; no download."""

import random

import pytest

from mpt_jax.tasks.pretraining import sources as pretraining_sources
from mpt_jax.tasks.pretraining.packed.forms import PackedExampleMaker

LABELS = ("cat", "dog", "cow")


@pytest.fixture
def maker():
  texts = {
    name: [f"{name} text number {i}" for i in range(20)] for name in LABELS
  }
  source = pretraining_sources.LabelledSource(
    "tiny", "tiny: ", LABELS, texts, 1.0
  )
  common = [f"common{i}" for i in range(40)]
  return PackedExampleMaker([source], common, [f"rare{i}" for i in range(90)])


def form(maker, name):
  rng = random.Random(0)
  (source,) = maker.sources
  return [getattr(maker, "_" + name)(rng, source) for _ in range(200)]


def true_label(inputs):
  return next(label for label in LABELS if f"{label} text number" in inputs)


def test_question_form_asks_without_options(maker):
  for inputs, targets in form(maker, "question"):
    assert targets == true_label(inputs)
    questions = maker.sources[0].questions
    assert any(question in inputs for question in questions)


def test_choice_answers_with_the_mark_of_the_right_option(maker):
  for inputs, targets in form(maker, "choice"):
    label = true_label(inputs)
    marks = (
      f"{targets}) {label}",
      f"{targets}: {label}",
      f"{targets} = {label}",
    )
    assert any(mark in inputs for mark in marks)


def test_examples_come_in_all_forms_but_lexical(maker):
  examples = maker.examples("a seed of words")
  pairs = [next(examples) for _ in range(500)]
  assert all(inputs and targets for inputs, targets in pairs)
  assert len(maker.forms) == 6 and len(maker.tags["tiny"]) == 12
