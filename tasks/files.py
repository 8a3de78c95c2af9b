"""Tasks over the user's own JSONL, CSV and TSV files."""

import os
import pathlib
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence

import seqio

from mpt_jax.data import rows, templates, text_tasks
from mpt_jax.io.paths import absolute
from mpt_jax.tasks.forms import AnswersPostprocessor

# The formats of `rows` that have fields.
EXTENSIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
# Labels that true does not mean if they stand first, where false is.
_AFFIRMATIVE = ("yes", "true", "positive", "correct", "right", "good")


def register_file_task(
  name: str,
  files: Mapping[str, str | os.PathLike],
  *,
  template: str,
  target: str = "label",
  label_names: Sequence[str] | Mapping | None = None,
  metric_fns: Sequence[str | Callable] | None = None,
  vocabulary: seqio.Vocabulary | None = None,
  check: bool = False,
) -> seqio.Task:
  """Registers a task over files with one example per line or row.

  The extension gives the format: `.jsonl` or `.json` (a JSON object per line),
  or `.csv` or `.tsv` (with a header); see `mpt_jax.data.rows`. The files are
  read when the task is first used.

  Args:
    name: the task's name.
    files: {split: path}, e.g. {"train": "train.jsonl", "test": "test.jsonl"}.
    template: the input text, with the files' fields in braces:
      "review: {text}". A field holds a text or a number, which is taken as
      written: 1.0 stays "1.0". See `mpt_jax.data.templates`.
    target: the field of the label, or a template of the target text, e.g.
      "{summary}". Without label_names, the field may hold a list of texts:
      several right answers. Training takes the first, and the metrics get all.
    label_names: for classification, the label words in class order. The field
      may hold a word or its index. True and false are the words "true" and
      "false", or else the indices 1 and 0 of two labels. Indices are not
      accepted if the word of another class looks like one: ("1", "2"). A
      mapping gives the word of each value, {0: "bad", 1: "good"}; the field may
      then hold a value or, unless a value is another's word, a word. With None
      any text may be a target.
    metric_fns: names in `mpt_jax.data.metrics.METRICS`, or functions. The
      default is CLASSIFICATION_METRICS with label_names, exact_match without.
    vocabulary: by default the vocabulary of the embedded model.
    check: read all files now rather than on first use.

  Returns:
    The registered seqio.Task. There is a warning if the inputs hold the label.

  Raises:
    FileNotFoundError: a file is missing (on first use, or now with check).
    TypeError: a path is none.
    ValueError: the template or the labels are malformed, or an extension or
      metric is unknown. When the files are read: a line is broken, a field or a label is
      unknown, or a file is empty. The error names file and line.
  """
  if not files:
    raise ValueError("files must name at least one split, as in {'train': ...}")
  text_tasks.check_template(template)
  labels = _Labels(label_names)
  targets = _Targets(target, labels)
  fields = (*templates.fields(template), *templates.fields(targets.template))
  if labels.names and (
    shown := set(templates.fields(template)) & {targets.field}
  ):
    warnings.warn(
      f"task {name!r}: its template shows the T5 the label, the field"
      f" {shown.pop()!r}",
      stacklevel=2,
    )
  paths = {split: _data_path(path, split) for split, path in files.items()}

  def load(split):
    made = []
    for where, row in _rows(paths[split], fields):
      try:
        inputs, answers = templates.fill(template, row), targets.find(row)
      except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
      made.append((inputs, answers))
    if not made:
      raise ValueError(f"{paths[split]} is empty: it has no examples")
    return targets.examples(made)

  if metric_fns is None:
    metric_fns = ("exact_match",)
    if labels.names:
      metric_fns = text_tasks.CLASSIFICATION_METRICS
  source = text_tasks.ExamplesSource(load, tuple(paths))
  if check:
    for split in paths:
      source.examples(split)
  return text_tasks.register_text_task(
    name,
    source,
    label_names=labels.names,
    postprocess_fn=targets.postprocessor,
    metric_fns=metric_fns,
    vocabulary=vocabulary,
    template=template,
  )


def _data_path(path, split) -> pathlib.Path:
  if not isinstance(path, str | os.PathLike):
    raise TypeError(
      f"files[{split!r}] must be the path of a file, got {path!r:.60}"
    )
  if "://" in str(path):
    raise ValueError(
      f"files[{split!r}] must be a file on this machine, got {path}; download"
      " it first"
    )
  # The file is read later, perhaps from another folder.
  path = pathlib.Path(absolute(path))
  if path.suffix.lower() not in EXTENSIONS:
    raise ValueError(
      f"{path}: unknown extension {path.suffix!r}, expected one of"
      f" {', '.join(EXTENSIONS)}"
    )
  return path


