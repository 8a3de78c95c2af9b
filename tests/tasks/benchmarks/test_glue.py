"""GLUE's eight tasks on mocked rows: inputs, targets and metrics."""

import pytest
import tfds_rows

from mpt_jax import tasks
from mpt_jax.data.labels import label_names
from mpt_jax.tasks.benchmarks import glue

# The expected examples of tfds_rows.ROWS, worked by hand: first those of
# training and model selection, then those of the dataset's labelled test.
EXPECTED = {
  "glue_cola": (
    [("sentence: Dogs bark.", "1"), ("sentence: Bark dogs the.", "0")],
    [("sentence: Cats purr.", "1"), ("sentence: Purr the.", "0")],
  ),
  "glue_cola_prefixed": (
    [
      ("cola sentence: Dogs bark.", "acceptable"),
      ("cola sentence: Bark dogs the.", "unacceptable"),
    ],
    [
      ("cola sentence: Cats purr.", "acceptable"),
      ("cola sentence: Purr the.", "unacceptable"),
    ],
  ),
  "glue_sst2": (
    [("sentence: a joy ", "1"), ("sentence: a bore ", "0")],
    [("sentence: so naïve", "0")],
  ),
  "glue_sst2_prefixed": (
    [
      ("sst2 sentence: a joy ", "positive"),
      ("sst2 sentence: a bore ", "negative"),
    ],
    [("sst2 sentence: so naïve", "negative")],
  ),
  "glue_mrpc": (
    [("sentence1: a sentence2: b", "0"), ("sentence1: c sentence2: c", "1")],
    [("sentence1: d sentence2: e", "0"), ("sentence1: f sentence2: f", "1")],
  ),
  "glue_mrpc_prefixed": (
    [
      ("mrpc sentence1: a sentence2: b", "not_equivalent"),
      ("mrpc sentence1: c sentence2: c", "equivalent"),
    ],
    [
      ("mrpc sentence1: d sentence2: e", "not_equivalent"),
      ("mrpc sentence1: f sentence2: f", "equivalent"),
    ],
  ),
  "glue_qqp": (
    [
      ("question1: a? question2: b?", "0"),
      ("question1: c? question2: c ?", "1"),
    ],
    [("question1: d? question2: d?", "1")],
  ),
  "glue_qqp_prefixed": (
    [
      ("qqp question1: a? question2: b?", "not_duplicate"),
      ("qqp question1: c? question2: c ?", "duplicate"),
    ],
    [("qqp question1: d? question2: d?", "duplicate")],
  ),
  # To the nearest 0.2, halfway to the even multiple: 0.1 * 5 = 0.5 -> 0,
  # 2.5 * 5 = 12.5 -> 12, 3.25 * 5 = 16.25 -> 16.
  "glue_stsb": (
    [
      ("sentence1: a sentence2: b", "0.0"),
      ("sentence1: c sentence2: c", "5.0"),
    ],
    [
      ("sentence1: d sentence2: e", "2.4"),
      ("sentence1: f sentence2: g", "3.2"),
    ],
  ),
  "glue_stsb_prefixed": (
    [
      ("stsb sentence1: a sentence2: b", "0.0"),
      ("stsb sentence1: c sentence2: c", "5.0"),
    ],
    [
      ("stsb sentence1: d sentence2: e", "2.4"),
      ("stsb sentence1: f sentence2: g", "3.2"),
    ],
  ),
  "glue_mnli": (
    [
      ("premise: a hypothesis: b", "0"),
      ("premise: c hypothesis: d", "1"),
      ("premise: e hypothesis: f", "2"),
    ],
    [("premise: g hypothesis: h", "2")],
  ),
  "glue_mnli_prefixed": (
    [
      ("mnli hypothesis: b premise: a", "entailment"),
      ("mnli hypothesis: d premise: c", "neutral"),
      ("mnli hypothesis: f premise: e", "contradiction"),
    ],
    [("mnli hypothesis: h premise: g", "contradiction")],
  ),
  "glue_qnli": (
    [("question: a? sentence: b", "0"), ("question: c? sentence: d", "1")],
    [("question: e? sentence: f", "1")],
  ),
  "glue_qnli_prefixed": (
    [
      ("qnli question: a? sentence: b", "entailment"),
      ("qnli question: c? sentence: d", "not_entailment"),
    ],
    [("qnli question: e? sentence: f", "not_entailment")],
  ),
  "glue_rte": (
    [("sentence1: a sentence2: b", "0"), ("sentence1: c sentence2: d", "1")],
    [("sentence1: e sentence2: f", "1"), ("sentence1: g sentence2: h", "0")],
  ),
  "glue_rte_prefixed": (
    [
      ("rte sentence1: a sentence2: b", "entailment"),
      ("rte sentence1: c sentence2: d", "not_entailment"),
    ],
    [
      ("rte sentence1: e sentence2: f", "not_entailment"),
      ("rte sentence1: g sentence2: h", "entailment"),
    ],
  ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_inputs_and_targets(name):
  tfds_rows.check_examples(name, *EXPECTED[name])


def test_every_task_is_expected():
  assert tfds_rows.task_names(glue.DATASETS) == EXPECTED.keys()


def test_mnli_has_both_validation_splits():
  assert tfds_rows.examples("glue_mnli", "test") == [
    ("premise: g hypothesis: h", "2")
  ]
  assert tasks.get_task("glue_mnli").source.examples("test_mismatched") == [
    ("premise: i hypothesis: j", "0")
  ]


def test_scores_are_compared_as_numbers():
  task = tfds_rows.eval_task("glue_stsb")
  assert task.targets in (["2.4"], ["3.2"])
  assert label_names(task.task) is None


def test_which_datasets_are_small():
  # By GLUE's table 1, with fewer than 10,000 training examples: CoLA 8.5k, MRPC
  # 3.7k, STS-B 7k and RTE 2.5k. The next one has 67k.
  halved = {
    name
    for name, dataset in glue.DATASETS.items()
    if dataset.splits.division == "halve"
  }
  assert halved == {"glue_cola", "glue_mrpc", "glue_stsb", "glue_rte"}
