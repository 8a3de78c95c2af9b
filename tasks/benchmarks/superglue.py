"""SuperGLUE (Wang et al., 2019), seven tasks, from its files or through TFDS.

Its public test splits have no labels (-1) and are never read. MultiRC and COPA
are classification. An answer option of MultiRC is right or wrong. COPA's two
choices are in the input, and the target says which one is right. For ReCoRD the
model generates the entity.
"""

import functools
import re

from mpt_jax.data import metrics
from mpt_jax.tasks import readers
from mpt_jax.tasks.forms import Answers, Labels
from mpt_jax.tasks.splits import CARVE, HALVE
from mpt_jax.tasks.tfds_tasks import Dataset
from mpt_jax.tasks.user_files import UserFiles

_FALSE_TRUE = ("False", "True")


def _files(name, folder, counts, owner, licence, size, expand=None):
  """Declares a task's files: one of the archives of SuperGLUE's version 2.

  Args:
    name: the task's name without "super_glue_".
    folder: the folder in the archive, and the archive's name.
    counts: rows of train and validation.
    owner: of the texts.
    licence: of the texts.
    size: of the archive.
    expand: see `readers.JsonLines`.
  """
  return UserFiles(
    folder=f"super_glue_{name}",
    names={"train": "train.jsonl", "validation": "val.jsonl"},
    read=readers.JsonLines(expand) if expand else readers.JsonLines(),
    origin="https://dl.fbaipublicfiles.com/glue/superglue/data/v2/"
    f"{folder}.zip",
    owner=owner,
    licence=licence,
    size=size,
    counts=dict(zip(("train", "validation"), counts, strict=True)),
    also=(f"super_glue/{folder}", f"superglue/{folder}", folder),
    inside=(folder,),
  )


FILES = {
  "super_glue_boolq": _files(
    "boolq",
    "BoolQ",
    (9427, 3270),
    "Clark et al. (2019), Google",
    "CC BY-SA 3.0",
    "4.1 MB",
  ),
  "super_glue_cb": _files(
    "cb",
    "CB",
    (250, 56),
    "de Marneffe et al. (2019)",
    "not stated; see the owner",
    "0.1 MB",
  ),
  "super_glue_copa": _files(
    "copa",
    "COPA",
    (400, 100),
    "Roemmele et al. (2011)",
    "BSD 2-clause",
    "0.1 MB",
  ),
  "super_glue_multirc": _files(
    "multirc",
    "MultiRC",
    (27243, 4848),
    "Khashabi et al. (2018)",
    "not stated; see the owner",
    "1.1 MB",
    readers.multirc,
  ),
  "super_glue_record": _files(
    "record",
    "ReCoRD",
    (100730, 10000),
    "Zhang et al. (2018)",
    "Apache-2.0; the news belong to their publishers",
    "52 MB",
    readers.record,
  ),
  "super_glue_wic": _files(
    "wic",
    "WiC",
    (5428, 638),
    "Pilehvar and Camacho-Collados (2019)",
    "CC BY-NC 4.0",
    "0.4 MB",
  ),
  "super_glue_wsc": _files(
    "wsc",
    "WSC",
    (554, 104),
    "Levesque et al. (2012), Wang et al. (2019)",
    "CC BY 4.0",
    "0.1 MB",
    readers.wsc,
  ),
}