class _Targets:
  """Makes the targets of a task's rows.

  Args:
    target: see `register_file_task`.
    labels: the `_Labels`.

  Attributes:
    template: the template of a target's text.
    field: the field that is the whole target, or None.
    postprocessor: makes all right answers of a target from an example; None if
      the task has labels.
  """

  def __init__(self, target, labels):
    # A field's own name may have braces; then it is doubled as in a template.
    self.template = target if "{" in target else "{" + target + "}"
    text_tasks.check_template(self.template)
    self._labels = labels
    pairs = templates.parse(self.template)
    alone = len(pairs) == 2 and pairs[0][0] == pairs[1][0] == ""
    self.field = pairs[0][1] if alone else None
    self.postprocessor = None
    if labels.names is None:
      self.postprocessor = AnswersPostprocessor("answers")

  def find(self, row) -> str | list[str]:
    """Returns the target's text, or the list of right answers.

    Raises:
      ValueError: a field is no text, or the value is not a label.
    """
    value = row.get(self.field, "")
    if self._labels.names is not None:
      row = {k: int(v) if isinstance(v, bool) else v for k, v in row.items()}
      text = templates.fill(self.template, row).strip()
      return self._labels.find(text, value)
    if not isinstance(value, list):
      return _not_empty(templates.fill(self.template, row))
    if not value:
      raise ValueError(f"field {self.field!r} is a list without an answer")
    texts = [
      _not_empty(templates.as_text(item, f"{self.field}[{i}]"))
      for i, item in enumerate(value)
    ]
    return list(dict.fromkeys(texts))

  def examples(self, made) -> text_tasks.Examples:
    """Makes examples of (inputs, target or answers) pairs."""
    if all(isinstance(target, str) for _, target in made):
      return made
    lists = [[t] if isinstance(t, str) else t for _, t in made]
    return [
      text_tasks.Example(inputs, answers[0], answers=answers)
      for (inputs, _), answers in zip(made, lists, strict=True)
    ]


def _not_empty(text) -> str:
  if not text.strip():
    raise ValueError("the target text is empty")
  return text.strip()


class _Labels:
  """The label words of a task, and the values that stand for them in files.

  Args:
    label_names: see `register_file_task`.

  Attributes:
    names: the words in class order, or None where any text is a target.
  """

  def __init__(self, label_names):
    text_tasks.check_label_names(label_names)
    if label_names is None:
      self.names, self._words, self._known = None, {}, {}
      return
    self._is_list = not isinstance(label_names, Mapping)
    given = dict(enumerate(label_names)) if self._is_list else label_names
    self._words = {str(k): str(word) for k, word in given.items()}
    self.names = tuple(dict.fromkeys(self._words.values()))
    words = {word: word for word in self.names}
    # Then a file has either values or words, and a mixture would be a mistake.
    differ = any(words.get(k, word) != word for k, word in self._words.items())
    if not differ:
      self._known = words | self._words
    else:
      self._known = words if self._is_list else self._words
    lower = {name.lower() for name in self.names}
    self._ignores_case = len(lower) == len(self.names)

  def find(self, text, value) -> str:
    """Returns the label word of an example.

    Args:
      text: the filled target template.
      value: the field of the label as it is in the file.

    Raises:
      ValueError: the value is not a label.
    """
    spellings = [text, str(value)]
    if self._ignores_case:
      spellings.append(str(value).lower())
    if isinstance(value, bool):
      # As the words "true" and "false", or else as the values 1 and 0.
      spellings = [*spellings[1:], text]
    for name in spellings:
      if name in self._known:
        if isinstance(value, bool) and name == text:
          self._check_boolean(value, text)
        return self._known[name]
    # Unicode has two spellings of "é".
    composed = unicodedata.normalize("NFC", text)
    for name in self._known:
      if unicodedata.normalize("NFC", name) == composed:
        return self._known[name]
    words = [name for name in self.names if name in self._known]
    others = [name for name in self._known if name not in words]
    shown = ", ".join(words) + (f" (or {', '.join(others)})" if others else "")
    raise ValueError(
      f"label {text!r:.100} is not one of {shown:.500}."
      + text_tasks.near_misses(text, tuple(self._known))
    )

  def _check_boolean(self, value, text):
    """Refuses true and false as indices where they may mean the opposite."""
    is_index = self._is_list and text not in self.names
    if is_index and (
      len(self.names) != 2 or self.names[0].lower() in _AFFIRMATIVE
    ):
      raise ValueError(
        f"label {str(value).lower()} is not one of {', '.join(self.names)};"
        " say which it is: label_names={True: ..., False: ...}"
      )


def _rows(path, fields):
  """Yields ("FILE, line N", row) after checking that a row has all fields."""
  for line, row in rows.read_file(path):
    where = f"{path}, line {line}"
    for field in fields:
      if field not in row:
        has = "the line has"
        if rows.format_of(path) != "json":
          has = "the first line, which names the columns, has"
        raise ValueError(
          f"{where}: no field {field!r} for the template; {has}"
          f" {', '.join(map(str, row)):.300}."
          + text_tasks.near_misses(field, row)
          + templates.hint(field)
        )
      if row[field] is None:
        raise ValueError(f"{where}: field {field!r} is null")
    yield where, row
