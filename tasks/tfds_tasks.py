"""Tasks over TensorFlow Datasets: how a dataset is declared and registered.

TFDS is not used before a task's examples are read. It keeps its data in
`$TFDS_DATA_DIR` (`~/tensorflow_datasets`) and downloads missing datasets.
"""

import contextlib
import dataclasses
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import seqio

from mpt_jax.data import text_tasks
from mpt_jax.data.in_memory.examples import check_template
from mpt_jax.io.checks import near_misses
from mpt_jax.tasks import forms, splits
from mpt_jax.tasks.public.packages import DataUnavailableError
from mpt_jax.tasks.user_files import UserFiles

# How long a server may take to answer before a dataset is fetched from it.
ANSWER_SECONDS = 10.0

Form = forms.Labels | forms.Score | forms.Answers | forms.References


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A dataset as text to text.

  Attributes:
    tfds_name: "name/config:version" as `tfds.load` takes it, or None if there
      are only `files`.
    template: the input text, with a row's fields in braces.
    form: how the target is made; see `forms`.
    splits: how train, validation and test are made.
    metric_fns: the dataset's official metrics: names in `metrics.METRICS`, or
      functions. None takes the form's.
    metric: the name of the main value; for the paper's datasets, the metric
      that the paper reports. None takes the form's or, with other `metric_fns`,
      the first value of the first one.
    digits: the label words are "0", "1", ..., as in the papers that MPT
      compares with, instead of the names of the classes.
    t5_template: T5 1.0's input text, for a second task `NAME_prefixed` with
      the names of the classes as label words.
    prepare: makes the row that the template and the form read; called once per
      row.
    key_fields: fields that identify a row when a split is divided, by default
      the template's. Rows that are equal in them stay in one split.
    columns: the features to read, if a dataset has other, large ones.
    files: the owner's files, which are read instead of TFDS if any of them is
      there.
  """

  tfds_name: str | None
  template: str
  form: Form
  splits: splits.Splits
  metric_fns: Sequence[str | Callable] | None = None
  metric: str | None = None
  digits: bool = True
  t5_template: str | None = None
  prepare: Callable[[dict], dict] | None = None
  key_fields: tuple[str, ...] | None = None
  columns: tuple[str, ...] | None = None
  files: UserFiles | None = None

  def rows(self, own_split: str) -> list[dict]:
    """Reads and prepares one of the dataset's own splits.

    Raises:
      DataUnavailableError: TFDS does not have the split on disk and cannot
        fetch it.
      FileNotFoundError: one of the user's files is missing.
      ValueError: the rows lack a field that the template or the form reads.
    """
    if self.files and (self.tfds_name is None or self.files.exist()):
      rows = self.files.rows(own_split)
    else:
      rows = read_tfds(self.tfds_name, own_split, self.columns, self.files)
    made = [self.prepare(row) if self.prepare else row for row in rows]
    needed = (
      *check_template(self.template),
      *self.form.fields,
      *(self.key_fields or ()),
    )
    missing = [name for row in made[:1] for name in needed if name not in row]
    if missing:
      raise ValueError(
        f"no field {missing[0]!r}; the rows of {own_split!r} have"
        f" {', '.join(made[0])}." + near_misses(missing[0], made[0])
      )
    return made

  def find(self, fetch: bool) -> str | None:
    """Says what is missing; see `text_tasks.ExamplesSource.find`.

    Raises:
      DataUnavailableError: with fetch, TFDS cannot fetch the dataset.
      FileNotFoundError: with fetch, one of the files is missing.
    """
    own_splits = self.splits.own_splits
    if self.files and (self.tfds_name is None or self.files.exist()):
      for split in own_splits:
        if self.files.find(split) is None:
          missing = f"no file of {split!r}: {self.files.where()}"
          if fetch:
            raise FileNotFoundError(missing)
          return missing
      return None
    if fetch:
      for split in own_splits:
        read_tfds(self.tfds_name, split, self.columns, self.files)
      return None
    if is_prepared(self.tfds_name):
      return None
    instead = f"; or {self.files.where()}" if self.files else ""
    return f"TFDS fetches {self.tfds_name!r} when it is first used{instead}"

  def row_key(self) -> Callable[[Mapping], str]:
    """Returns the function that gives a row's key for `splits.divide`."""
    names = self.key_fields or check_template(self.template)
    names = sorted(set(names))
    return lambda row: "\0".join(str(row[name]) for name in names)


