"""Rows of every dataset in `tasks.benchmarks`, and TFDS mocked to read them."""

import contextlib

import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from mpt_jax import tasks
from mpt_jax.inference import evaluator


def _pairs(first, second, rows):
  return [
    {first: a, second: b, "label": label, "idx": i}
    for i, (a, b, label) in enumerate(rows)
  ]


def _question(question, context, answers):
  return {
    "subset": "",
    "context": context,
    "context_tokens": [],
    "qid": "",
    "question": question,
    "question_tokens": [],
    "detected_answers": [],
    "answers": answers,
  }


def _squad(id_, question, context, answers):
  return {
    "id": id_,
    "title": "",
    "context": context,
    "question": question,
    "answers": [{"text": text, "answer_start": 0} for text in answers],
  }


def _multirc(paragraph, question, answer, label, idx):
  return {
    "paragraph": paragraph,
    "question": question,
    "answer": answer,
    "label": label,
    "idx": dict(zip(("paragraph", "question", "answer"), idx, strict=True)),
  }


def _wsc(text, span1, span2, label):
  return {
    "text": text,
    "span1_index": span1[0],
    "span1_text": span1[1],
    "span2_index": span2[0],
    "span2_text": span2[1],
    "label": label,
    "idx": 0,
  }


def _wic(sentence1, sentence2, word, label):
  places = dict.fromkeys(("start1", "start2", "end1", "end2"), 0)
  return {
    "sentence1": sentence1,
    "sentence2": sentence2,
    "word": word,
    "label": label,
    "idx": 0,
    **places,
  }


def _record(passage, query, entities, answers):
  return {
    "passage": passage,
    "query": query,
    "entities": entities,
    "answers": answers,
    "idx": {"passage": 0, "query": 0},
  }


def _e2e(data, target, references=()):
  ids = {"gem_id": "", "gem_parent_id": ""}
  data = {"meaning_representation": data, "target": target}
  return {**ids, **data, "references": list(references)}


def _web(triples, target, references=()):
  names = ("gem_id", "gem_parent_id", "category", "webnlg_id")
  data = {"input": triples, "target": target, "references": list(references)}
  return {**dict.fromkeys(names, ""), **data}


_MRQA = {
  "train": [
    _question("who?", "[PAR] Ana and Bo.", ["Ana"]),
    _question("when?", "[PAR] In 1999.", ["1999", "In 1999"]),
  ],
  "validation": [
    _question("où?", "À Paris, près de la tour.", ["", "Paris", "À Paris"]),
  ],
}

