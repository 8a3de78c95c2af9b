"""WinoGrande, Yelp, SciTail and PAWS-Wiki on mocked rows."""

import pytest
import tfds_rows

from mpt_jax.tasks.benchmarks import others

# The expected examples of tfds_rows.ROWS, worked by hand: first those of
# training and model selection, then those of the dataset's labelled test.
EXPECTED = {
  "winogrande": (
    [
      ("sentence: _ ran. option0: Al option1: Bo", "1"),
      ("sentence: _ hid. option0: Al option1: Bo", "0"),
    ],
    [("sentence: _ won. option0: Cy option1: Di", "0")],
  ),
  "yelp_polarity": (
    [("sentence: Great!", "1"), ("sentence: Awful.", "0")],
    [("sentence: Fine. \\n Good.", "1")],
  ),
  # Class 0 is entailment.
  "scitail": (
    [("premise: a hypothesis: b", "1"), ("premise: c hypothesis: d", "0")],
    [("premise: e hypothesis: f", "1")],
  ),
  "paws_wiki": (
    [
      ("sentence1: a b sentence2: b a", "0"),
      ("sentence1: c sentence2: c", "1"),
    ],
    [("sentence1: d sentence2: e", "0")],
  ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_inputs_and_targets(name):
  tfds_rows.check_examples(name, *EXPECTED[name])


def test_every_task_is_expected():
  assert tfds_rows.task_names(others.DATASETS) == EXPECTED.keys()


def test_which_test_splits_are_read():
  # WinoGrande's test has no labels; the three others have labelled ones.
  found = {name: d.splits.test for name, d in others.DATASETS.items()}
  assert found == {
    "winogrande": "validation",
    "yelp_polarity": "test",
    "scitail": "test",
    "paws_wiki": "test",
  }
