"""All datasets: each is registered, and the paper's tables hold them."""

import pathlib

import seqio

from mpt_jax import tasks
from mpt_jax.tasks.benchmarks import (
  datasets,
  glue,
  mrqa,
  nlg,
  others,
  superglue,
)


def test_every_dataset_of_the_benchmarks_is_registered():
  parts = [m.DATASETS for m in (glue, superglue, mrqa, others, nlg)]
  # No name is in two of them.
  assert len(datasets.DATASETS) == sum(map(len, parts)) == 8 + 7 + 5 + 4 + 3
  assert tasks.get_task("squad").name == "squad"  # Registers all of them.
  names = seqio.TaskRegistry.names()
  for name, dataset in datasets.DATASETS.items():
    assert name in names
    assert (f"{name}_prefixed" in names) == (dataset.t5_template is not None)


def test_the_columns_of_the_tables():
  # Wang et al. (2023), section 4.1: six sources; eight tasks of GLUE, five of
  # SuperGLUE, four of MRQA and four others; two of NLG.
  groups = (datasets.SOURCES, datasets.GLUE, datasets.SUPER_GLUE)
  groups += (datasets.MRQA, datasets.OTHERS, datasets.NLG)
  assert [len(group) for group in groups] == [6, 8, 5, 4, 4, 2]
  assert set(sum(groups, ())) <= datasets.DATASETS.keys()
  assert datasets.MRQA == (
    "mrqa_natural_questions",
    "mrqa_hotpotqa",
    "mrqa_searchqa",
    "mrqa_newsqa",
  )


def test_the_page_says_what_the_declarations_say():
  page = pathlib.Path(__file__).parents[3] / "docs" / "datasets.md"
  rows = {}
  for line in page.read_text(encoding="utf-8").splitlines():
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) == 6 and cells[0].startswith("`"):
      rows[cells[0].strip("`")] = cells[1:5]
  assert rows.keys() == datasets.DATASETS.keys()
  for name, row in rows.items():
    files = datasets.DATASETS[name].files
    names = "; ".join(
      " or ".join(f"`{n}`" for n in files.names_of(split))
      for split in files.names
    )
    assert row == [names, files.owner, files.licence, files.size], name