# {dataset/config: {its own split: rows}}. Public test splits without labels
# are there to be left alone.
ROWS = {
  "glue/cola": {
    "train": [
      {"sentence": "Dogs bark.", "label": 1, "idx": 0},
      {"sentence": "Bark dogs the.", "label": 0, "idx": 1},
    ],
    "validation": [
      {"sentence": "Cats purr.", "label": 1, "idx": 0},
      {"sentence": "Purr the.", "label": 0, "idx": 1},
    ],
    "test": [{"sentence": "Hidden.", "label": -1, "idx": 0}],
  },
  "glue/sst2": {
    "train": [
      {"sentence": "a joy ", "label": 1, "idx": 0},
      {"sentence": "a bore ", "label": 0, "idx": 1},
    ],
    "validation": [{"sentence": "so naïve", "label": 0, "idx": 0}],
    "test": [{"sentence": "hidden", "label": -1, "idx": 0}],
  },
  "glue/mrpc": {
    "train": _pairs("sentence1", "sentence2", [("a", "b", 0), ("c", "c", 1)]),
    "validation": _pairs(
      "sentence1", "sentence2", [("d", "e", 0), ("f", "f", 1)]
    ),
    "test": _pairs("sentence1", "sentence2", [("h", "h", -1)]),
  },
  "glue/qqp": {
    "train": _pairs(
      "question1", "question2", [("a?", "b?", 0), ("c?", "c ?", 1)]
    ),
    "validation": _pairs("question1", "question2", [("d?", "d?", 1)]),
    "test": _pairs("question1", "question2", [("h", "h", -1)]),
  },
  "glue/stsb": {
    "train": _pairs(
      "sentence1", "sentence2", [("a", "b", 0.1), ("c", "c", 5.0)]
    ),
    "validation": _pairs(
      "sentence1", "sentence2", [("d", "e", 2.5), ("f", "g", 3.25)]
    ),
    "test": _pairs("sentence1", "sentence2", [("h", "h", -1.0)]),
  },
  "glue/mnli": {
    "train": _pairs(
      "premise", "hypothesis", [("a", "b", 0), ("c", "d", 1), ("e", "f", 2)]
    ),
    "validation_matched": _pairs("premise", "hypothesis", [("g", "h", 2)]),
    "validation_mismatched": _pairs("premise", "hypothesis", [("i", "j", 0)]),
    "test_matched": _pairs("premise", "hypothesis", [("k", "l", -1)]),
  },
  "glue/qnli": {
    "train": _pairs("question", "sentence", [("a?", "b", 0), ("c?", "d", 1)]),
    "validation": _pairs("question", "sentence", [("e?", "f", 1)]),
    "test": _pairs("question", "sentence", [("h", "h", -1)]),
  },
  "glue/rte": {
    "train": _pairs("sentence1", "sentence2", [("a", "b", 0), ("c", "d", 1)]),
    "validation": _pairs(
      "sentence1", "sentence2", [("e", "f", 1), ("g", "h", 0)]
    ),
    "test": _pairs("sentence1", "sentence2", [("h", "h", -1)]),
  },
  "super_glue/boolq": {
    "train": _pairs("question", "passage", [("is a b", "A is b.", 1)]),
    "validation": _pairs(
      "question", "passage", [("is c d", "No.", 0), ("is e f", "Yes.", 1)]
    ),
    "test": _pairs("question", "passage", [("h", "h", -1)]),
  },
  "super_glue/cb": {
    "train": _pairs(
      "premise", "hypothesis", [("a", "b", 0), ("c", "d", 1), ("e", "f", 2)]
    ),
    "validation": _pairs(
      "premise", "hypothesis", [("g", "h", 1), ("i", "j", 2)]
    ),
    "test": _pairs("premise", "hypothesis", [("k", "l", -1)]),
  },
  "super_glue/copa": {
    "train": [
      {
        "premise": "It rained.",
        "question": "effect",
        "choice1": "I sang.",
        "choice2": "I got wet.",
        "label": 1,
        "idx": 0,
      }
    ],
    "validation": [
      {
        "premise": f"P{i}.",
        "question": "cause",
        "choice1": "One.",
        "choice2": "Two.",
        "label": i,
        "idx": i,
      }
      for i in range(2)
    ],
  },
  "super_glue/multirc": {
    "train": [_multirc("<b>Sent 1: </b>Hi.<br>", "Who?", "Al", 1, (0, 0, 0))],
    "validation": [
      _multirc("Text.", "Q0?", "yes", 1, (7, 0, 0)),
      _multirc("Text.", "Q0?", "no", 0, (7, 0, 1)),
      _multirc("Text.", "Q1?", "yes", 1, (7, 1, 2)),
      _multirc("Text.", "Q1?", "never", 0, (7, 1, 3)),
    ],
    "test": [_multirc("Hidden.", "Q?", "a", -1, (9, 9, 9))],
  },
  "super_glue/record": {
    "train": [
      _record(
        "Rome won\n@highlight\nA. fell", "@placeholder won", ["Rome"], ["Rome"]
      ),
      _record("B.\n@highlight\nC", "@placeholder lost", ["B", "C"], ["C"]),
    ],
    "validation": [
      _record(
        "Ana (Ana B.) sang!\n@highlight\nZoë wept",
        "@placeholder sang",
        ["Ana", "Ana B.", "Zoë"],
        ["Ana", "Ana B."],
      )
    ],
    "test": [_record("Hidden", "@placeholder", ["A"], [])],
  },
  "super_glue/wic": {
    "train": [_wic("Go to bed.", "The river bed.", "bed", 0)],
    "validation": [
      _wic("Run home.", "Run away.", "run", 1),
      _wic("A run.", "Run!", "run", 0),
    ],
  },
  "super_glue/wsc.fixed": {
    "train": [
      _wsc("Bob told Al that he won, he said.", (0, "Bob"), (6, "he"), 1),
    ],
    "validation": [
      # The pronoun comes first; the noun has two words and a comma after it.
      _wsc(
        "As it fell, the old vase, broke.", (3, "the old vase"), (1, "it"), 1
      ),
      # The noun is not where the row says.
      _wsc("Ann saw her cat.", (1, "Ann"), (2, "her"), 0),
    ],
  },
  "squad/v1.1": {
    "train": [
      _squad("0", "Who?", "It was Ana.", ["Ana"]),
      _squad("1", "When?", "In 1999.", ["1999", "In 1999"]),
    ],
    "validation": [
      _squad("2", "Where?", "In the city.", ["the city", "city", "city"]),
      _squad("3", "Wer?", "Ägid.", ["Ägid"]),
    ],
  },
  "mrqa/natural_questions": _MRQA,
  "mrqa/hotpot_qa": _MRQA,
  "mrqa/search_qa": _MRQA,
  "mrqa/news_qa": _MRQA,
  "winogrande": {
    "train_xl": [
      {"sentence": "_ ran.", "option1": "Al", "option2": "Bo", "label": 1},
      {"sentence": "_ hid.", "option1": "Al", "option2": "Bo", "label": 0},
    ],
    "validation": [
      {"sentence": "_ won.", "option1": "Cy", "option2": "Di", "label": 0}
    ],
    "test": [{"sentence": "_", "option1": "", "option2": "", "label": -1}],
  },
  "yelp_polarity_reviews": {
    "train": [{"text": "Great!", "label": 1}, {"text": "Awful.", "label": 0}],
    "test": [{"text": "Fine. \\n Good.", "label": 1}],
  },
  "sci_tail": {
    "train": [{"premise": "a", "hypothesis": "b", "label": "neutral"}],
    "validation": [{"premise": "c", "hypothesis": "d", "label": "entails"}],
    "test": [{"premise": "e", "hypothesis": "f", "label": "neutral"}],
  },
  "paws_wiki/labeled_final_tokenized": {
    "train": [{"sentence1": "a b", "sentence2": "b a", "label": 0}],
    "validation": [{"sentence1": "c", "sentence2": "c", "label": 1}],
    "test": [{"sentence1": "d", "sentence2": "e", "label": 0}],
  },
  "gem/e2e_nlg": {
    "train": [
      _e2e("name[Zizzi], area[city]", "Zizzi is central."),
      _e2e("name[Zizzi], area[city]", "In the city is Zizzi."),
    ],
    "validation": [_e2e("name[Blé]", "Blé.", ["Blé."])],
    "test": [
      _e2e(
        "name[Alimentum]", "Alimentum is a place.", ["Alimentum is a place."]
      ),
      _e2e("name[Giraffe]", "Giraffe is a pub.", ["Giraffe is a pub."]),
      _e2e("name[Alimentum]", "There is Alimentum.", ["There is Alimentum."]),
    ],
  },
  "gem/web_nlg_en": {
    "train": [
      _web(["Aarhus | leader | Jacob", "Aarhus | in | Denmark"], "Jacob leads.")
    ],
    "validation": [_web(["A | b | C"], "A b C.", ["A b C.", "C is b of A."])],
    "test": [_web(["D | e | F"], "D e F.", ["D e F.", "F is e of D."])],
  },
}


