"""Reads the official files of datasets, in the formats of their owners.

A reader is called with a path and the dataset's own split, and yields rows that
have the names and the values of TFDS's features. `user_files.UserFiles` finds
the paths.
"""

import dataclasses
import pathlib
import warnings
import xml.etree.ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping

from mpt_jax.data import rows

# A larger share of rows that lack columns is damage, not a slip of the owner.
SHORT_ROWS = 0.001
# GLUE's validation split of MRPC, as pairs of sentence ids.
MRPC_IDS = ("mrpc_dev_ids.tsv", "data_mrpc_dev_ids.tsv", "dev_ids.tsv")


def class_id(text: str) -> int | str:
  """Returns a class's number as a number, and its name as it is."""
  return int(text) if text.lstrip("-").isdigit() else text


@dataclasses.dataclass(frozen=True)
class Table:
  """A table with the features in some of its columns.

  Attributes:
    columns: {feature: the column's name}.
    format: "tsv", where quotes are literal, or "csv".
    header: the columns, if the file does not name them.
    quotes: see `rows.read_rows`.
    convert: {feature: a function of the text}; other features are texts.
    ragged: leave out rows that lack a column, as TFDS does for GLUE; there must
      be few. Other fields beyond the header are ignored.
  """

  columns: Mapping[str, str]
  format: str = "tsv"
  header: tuple[str, ...] | None = None
  quotes: bool | None = None
  convert: Mapping[str, Callable] = dataclasses.field(
    default_factory=lambda: {"label": class_id}
  )
  ragged: bool = False

  def __call__(self, path, split: str) -> Iterator[dict]:
    del split
    total, short = 0, []
    for number, row in rows.read_file(
      path,
      self.format,
      header=self.header,
      quotes=self.quotes,
      ragged=self.ragged,
    ):
      total += 1
      missing = [name for name in self.columns.values() if name not in row]
      if not missing:
        yield self._features(row, number)
      else:
        short.append(f"line {number}: no column {missing[0]!r}")
    if len(short) > SHORT_ROWS * total * self.ragged:
      raise ValueError(f"{short[0]} (and {len(short)} of {total} lines alike)")

  def _features(self, row, number):
    made = {}
    for feature, column in self.columns.items():
      made[feature] = row[column]
      if feature in self.convert:
        try:
          made[feature] = self.convert[feature](row[column])
        except ValueError as error:
          raise ValueError(f"line {number}: {column}: {error}") from error
    return made


@dataclasses.dataclass(frozen=True)
class JsonLines:
  """A JSON object per line, each of which gives some rows.

  Attributes:
    expand: makes the rows of an object; by default the object is the row.
  """

  expand: Callable[[dict], Iterable[dict]] = lambda line: [line]

  def __call__(self, path, split: str) -> Iterator[dict]:
    del split
    for number, line in rows.read_file(path, "json"):
      try:
        yield from self.expand(line)
      except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
          f"line {number}: {type(error).__name__}: {error}"
        ) from error


def wsc(line: dict) -> Iterator[dict]:
  """The spans are in an object of their own."""
  yield {**line, **line["target"]}


def multirc(line: dict) -> Iterator[dict]:
  """A line is a paragraph with questions, and each of these has options."""
  paragraph = line["passage"]
  for question in paragraph["questions"]:
    for answer in question["answers"]:
      yield {
        "paragraph": paragraph["text"],
        "question": question["question"],
        "answer": answer["text"],
        "label": answer["label"],
        "idx": {
          "paragraph": line["idx"],
          "question": question["idx"],
          "answer": answer["idx"],
        },
      }


def record(line: dict) -> Iterator[dict]:
  """A line is a passage with queries; entities are spans with their last
  character. Entities and answers are sorted and without duplicates."""
  passage = line["passage"]
  text = passage["text"]
  entities = {text[e["start"] : e["end"] + 1] for e in passage["entities"]}
  for query in line["qas"]:
    yield {
      "passage": text,
      "query": query["query"],
      "entities": sorted(entities),
      "answers": sorted({answer["text"] for answer in query["answers"]}),
      "idx": {"passage": line["idx"], "query": query["idx"]},
    }


def mrqa(line: dict) -> Iterator[dict]:
  """A line is a header, or a context with questions."""
  for question in line.get("qas", ()):
    answers = question["answers"]
    if not isinstance(answers, list) or any(
      not isinstance(answer, str) for answer in answers
    ):
      raise TypeError("the answers are not a list of texts")
    yield {
      "context": line["context"].strip(),
      "question": question["question"].strip(),
      "answers": answers,
    }


