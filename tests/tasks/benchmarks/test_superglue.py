"""SuperGLUE's seven tasks on mocked rows, and how their rows are prepared."""

import doctest

import pytest
import tfds_rows

from mpt_jax.tasks.benchmarks import superglue

# The expected examples of tfds_rows.ROWS, worked by hand: first those of
# training and model selection, then those of the dataset's labelled test.
EXPECTED = {
  "super_glue_boolq": (
    [("question: is a b passage: A is b.", "1")],
    [
      ("question: is c d passage: No.", "0"),
      ("question: is e f passage: Yes.", "1"),
    ],
  ),
  "super_glue_boolq_prefixed": (
    [("boolq passage: A is b. question: is a b", "True")],
    [
      ("boolq passage: No. question: is c d", "False"),
      ("boolq passage: Yes. question: is e f", "True"),
    ],
  ),
  # Class 1 is contradiction and class 2 is neutral.
  "super_glue_cb": (
    [
      ("premise: a hypothesis: b", "0"),
      ("premise: c hypothesis: d", "1"),
      ("premise: e hypothesis: f", "2"),
    ],
    [("premise: g hypothesis: h", "1"), ("premise: i hypothesis: j", "2")],
  ),
  "super_glue_cb_prefixed": (
    [
      ("cb hypothesis: b premise: a", "entailment"),
      ("cb hypothesis: d premise: c", "contradiction"),
      ("cb hypothesis: f premise: e", "neutral"),
    ],
    [
      ("cb hypothesis: h premise: g", "contradiction"),
      ("cb hypothesis: j premise: i", "neutral"),
    ],
  ),
  "super_glue_copa": (
    [
      (
        "premise: It rained. question: effect choice1: I sang."
        " choice2: I got wet.",
        "1",
      )
    ],
    [
      ("premise: P0. question: cause choice1: One. choice2: Two.", "0"),
      ("premise: P1. question: cause choice1: One. choice2: Two.", "1"),
    ],
  ),
  "super_glue_copa_prefixed": (
    [
      (
        "copa choice1: I sang. choice2: I got wet. premise: It rained."
        " question: effect",
        "choice2",
      )
    ],
    [
      (
        "copa choice1: One. choice2: Two. premise: P0. question: cause",
        "choice1",
      ),
      (
        "copa choice1: One. choice2: Two. premise: P1. question: cause",
        "choice2",
      ),
    ],
  ),
  "super_glue_multirc": (
    [("question: Who? answer: Al paragraph: Sent 1: Hi. ", "1")],
    [
      ("question: Q0? answer: yes paragraph: Text.", "1"),
      ("question: Q0? answer: no paragraph: Text.", "0"),
      ("question: Q1? answer: yes paragraph: Text.", "1"),
      ("question: Q1? answer: never paragraph: Text.", "0"),
    ],
  ),
  "super_glue_multirc_prefixed": (
    [("multirc question: Who? answer: Al paragraph: Sent 1: Hi. ", "True")],
    [
      ("multirc question: Q0? answer: yes paragraph: Text.", "True"),
      ("multirc question: Q0? answer: no paragraph: Text.", "False"),
      ("multirc question: Q1? answer: yes paragraph: Text.", "True"),
      ("multirc question: Q1? answer: never paragraph: Text.", "False"),
    ],
  ),
  # A highlight without a full stop before it gets one.
  "super_glue_record": (
    [
      (
        "query: @placeholder won entities: Rome passage: Rome won. A. fell",
        "Rome",
      ),
      ("query: @placeholder lost entities: B, C passage: B. C", "C"),
    ],
    [
      (
        "query: @placeholder sang entities: Ana, Ana B., Zoë passage:"
        " Ana (Ana B.) sang! Zoë wept",
        "Ana",
      )
    ],
  ),
  "super_glue_record_prefixed": (
    [
      (
        "record query: @placeholder won entities: Rome passage:"
        " Rome won. A. fell",
        "Rome",
      ),
      ("record query: @placeholder lost entities: B, C passage: B. C", "C"),
    ],
    [
      (
        "record query: @placeholder sang entities: Ana, Ana B., Zoë passage:"
        " Ana (Ana B.) sang! Zoë wept",
        "Ana",
      )
    ],
  ),
  "super_glue_wic": (
    [("sentence1: Go to bed. sentence2: The river bed. word: bed", "0")],
    [
      ("sentence1: Run home. sentence2: Run away. word: run", "1"),
      ("sentence1: A run. sentence2: Run! word: run", "0"),
    ],
  ),
  "super_glue_wic_prefixed": (
    [
      ("wic sentence1: Go to bed. sentence2: The river bed. word: bed", "False")
    ],
    [
      ("wic sentence1: Run home. sentence2: Run away. word: run", "True"),
      ("wic sentence1: A run. sentence2: Run! word: run", "False"),
    ],
  ),
  # In the last one the noun is not at its word: only the pronoun is marked.
  "super_glue_wsc": (
    [("text: * Bob * told Al that he won, # he # said.", "1")],
    [
      ("text: As # it # fell, * the old vase *, broke.", "1"),
      ("text: Ann saw # her # cat.", "0"),
    ],
  ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_inputs_and_targets(name):
  tfds_rows.check_examples(name, *EXPECTED[name])


def test_every_task_is_expected():
  assert tfds_rows.task_names(superglue.DATASETS) == EXPECTED.keys()


def test_multirc_loses_its_tags_and_names_its_question():
  row = {
    "paragraph": "<b>Sent 1: </b>Hi<br><b>Sent 2: </b>1 < 2",
    "question": "Who<br>?",
    "answer": "<b>Al</b>",
    "idx": {"paragraph": 3, "question": 14, "answer": 2},
    "label": 1,
  }
  assert superglue.prepare_multirc(row) == {
    **row,
    "paragraph": "Sent 1: Hi Sent 2: 1 < 2",
    "question": "Who ?",
    "answer": "Al",
    "group": "3-14",
  }


def test_multirc_groups_the_options_of_a_question():
  parts = [
    tfds_rows.eval_task("super_glue_multirc", s) for s in ("validation", "test")
  ]
  groups = [[group for group, _ in part.targets] for part in parts]
  assert sorted(map(tuple, groups)) == [("7-0", "7-0"), ("7-1", "7-1")]
  assert [[v for _, v in part.targets] for part in parts] == [[1, 0]] * 2
  # Both options called right: P = 1/2, R = 1, F1a = 2/3, no question exact.
  made = parts[0].metrics(tfds_rows.postprocessed(parts[0], ["1", "1"]))
  assert made["f1a"] == pytest.approx(2 / 3) and made["em"] == 0.0


def test_record_takes_any_of_the_entities():
  task = tfds_rows.eval_task("super_glue_record")
  assert task.targets == [["Ana", "Ana B."]]
  # "ana b" is the second entity; of "Ana Zoë" half the words are the first.
  made = task.metrics(tfds_rows.postprocessed(task, ["ana b"]))
  assert made["em"] == 1.0
  made = task.metrics(tfds_rows.postprocessed(task, ["Ana Zoë"]))
  assert made["em"] == 0.0 and made["f1"] == pytest.approx(2 / 3)


def test_wsc_marks():
  def marked(text, index1, span1, index2, span2):
    row = {"text": text, "span1_index": index1, "span1_text": span1}
    row.update(span2_index=index2, span2_text=span2)
    return superglue.prepare_wsc(row)["text"]

  text = "Al met Bo; he waved."
  assert marked(text, 2, "Bo", 3, "he") == "Al met * Bo *; # he # waved."
  assert marked(text, 3, "he", 0, "Al") == "# Al # met Bo; * he * waved."
  # The pronoun may stand in the noun's span.
  text = "Then his mother came."
  expected = "Then * # his # mother * came."
  assert marked(text, 1, "his mother", 1, "his") == expected
  text = "The man he saw ran."
  expected = "* The man # he # saw * ran."
  assert marked(text, 0, "The man he saw", 2, "he") == expected
  text = "Al met Bo; he waved."
  # Neither a span at another word nor an index beyond the text is marked.
  assert marked(text, 1, "Bo", 9, "he") == text


@pytest.mark.parametrize(
  ("text", "index", "span", "marked"),
  [
    # Official spans differ in the case of the first word, ...
    ("As the tall man sat, he fell.", 1, "The tall man", "the tall man"),
    ("The tall man sat, so he fell.", 0, "the tall man", "The tall man"),
    # ... in a full stop, ...
    ("He gave the dog a bone.", 2, "The dog.", "the dog"),
    ("He gave it to Bob, who ran.", 4, "Bob.", "Bob"),
    # ... in white space, ...
    ("I met the old dog today.", 2, "the old\ndog", "the old dog"),
    # ... and in quotes and possessives.
    ('She said "the dog" ran.', 2, "The dog", "the dog"),
    ("Then Bob's mother ran.", 1, "bob", "Bob"),
    # An apostrophe has several forms.
    ("Then Bob’s mother ran.", 1, "Bob's mother", "Bob’s mother"),
    ("Then Bob's mother ran.", 1, "bob’s Mother.", "Bob's mother"),
    ("Then the Smiths’ son ran.", 1, "The Smiths' son", "the Smiths’ son"),
    ("Then ‘the dog’ ran.", 1, "The dog", "the dog"),
    # These are other words.
    ("Then Bobby ran.", 1, "bob", None),
    ("The tall man ran.", 0, "the small man", None),
    ("Then Bob ran.", 2, "Bob", None),
    ("Then Bob", 1, "Bob Smith", None),
    ("Then Bob", 1, " ", None),
    ("Then --", 1, ".", None),
    ("Then -- ran", 1, "bob", None),
  ],
)
def test_wsc_spans_whose_case_or_punctuation_differs(text, index, span, marked):
  found = superglue.find_span(text, span, index)
  assert (found and text[slice(*found)]) == marked
  row = {"text": text, "span1_index": index, "span1_text": span}
  row.update(span2_index=-1, span2_text="it")
  expected = text.replace(marked, f"* {marked} *", 1) if marked else text
  assert superglue.prepare_wsc(row)["text"] == expected
  assert doctest.testmod(superglue).failed == 0


def test_record_highlights_become_sentences():
  row = {"entities": ["A", "B"]}
  made = superglue.prepare_record(
    {**row, "passage": 'He said "A."\n@highlight\nB rose\n@highlight\nC fell?'}
  )
  assert made["passage"] == 'He said "A." B rose. C fell?'
  assert made["entities"] == "A, B"