def _as_dataset(self, split, decoders=None, **unused_kwargs):
  """What `DatasetBuilder._as_dataset` is replaced by: as from TFDS's files."""
  config = f"/{self.builder_config.name}" if self.builder_config else ""
  rows = ROWS[self.name + config][str(split)]
  features = self.info.features
  records = [
    features.serialize_example(features.encode_example(r)) for r in rows
  ]
  if isinstance(decoders, tfds.decode.PartialDecoding):
    features = decoders.extract_features(features)
  ds = tf.data.Dataset.from_tensor_slices(tf.constant(records, tf.string))
  return ds.map(features.deserialize_example)


@contextlib.contextmanager
def mock_tfds(folder):
  """TFDS with `ROWS` in place of data, and no files of the user's.

  Args:
    folder: an empty one.
  """
  with (
    pytest.MonkeyPatch.context() as patch,
    tfds.testing.mock_data(as_dataset_fn=_as_dataset, data_dir=str(folder)),
  ):
    patch.setenv("MPT_DATA_DIR", str(folder))
    yield


def examples(name, *names):
  """The (inputs, targets) of a registered task's splits."""
  source = tasks.get_task(name).source
  return [pair for split in names for pair in source.examples(split)]


def eval_task(name, split="test"):
  task = tasks.with_vocabulary(name, seqio.ByteVocabulary())
  return evaluator.EvalTask(task, split)


def postprocessed(task, texts):
  """What the metrics get where these texts are predicted."""
  return [
    task.postprocess(text, example, False)
    for text, example in zip(texts, task.examples, strict=True)
  ]