def winogrande(line: dict) -> Iterator[dict]:
  yield {**line, "label": line["answer"]}


def read_squad(path, split: str) -> Iterator[dict]:
  """Yields SQuAD's questions: a JSON file of articles with paragraphs."""
  del split
  found = {}
  for article in rows.read_document(path)["data"]:
    for paragraph in article["paragraphs"]:
      for question in paragraph["qas"]:
        row = {
          "id": question["id"],
          "title": article.get("title", ""),
          "context": paragraph["context"],
          "question": question["question"],
          "answers": {"text": []},
        }
        # Parts of a question's answers may stand apart.
        row = found.setdefault(question["id"], row)
        row["answers"]["text"] += [a["text"] for a in question["answers"]]
  yield from found.values()


def read_yelp(path, split: str) -> Iterator[dict]:
  """Yields Yelp's reviews as TFDS does: `"1","text"`, escapes as written."""
  del split
  with rows.open_lines(path) as lines:
    for number, row in rows.read_rows(lines, path, "text"):
      line = row["text"]
      if line[:1] + line[2:5] != '"","' or line[-1:] != '"' or len(line) < 6:
        raise ValueError(f'line {number}: expected "1" or "2" and a text')
      yield {"text": line[5:-1].strip(), "label": int(line[1]) - 1}


_MRPC = Table(
  {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
  ragged=True,
)


def read_mrpc(path, split: str) -> Iterator[dict]:
  """Yields MRPC's pairs: GLUE's `train.tsv` and `dev.tsv`, or Microsoft's file.

  GLUE took its validation split out of `msr_paraphrase_train.txt`, and a list
  of ids beside it says which pairs these are. Without the list, the validation
  split is `msr_paraphrase_test.txt`, and a warning says so.
  """
  if not path.name.startswith("msr_"):
    yield from _MRPC(path, split)
    return
  places = [path.parent / (n + end) for n in MRPC_IDS for end in ("", ".gz")]
  ids_path = next((place for place in places if place.is_file()), None)
  if ids_path is None:
    warnings.warn(
      f"{path.parent} has no {MRPC_IDS[0]}, the pairs of GLUE's validation"
      " split; msr_paraphrase_test.txt is taken for it",
      stacklevel=2,
    )
    if split != "train":
      path = path.with_name(path.name.replace("_train.", "_test."))
    yield from _MRPC(path, split)
    return
  header = ("first", "second")
  ids = {
    (row["first"], row["second"])
    for _, row in rows.read_file(ids_path, "tsv", header=header)
  }
  with_ids = dataclasses.replace(
    _MRPC, columns={**_MRPC.columns, "first": "#1 ID", "second": "#2 ID"}
  )
  for row in with_ids(path, split):
    pair = (row.pop("first"), row.pop("second"))
    if (pair in ids) == (split != "train"):
      yield row


def read_web_nlg(path, split: str) -> Iterator[dict]:
  """Yields WebNLG's triples and texts: GEM's JSON, or XML in files or folders.

  In training each text is a row; otherwise a row has all of them.
  """
  if path.is_dir():
    names = sorted([*path.rglob("*.xml"), *path.rglob("*.xml.gz")])
    entries = (entry for name in names for entry in _xml_entries(name))
  elif ".xml" in path.suffixes:
    entries = _xml_entries(path)
  else:
    values = rows.read_document(path)["values"]
    entries = ((value["input"], value["target"]) for value in values)
  for triples, texts in entries:
    if split == "train":
      for text in texts:
        yield {"input": triples, "target": text, "references": []}
    else:
      first = texts[0] if texts else ""
      yield {"input": triples, "target": first, "references": texts}


def _xml_entries(path: pathlib.Path) -> Iterator[tuple[list, list]]:
  """Yields (triples, English texts) of each entry of WebNLG's XML."""
  with rows.open_lines(path) as file:
    try:
      root = xml.etree.ElementTree.parse(file).getroot()
    except xml.etree.ElementTree.ParseError as error:
      raise ValueError(f"{path} is not XML: {error}") from error
  for entry in root.iter("entry"):
    triples = [
      t.text.strip() for t in entry.findall("modifiedtripleset/mtriple")
    ]
    texts = []
    for lex in entry.findall("lex"):
      if lex.get("lang", "en") == "en":
        # Later releases put the text beside its template.
        text = lex.findtext("text") or lex.text or ""
        texts.append(text.strip())
    yield triples, texts
