"""Answers without a T5, against scikit-learn's own estimators."""

import types

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mpt_jax.data.in_memory.baselines import answer, answer_task

TEXTS = ["red house", "red tree", "blue water", "blue sea", "red red", "a sea"]
LABELS = ["x", "x", "y", "y", "x", "y"]
ASKED = ["red thing", "water", "tree sea", ""]


def test_labels():
  made = answer("labels", TEXTS, LABELS, ASKED)
  dummy = DummyClassifier(strategy="most_frequent").fit(TEXTS, LABELS)
  assert made["majority"] == dummy.predict(ASKED).tolist()
  model = make_pipeline(
    TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
    LogisticRegression(C=10.0, max_iter=300),
  )
  assert made["tfidf"] == model.fit(TEXTS, LABELS).predict(ASKED).tolist()


def test_numbers():
  made = answer("number", TEXTS, ["1", "1", "4", "4", "1", "4"], ["red", "sea"])
  assert made["majority"] == ["2.5", "2.5"]
  low, high = map(float, made["tfidf"])
  assert 1 <= low < 2.5 < high <= 4


def test_texts():
  targets = ["one", "two", "two", "four", "five", "six"]
  made = answer("text", TEXTS, targets, ["the blue water", "house"])
  assert made == {"majority": ["two", "two"], "tfidf": ["two", "one"]}


def test_texts_without_words():
  for kind, targets in (("labels", ["a", "b"]), ("number", ["1", "2"])):
    made = answer(kind, ["?", "!"], targets, ["?"])
    assert len(made["majority"]) == len(made["tfidf"]) == 1
  assert answer("labels", ["a b"], ["x"], ["c"])["tfidf"] == ["x"]
  assert np.isfinite(float(answer("number", ["a b"], ["1"], ["c"])["tfidf"][0]))


def test_a_task_is_answered_from_its_training_texts():
  splits = {
    "train": [
      *(("a good house", "yes"), ("good tea", "yes"), ("so good", "yes")),
      *(("a bad house", "no"), ("bad tea", "no")),
    ],
    "test": [
      *(("good house", "yes"), ("bad", "no"), ("bad tea and house", "no")),
      ("a good one", "yes"),
      # Beyond the examples that are asked for.
      ("bad", "maybe"),
    ],
  }
  source = types.SimpleNamespace(examples=splits.__getitem__)
  made, right = answer_task(types.SimpleNamespace(source=source), "test", 4)
  assert right == ["yes", "no", "no", "yes"]
  # The words good and bad tell all.
  assert made == {"majority": ["yes"] * 4, "tfidf": right}
