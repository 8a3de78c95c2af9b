"""What `mpt tasks` prints: the tasks, which data they read, and a check."""

import rich.table
import seqio
from rich.text import Text

from mpt_jax.data import text_tasks
from mpt_jax.tasks import (
  licences,
  registry,  # noqa: F401  Registers the tasks.
)
from mpt_jax.tasks.benchmarks import datasets
from mpt_jax.tasks.public import sources
from mpt_jax.tasks.public.package_list import PACKAGES
from mpt_jax.tasks.user_files import data_dir

MISSING = "–"


def is_task(name: str) -> bool:
  """Returns whether a task has this name."""
  return name in seqio.TaskRegistry.names()


def list_tasks(console, words=()):
  """Prints a line for each task: its size, labels, source and licence.

  The forms of a task, which end in "_prefixed", "_words" and "_digits", are
  left out.

  Args:
    console: a rich console.
    words: only tasks that have all of these words, in any case, in their name,
      input, labels, source or licence.

  Raises:
    ValueError: there is no such task; the message has the nearest names.
  """
  table = _table("task", "size", "labels", "source and licence")
  for name in sorted(seqio.TaskRegistry.names()):
    task = text_tasks.get_task(name)
    if licences.base_name(name) != name:
      continue
    template = getattr(task, "template", None) or ""
    row = (name, _size(name), _labels(task), licences.licence(name) or MISSING)
    told = " ".join((*row, template, *_more(name))).lower()
    if all(word.lower() in told for word in words):
      table.add_row(*map(Text, row))
  if words and not table.row_count:
    # Raises an error with the nearest names.
    text_tasks.get_task(" ".join(words))
  console.print(table)


def _size(name) -> str:
  """The size of a task's download, as far as it is known."""
  source = sources.SOURCES.get(name)
  if source is not None:
    megabytes = sum(PACKAGES[key].megabytes for key in source.packages)
    return f"{megabytes:.1f} MB" if megabytes else MISSING
  dataset = datasets.DATASETS.get(name)
  return dataset.files.size if dataset else MISSING


def _more(name):
  """Yields more texts about a task in which words are looked for."""
  if name in sources.SOURCES:
    yield sources.SOURCES[name].prefix
  if name in datasets.DATASETS:
    yield datasets.DATASETS[name].files.origin


def list_datasets(console, check: bool) -> bool:
  """Prints a line for each dataset that this library declares.

  Args:
    console: a rich console.
    check: read the datasets whose files are there, and count their rows.

  Returns:
    Whether all that was read could be read.
  """
  console.print(Text(f"MPT_DATA_DIR is {data_dir()}"))
  table = _table("task", "files here", "reads", "folder")
  for name, dataset in datasets.DATASETS.items():
    files = dataset.files
    found = sum(files.find(split) is not None for split in files.names)
    table.add_row(
      name,
      f"{found} of {len(files.names)}",
      _source(dataset),
      f"$MPT_DATA_DIR/{files.folder}",
    )
  console.print(table)
  if not check:
    return True
  there = {k: d for k, d in datasets.DATASETS.items() if d.files.exist()}
  if not there:
    console.print("No dataset has files here, so there is nothing to check.")
  good = True
  for name, dataset in there.items():
    console.print()
    try:
      _check(name, dataset, console)
    except (ValueError, OSError) as error:
      console.print(Text(f"{name}: error: {error}"), soft_wrap=True)
      good = False
  return good


def _table(*headings, title=None):
  table = rich.table.Table(title=title, box=None, pad_edge=False)
  table.title_justify = "left"
  for heading in headings:
    table.add_column(heading, overflow="fold")
  return table


def _source(dataset) -> str:
  if dataset.files.exist() or dataset.tfds_name is None:
    return "files"
  return "TFDS"


def describe_task(name: str, console, check: bool):
  """Prints what one task reads.

  Args:
    name: a task.
    console: a rich console.
    check: read the data and count its rows.

  Raises:
    ValueError: no task has this name.
  """
  task = text_tasks.get_task(name)
  dataset = datasets.DATASETS.get(name.removesuffix("_prefixed"))
  grid = rich.table.Table.grid(padding=(0, 2))
  console.print(Text(name, style="bold"))
  for key, value in (
    ("inputs", getattr(task, "template", None) or MISSING),
    ("labels", _labels(task)),
    ("metric", _metric(task)),
    ("splits", ", ".join(task.splits)),
    *(_of_dataset(dataset) if dataset else ()),
  ):
    grid.add_row(f"  {key}", Text(str(value)))
  console.print(grid)
  if not check:
    return
  if dataset is not None:
    _check(name, dataset, console)
  else:
    _check_splits(task, console)


def _metric(task) -> str:
  names = [getattr(fn, "__name__", "a function") for fn in task.metric_fns]
  return getattr(task, "metric", None) or (names or [MISSING])[0]


def _labels(task) -> str:
  names = getattr(getattr(task, "postprocessor", None), "label_names", None)
  return ", ".join(names) if names else "none; the text is generated"


def _of_dataset(dataset):
  """Yields (what, value) pairs of a dataset's files and of TFDS."""
  files = dataset.files
  for split in files.names:
    found = files.find(split)
    names = " or ".join(files.names_of(split))
    state = f"found: {found}" if found else "not here"
    count = files.counts.get(split)
    yield split, f"{names} ({count:,} rows), plain or gzipped; {state}"
  yield "folder", files.path
  also = (*files.also, *(f"{files.folder}/{name}" for name in files.inside))
  if also:
    yield "or in", ", ".join(f"$MPT_DATA_DIR/{name}" for name in also)
  yield "from", files.origin
  yield "owner", files.owner
  yield "licence", files.licence
  yield "size", files.size
  yield "or TFDS", dataset.tfds_name or "does not have it"
  yield "reads", _source(dataset)


def _check(name, dataset, console):
  """Reads what is there, and prints counts beside those that are stated."""
  files = dataset.files
  title = f"{name}: the owner's splits"
  table = _table("split", "rows", "stated", "", title=title)
  for split in files.names:
    stated = files.counts.get(split)
    if files.find(split) is None:
      table.add_row(split, MISSING, f"{stated:,}", "the file is not here")
      continue
    count = len(files.rows(split))
    differs = "" if count == stated else "differs"
    table.add_row(split, f"{count:,}", f"{stated:,}", differs)
  console.print(table)
  if all(files.find(split) for split in files.names):
    _check_splits(text_tasks.get_task(name), console)


def _check_splits(task, console):
  """Prints the number of a task's examples, and the first one of each split."""
  title = f"{task.name}: the task's splits"
  table = _table("split", "examples", "first input", "target", title=title)
  for split in task.splits:
    examples = task.source.examples(split)
    inputs, target = examples[0]
    table.add_row(
      split, f"{len(examples):,}", Text(inputs[:200]), Text(target[:80])
    )
  console.print(table)
