"""SuperGLUE (Wang et al., 2019), seven tasks, through TFDS.

Its public test splits have no labels (-1) and are never read. MultiRC and COPA
are classification. An answer option of MultiRC is right or wrong. COPA's two
choices are in the input, and the target says which one is right. For ReCoRD the
model generates the entity.
"""

import functools
import re

from mpt_jax.data import metrics
from mpt_jax.tasks.forms import Answers, Labels
from mpt_jax.tasks.splits import CARVE, HALVE
from mpt_jax.tasks.tfds_tasks import Dataset

_FALSE_TRUE = ("False", "True")


def prepare_multirc(row: dict) -> dict:
  """Removes HTML tags and adds `group`, the question of the paragraph."""
  clean = lambda text: re.sub(r"</?b>", "", text.replace("<br>", " "))
  texts = {k: clean(row[k]) for k in ("paragraph", "question", "answer")}
  group = f"{row['idx']['paragraph']}-{row['idx']['question']}"
  return {**row, **texts, "group": group}


def prepare_record(row: dict) -> dict:
  """Joins the passage's highlights as sentences, and the entities by commas."""
  # A highlight follows a sentence, whose full stop may be missing.
  passage = re.sub(r"([.?!\"'])\n@highlight\n", r"\1 ", row["passage"])
  passage = passage.replace("\n@highlight\n", ". ")
  return {**row, "passage": passage, "entities": ", ".join(row["entities"])}


def prepare_wsc(row: dict) -> dict:
  """Marks the noun and the pronoun: "* Bob * said that # he # was late".

  Some of the dataset's indices are wrong: if the text does not have a span at
  its word index, the span is not marked.
  """
  text = row["text"]
  words = [match.start() for match in re.finditer(r"\S+", text)]
  marks = []
  for name, mark in (("span1", "*"), ("span2", "#")):
    index, span = row[f"{name}_index"], row[f"{name}_text"]
    if 0 <= index < len(words) and text.startswith(span, words[index]):
      start, length = words[index], len(span)
      marks += [
        (start, -length, f"{mark} "),
        (start + length, length, f" {mark}"),
      ]
  # Insert from the end, because an insertion moves all later positions. If two
  # marks have the same position, the mark of the longer span goes outside.
  for place, _, mark in sorted(marks, reverse=True):
    text = text[:place] + mark + text[place:]
  return {**row, "text": text}


DATASETS = {
  "super_glue_boolq": Dataset(
    "super_glue/boolq:1.*.*",
    "question: {question} passage: {passage}",
    Labels(_FALSE_TRUE),
    HALVE,
    t5_template="boolq passage: {passage} question: {question}",
  ),
  # CB's class order is not MNLI's.
  "super_glue_cb": Dataset(
    "super_glue/cb:1.*.*",
    "premise: {premise} hypothesis: {hypothesis}",
    Labels(("entailment", "contradiction", "neutral")),
    HALVE,
    metric_fns=(
      "accuracy",
      functools.partial(metrics.f1_macro, num_classes=3),
    ),
    t5_template="cb hypothesis: {hypothesis} premise: {premise}",
  ),
  "super_glue_copa": Dataset(
    "super_glue/copa:1.*.*",
    "premise: {premise} question: {question} choice1: {choice1}"
    " choice2: {choice2}",
    Labels(("choice1", "choice2")),
    HALVE,
    t5_template="copa choice1: {choice1} choice2: {choice2}"
    " premise: {premise} question: {question}",
  ),
  # The dataset counts as small, because it has 5,100 questions. The options of
  # a question stay in one split.
  "super_glue_multirc": Dataset(
    "super_glue/multirc:1.*.*",
    "question: {question} answer: {answer} paragraph: {paragraph}",
    Labels(_FALSE_TRUE, grouped=True),
    HALVE,
    metric_fns=("multirc",),
    metric="f1a",
    t5_template="multirc question: {question} answer: {answer}"
    " paragraph: {paragraph}",
    prepare=prepare_multirc,
    key_fields=("group",),
  ),
  # In training each answer gives an example.
  "super_glue_record": Dataset(
    "super_glue/record:1.*.*",
    "query: {query} entities: {entities} passage: {passage}",
    Answers(each=True),
    CARVE,
    t5_template="record query: {query} entities: {entities} passage: {passage}",
    prepare=prepare_record,
  ),
  "super_glue_wic": Dataset(
    "super_glue/wic:1.*.*",
    "sentence1: {sentence1} sentence2: {sentence2} word: {word}",
    Labels(_FALSE_TRUE),
    HALVE,
    t5_template="wic sentence1: {sentence1} sentence2: {sentence2}"
    " word: {word}",
  ),
  # There is no prefixed form, because T5 1.0 was pretrained to name the noun.
  "super_glue_wsc": Dataset(
    "super_glue/wsc.fixed:1.*.*",
    "text: {text}",
    Labels(_FALSE_TRUE),
    HALVE,
    prepare=prepare_wsc,
  ),
}
