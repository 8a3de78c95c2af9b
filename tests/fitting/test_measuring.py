"""Intervals and scores against other implementations and by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.fitting import measuring


@pytest.mark.parametrize(
  ("hits", "count"), [(0, 5), (3, 10), (97, 100), (8, 8)]
)
def test_wilson_is_scipys(hits, count):
  expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
  found = measuring.wilson(hits, count)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_bootstrap_of_a_mean_is_near_students():
  values = np.random.default_rng(1).normal(size=200)
  low, high = measuring.bootstrap(lambda i: values[i].mean(), 200)
  expected = stats.t.interval(
    0.95, 199, loc=values.mean(), scale=stats.sem(values)
  )
  # 1,000 resamples; the ends are known to a few percent of the width.
  width = expected[1] - expected[0]
  np.testing.assert_allclose((low, high), expected, atol=0.08 * width)


def labels_task(targets, **changes):
  rows = [{"text": f"t {i}", "target": t} for i, t in enumerate(targets)]
  values = dict(
    name="x",
    rows={"train": rows, "test": rows},
    template="{text}",
    target="target",
    label_names=("a", "b", "c"),
    metric_names=("accuracy", "f1_macro"),
    metric="accuracy",
  )
  return RowTask(**{**values, **changes})


def results(predictions, sure=0.5):
  return [
    {"prediction": p, "probabilities": {p: sure + i / 100}}
    for i, p in enumerate(predictions)
  ]


def test_scores_of_labels():
  targets, predictions = list("aaaabbc"), list("aaabbbb")
  scores = measuring.measure(labels_task(targets), "test", results(predictions))
  # 3 of 4 a, 2 of 2 b and 0 of 1 c are right.
  assert scores.score == pytest.approx(5 / 7)
  assert scores.interval == measuring.wilson(5, 7)
  assert scores.method == "Wilson" and scores.examples == 7
  assert scores.majority == pytest.approx(4 / 7)
  assert scores.confusion == [[3, 1, 0], [0, 2, 0], [0, 1, 0]]
  assert scores.per_class["a"] == {
    "precision": 1.0,
    "recall": 0.75,
    "f1": pytest.approx(6 / 7),
    "rows": 4,
  }
  # Rows 3 and 6 are wrong, and row 6 is the surer one.
  assert [m["input"] for m in scores.mistakes] == ["t 6", "t 3"]
  assert scores.mistakes[0]["probability"] == pytest.approx(0.56)
  assert [m["input"] for m in scores.right] == [
    f"t {i}" for i in (5, 4, 2, 1, 0)
  ]
  assert scores.metrics["f1_macro"] == pytest.approx(
    sklearn_metrics.f1_score(
      targets, predictions, average="macro", zero_division=0
    )
  )


def test_another_metric_has_a_bootstrap():
  task = labels_task(list("ab") * 20, metric="f1_macro")
  scores = measuring.measure(task, "test", results(list("aabb") * 10))
  assert scores.metric == "f1_macro" and scores.method == "bootstrap"
  low, high = scores.interval
  assert low < scores.score < high


def test_numbers_and_their_baselines():
  levels = tuple(f"{i / 2:.1f}" for i in range(9))
  targets = [levels[i % 9] for i in range(27)]
  task = labels_task(
    targets,
    kind="number",
    label_names=levels,
    metric_names=("pearson_spearman",),
    metric="pearson",
  )
  made = [targets[(i + 1) % 27] for i in range(27)]
  scores = measuring.measure(task, "test", results(made))
  numbers = [list(map(float, x)) for x in (targets, made)]
  assert scores.score == pytest.approx(stats.pearsonr(*numbers)[0])
  assert scores.majority == 0.0 and scores.confusion is None


def test_texts_with_several_right_answers():
  rows = [
    {"text": "q one", "target": ["b c", "d"]},
    {"text": "q", "target": "e"},
  ]
  task = labels_task(
    [],
    rows={"train": rows, "test": rows},
    kind="text",
    label_names=None,
    metric_names=("squad",),
    metric="f1",
  )
  scores = measuring.measure(
    task, "test", [{"prediction": "d"}, {"prediction": "x"}]
  )
  assert scores.score == 0.5
  assert [m["input"] for m in scores.mistakes] == ["q"]
