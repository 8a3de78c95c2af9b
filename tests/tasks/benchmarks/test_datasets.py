"""Every task of the paper on mocked rows: inputs and targets."""

import pytest
import seqio
import tfds_rows
from tfds_rows import examples

from mpt_jax.tasks.benchmarks import datasets


@pytest.fixture(scope="module", autouse=True)
def mocked(tmp_path_factory):
  with tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")):
    yield


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
  learn, test = EXPECTED[name]
  halved = datasets.DATASETS[name.removesuffix("_prefixed")].splits
  if halved.division == "halve":
    assert examples(name, "train") == learn
    assert sorted(examples(name, "validation", "test")) == sorted(test)
    assert examples(name, "validation") and examples(name, "test")
  else:
    assert sorted(examples(name, "train", "validation")) == sorted(learn)
    assert examples(name, "test") == test
    assert examples(name, "validation")


def test_every_registered_task_is_expected():
  names = seqio.TaskRegistry.names()
  known = {n for n in names if n.removesuffix("_prefixed") in datasets.DATASETS}
  assert known == EXPECTED.keys() | {"e2e_nlg_2017"}
  groups = (datasets.SOURCES, datasets.GLUE, datasets.SUPER_GLUE)
  groups += (datasets.MRQA, datasets.OTHERS, datasets.NLG)
  assert [len(group) for group in groups] == [6, 8, 5, 4, 4, 2]
  assert set(sum(groups, ())) <= known
