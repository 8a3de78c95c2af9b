"""SQuAD and MRQA on mocked rows: inputs, targets and right answers."""

import pytest
import tfds_rows

from mpt_jax.tasks.benchmarks import mrqa

# The expected examples of tfds_rows.ROWS, worked by hand: first those of
# training and model selection, then those of the dataset's labelled test.
MRQA_PAIRS = (
  [
    ("question: who? context: [PAR] Ana and Bo.", "Ana"),
    ("question: when? context: [PAR] In 1999.", "1999"),
  ],
  [("question: où? context: À Paris, près de la tour.", "Paris")],
)
EXPECTED = {
  "squad": (
    [
      ("question: Who? context: It was Ana.", "Ana"),
      ("question: When? context: In 1999.", "1999"),
    ],
    [
      ("question: Where? context: In the city.", "the city"),
      ("question: Wer? context: Ägid.", "Ägid"),
    ],
  ),
  "mrqa_natural_questions": MRQA_PAIRS,
  "mrqa_hotpotqa": MRQA_PAIRS,
  "mrqa_searchqa": MRQA_PAIRS,
  "mrqa_newsqa": MRQA_PAIRS,
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_inputs_and_targets(name):
  tfds_rows.check_examples(name, *EXPECTED[name])


def test_every_task_is_expected():
  assert tfds_rows.task_names(mrqa.DATASETS) == EXPECTED.keys()


def test_answers_reach_the_metric():
  task = tfds_rows.eval_task("mrqa_newsqa")
  assert task.targets == [["", "Paris", "À Paris"]]
  # The best answer is "à paris": P = 2/4, R = 1, F1 = 2/3.
  made = task.metrics(tfds_rows.postprocessed(task, [" dans À Paris centre "]))
  assert made == {"em": 0.0, "f1": pytest.approx(2 / 3), "num_examples": 1}
  # Nothing predicted is the empty answer, which this question allows.
  made = task.metrics(tfds_rows.postprocessed(task, [" "]))
  assert made["em"] == 1.0
  squad = tfds_rows.eval_task("squad")
  assert squad.targets == [["the city", "city"], ["Ägid"]]
  # "A city." is exact without its article; "agid" is not "Ägid".
  made = squad.metrics(tfds_rows.postprocessed(squad, ["A city.", "agid"]))
  assert (made["em"], made["f1"]) == (0.5, 0.5)


def test_the_files_of_each_dataset_are_those_of_the_shared_task():
  # The names in the shared task's addresses. Its scripts save the first one of
  # them as NaturalQuestions.jsonl.gz.
  names = {
    "mrqa_natural_questions": (
      "natural_questions",
      ("NaturalQuestionsShort", "NaturalQuestions"),
    ),
    "mrqa_hotpotqa": ("hotpot_qa", ("HotpotQA",)),
    "mrqa_searchqa": ("search_qa", ("SearchQA",)),
    "mrqa_newsqa": ("news_qa", ("NewsQA",)),
  }
  assert mrqa.DATASETS.keys() - names.keys() == {"squad"}
  for name, (config, files) in names.items():
    dataset = mrqa.DATASETS[name]
    assert dataset.tfds_name.startswith(f"mrqa/{config}:")
    assert dataset.files.folder == name
    assert f"mrqa/{config}" in dataset.files.also
    assert dataset.files.names == {
      "train": tuple(f"train/{file}.jsonl.gz" for file in files),
      "validation": tuple(f"dev/{file}.jsonl.gz" for file in files),
    }
