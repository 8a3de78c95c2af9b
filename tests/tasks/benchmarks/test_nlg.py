"""E2E and WebNLG on mocked rows: inputs, targets and all references."""

import pytest
import tfds_rows

from mpt_jax.tasks.benchmarks import nlg

# The expected examples of tfds_rows.ROWS, worked by hand: first those of
# training and model selection, then those of the dataset's labelled test.
EXPECTED = {
  "e2e_nlg": (
    [
      ("meaning representation: name[Zizzi], area[city]", "Zizzi is central."),
      (
        "meaning representation: name[Zizzi], area[city]",
        "In the city is Zizzi.",
      ),
      ("meaning representation: name[Blé]", "Blé."),
    ],
    # Two rows of Alimentum are one example with two references.
    [
      ("meaning representation: name[Alimentum]", "Alimentum is a place."),
      ("meaning representation: name[Giraffe]", "Giraffe is a pub."),
    ],
  ),
  "web_nlg": (
    [
      (
        "triples: Aarhus | leader | Jacob; Aarhus | in | Denmark",
        "Jacob leads.",
      ),
      ("triples: A | b | C", "A b C."),
    ],
    [("triples: D | e | F", "D e F.")],
  ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_inputs_and_targets(name):
  tfds_rows.check_examples(name, *EXPECTED[name])


def test_every_task_is_expected():
  assert tfds_rows.task_names(nlg.DATASETS) == EXPECTED.keys() | {
    "e2e_nlg_2017"
  }


def test_references_reach_the_metric():
  task = tfds_rows.eval_task("e2e_nlg")
  assert task.targets == [
    ["Alimentum is a place.", "There is Alimentum."],
    ["Giraffe is a pub."],
  ]
  web = tfds_rows.eval_task("web_nlg")
  assert web.targets == [["D e F.", "F is e of D."]]
  made = web.metrics(tfds_rows.postprocessed(web, ["F is e of D."]))
  assert made["bleu"] == pytest.approx(100.0)


def test_the_first_e2e_is_read_from_files_alone():
  dataset = nlg.DATASETS["e2e_nlg_2017"]
  assert dataset.tfds_name is None
  with pytest.raises(FileNotFoundError, match=r"no file .*devset\.csv: put "):
    dataset.rows("validation")