def read_tfds(
  tfds_name: str,
  split: str,
  columns: Iterable[str] | None = None,
  files: UserFiles | None = None,
) -> Iterator[dict]:
  """Yields the rows of a TFDS split, texts as str, numbers as int or float.

  Args:
    tfds_name: "name/config:version".
    split: the dataset's own split.
    columns: features to read; None for all.
    files: the files that the user could provide instead, for the error.

  Raises:
    DataUnavailableError: the dataset is not on disk and cannot be fetched.
  """
  import tensorflow_datasets as tfds

  decoders = tfds.decode.PartialDecoding(list(columns)) if columns else None
  try:
    with _without_waiting():
      ds = tfds.load(tfds_name, split=split, decoders=decoders)
  except (
    OSError,
    AssertionError,  # No such version.
    tfds.download.DownloadError,
    tfds.download.download_manager.NonMatchingChecksumError,
  ) as error:
    first = f"either {files.where()}; or" if files else ""
    raise DataUnavailableError(
      f"the dataset {tfds_name!r} of TFDS is not on this machine, and cannot be"
      f" fetched ({' '.join(str(error).split())[:200]}): {first} make it where"
      f" there is a network, with `tfds build {tfds_name.split(':')[0]}`, and"
      " set TFDS_DATA_DIR to the folder that has it"
    ) from error
  return map(_to_python, ds.as_numpy_iterator())


@contextlib.contextmanager
def _without_waiting():
  """Asks once whether a server answers before TFDS downloads from it.

  TFDS tries ten times with growing pauses and without a time limit, which takes
  minutes where there is no network.
  """
  from tensorflow_datasets.core.download import downloader

  get_downloader = downloader.get_downloader

  def get_asking_downloader(*args, **kwargs):
    made = get_downloader(*args, **kwargs)
    download = made.download

    def ask_and_download(url, *args, **kwargs):
      check_answers(url)
      return download(url, *args, **kwargs)

    made.download = ask_and_download
    return made

  downloader.get_downloader = get_asking_downloader
  try:
    yield
  finally:
    downloader.get_downloader = get_downloader


def check_answers(url: str, seconds: float = ANSWER_SECONDS):
  """Raises OSError if nothing answers at the address within some seconds."""
  import requests

  if not url.startswith("http"):
    return
  try:
    requests.head(url, timeout=seconds)
  except requests.RequestException as error:
    host = urllib.parse.urlsplit(url).hostname
    raise ConnectionError(f"{host} does not answer") from error


def is_prepared(tfds_name: str) -> bool:
  """Whether TFDS has a dataset on disk."""
  import tensorflow_datasets as tfds

  try:
    folder = tfds.builder(tfds_name).data_path
  except (OSError, AssertionError, ValueError):  # There is no such dataset.
    return False
  return (folder / "dataset_info.json").exists()


def _to_python(value):
  if isinstance(value, dict):
    return {name: _to_python(item) for name, item in value.items()}
  if isinstance(value, np.ndarray):
    return [_to_python(item) for item in value]
  if isinstance(value, bytes):
    return value.decode()
  return value.item() if isinstance(value, np.generic) else value


def _loader(name, dataset, template, form):
  """Returns the function that `ExamplesSource` loads a split with."""
  spare = {}

  def load(split):
    # Two splits may be cut from the same rows: keep the other for later.
    if split not in spare:
      try:
        parts = dataset.splits.read(split, dataset.rows, dataset.row_key())
        for part, rows in parts.items():
          spare[part] = form.examples(rows, template, train=part == "train")
      except ValueError as error:
        raise ValueError(f"task {name!r}, split {split!r}: {error}") from error
    return spare.pop(split)

  return load


def register_dataset(
  name: str, dataset: Dataset, vocabulary: seqio.Vocabulary | None = None
) -> seqio.Task:
  """Registers the task NAME of a dataset, and NAME_prefixed in T5's form.

  Args:
    name: the task's name.
    dataset: where the rows are and how they become examples.
    vocabulary: by default the embedded model's.

  Returns:
    The task NAME.

  Raises:
    ValueError: see `text_tasks.register_text_task`; or the template is
      malformed.
  """
  variants = [(name, dataset.template, dataset.form)]
  if dataset.digits and isinstance(dataset.form, forms.Labels):
    form = dataclasses.replace(dataset.form, digits=True)
    variants = [(name, dataset.template, form)]
  if dataset.t5_template:
    variants.append((f"{name}_prefixed", dataset.t5_template, dataset.form))
  made = []
  for task_name, template, form in variants:
    check_template(template)
    made.append(
      text_tasks.register_text_task(
        task_name,
        text_tasks.ExamplesSource(
          _loader(task_name, dataset, template, form),
          dataset.splits.names,
          dataset.find,
        ),
        label_names=form.label_names,
        postprocess_fn=form.postprocessor,
        metric_fns=dataset.metric_fns or form.metric_fns,
        vocabulary=vocabulary,
        template=template,
      )
    )
    made[-1].metric = dataset.metric
    if dataset.metric_fns is None and dataset.metric is None:
      made[-1].metric = form.metric
  return made[0]
