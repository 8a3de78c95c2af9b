"""Forms of pretraining examples, from tiny sources; no download."""

import collections
import dataclasses
import random

import pytest

from mpt_jax.tasks.pretraining import forms
from mpt_jax.tasks.pretraining import sources as pretraining_sources


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


def test_forms_come_in_their_shares(maker):
  """Without lexical makers, the other four share 0.92 of the weight."""
  kinds = collections.Counter()
  for inputs, _ in take(maker, 0, 4000):
    if inputs.startswith(("rotten_tomatoes: ", "newsgroups: ")):
      kinds["native"] += 1
    elif "rare" in inputs:
      kinds["tag"] += 1
  # Four standard deviations of a share of 4000 are at most 0.032.
  assert kinds["native"] / 4000 == pytest.approx(0.62 / 0.92, abs=0.032)
  assert kinds["tag"] / 4000 == pytest.approx(0.19 / 0.92, abs=0.032)


def test_sources_and_lexical_makers_are_drawn(words):
  heavy = make_source("heavy")
  light = make_source("light")
  heavy = dataclasses.replace(heavy, weight=3.0)
  maker = forms.ExampleMaker(
    [heavy, light], *words, lexical=(lambda rng: ("define: x", "y"),)
  )
  found = collections.Counter(
    inputs.split(":")[0] for inputs, _ in take(maker, 1, 4000)
  )
  assert found["define"] / 4000 == pytest.approx(0.08, abs=0.02)
  # Three of four native examples, within four standard deviations.
  share = found["heavy"] / (found["heavy"] + found["light"])
  assert share == pytest.approx(0.75, abs=0.035)


def test_tags_do_not_depend_on_the_seed_of_the_examples(words):
  first, second, other = (
    forms.ExampleMaker([make_source()], *words, seed=seed) for seed in (0, 0, 1)
  )
  take(first, 7)
  assert first.tags == second.tags != other.tags
  assert len(first.tags["rotten_tomatoes"]) == 8
  for tag in first.tags["rotten_tomatoes"]:
    assert 1 <= len(tag.words.split()) <= 8


def test_labels_are_renamed_by_their_synonyms_alone():
  rng = random.Random(0)
  assert forms.rename(rng, "a label without synonyms") == (
    "a label without synonyms"
  )
  found = collections.Counter(
    forms.rename(rng, "sarcastic", 0.25) for _ in range(4000)
  )
  synonyms = pretraining_sources.SYNONYMS["sarcastic"]
  assert set(found) == {"sarcastic", *synonyms}
  # Three of four keep their name, within four standard deviations.
  assert found["sarcastic"] / 4000 == pytest.approx(0.75, abs=0.028)