def prepare_multirc(row: dict) -> dict:
  """Removes HTML tags and adds `group`, the question of the paragraph."""

  def clean(text):
    return re.sub(r"</?b>", "", text.replace("<br>", " "))

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

  Case and punctuation of a span may differ from the text's, as they do in the
  official files. Some of the dataset's indices are wrong: if the text does not
  have a span at its word index, the span is not marked.
  """
  text = row["text"]
  marks = []
  for name, mark in (("span1", "*"), ("span2", "#")):
    found = find_span(text, row[f"{name}_text"], row[f"{name}_index"])
    if found:
      start, end = found
      marks += [
        (start, start - end, f"{mark} "),
        (end, end - start, f" {mark}"),
      ]
  # Insert from the end, because an insertion moves all later positions. If two
  # marks have the same position, the mark of the longer span goes outside.
  for place, _, mark in sorted(marks, reverse=True):
    text = text[:place] + mark + text[place:]
  return {**row, "text": text}


_PLAIN_APOSTROPHES = str.maketrans("‘’`´", "'" * 4)


def find_span(text: str, span: str, index: int) -> tuple[int, int] | None:
  """Returns where a span of words begins and ends in a text.

  Args:
    text: the text.
    span: the words. If the text has other ones at the index, they may differ in
      case, in the punctuation around a word and in the form of an apostrophe.
    index: the number of the span's first word in the text, from 0.

  >>> find_span("Then, the Cat sat.", "The cat.", 1)
  (6, 13)
  """
  # One character each, so positions stay.
  text, span = (x.translate(_PLAIN_APOSTROPHES) for x in (text, span))
  words = [match.span() for match in re.finditer(r"\S+", text)]
  if not 0 <= index < len(words) or not span.strip():
    return None
  if text.startswith(span, words[index][0]):
    return words[index][0], words[index][0] + len(span)
  cores = [_core(word) for word in span.split()]
  places = words[index : index + len(cores)]
  found = [_core(text[start:end]) for start, end in places]
  if len(found) < len(cores) or not cores[-1].group():
    return None
  if [c.group().casefold() for c in found[:-1]] != [
    c.group().casefold() for c in cores[:-1]
  ]:
    return None
  # The text's last word may be longer, as in "Bob's" for "Bob".
  last, wanted = found[-1].group(), cores[-1].group()
  rest = last[len(wanted) :]
  if last[: len(wanted)].casefold() != wanted.casefold() or rest[:1].isalnum():
    return None
  end = places[-1][0] + found[-1].start() + len(wanted)
  return places[0][0] + found[0].start(), end


def _core(word) -> re.Match:
  """Finds a word without the punctuation around it."""
  return re.search(r"\w(.*\w)?", word, re.DOTALL) or re.match("", word)


DATASETS = {
  "super_glue_boolq": Dataset(
    "super_glue/boolq:1.*.*",
    "question: {question} passage: {passage}",
    Labels(_FALSE_TRUE),
    HALVE,
    t5_template="boolq passage: {passage} question: {question}",
    files=FILES["super_glue_boolq"],
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
    files=FILES["super_glue_cb"],
  ),
  "super_glue_copa": Dataset(
    "super_glue/copa:1.*.*",
    "premise: {premise} question: {question} choice1: {choice1}"
    " choice2: {choice2}",
    Labels(("choice1", "choice2")),
    HALVE,
    t5_template="copa choice1: {choice1} choice2: {choice2}"
    " premise: {premise} question: {question}",
    files=FILES["super_glue_copa"],
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
    files=FILES["super_glue_multirc"],
  ),
  # In training each answer gives an example.
  "super_glue_record": Dataset(
    "super_glue/record:1.*.*",
    "query: {query} entities: {entities} passage: {passage}",
    Answers(each=True),
    CARVE,
    t5_template="record query: {query} entities: {entities} passage: {passage}",
    prepare=prepare_record,
    files=FILES["super_glue_record"],
  ),
  "super_glue_wic": Dataset(
    "super_glue/wic:1.*.*",
    "sentence1: {sentence1} sentence2: {sentence2} word: {word}",
    Labels(_FALSE_TRUE),
    HALVE,
    t5_template="wic sentence1: {sentence1} sentence2: {sentence2}"
    " word: {word}",
    files=FILES["super_glue_wic"],
  ),
  # There is no prefixed form, because T5 1.0 was pretrained to name the noun.
  "super_glue_wsc": Dataset(
    "super_glue/wsc.fixed:1.*.*",
    "text: {text}",
    Labels(_FALSE_TRUE),
    HALVE,
    prepare=prepare_wsc,
    files=FILES["super_glue_wsc"],
  ),
}
