"""All datasets of the paper by task name, and by the benchmark they are in."""

from collections.abc import Mapping

from tasks import glue, mrqa, nlg, other_benchmarks, superglue
from tasks.tfds_tasks import Dataset, register_dataset

DATASETS: Mapping[str, Dataset] = {
  **glue.DATASETS,
  **superglue.DATASETS,
  **mrqa.DATASETS,
  **other_benchmarks.DATASETS,
  **nlg.DATASETS,
}

SOURCES = (
  "glue_mnli",
  "glue_qnli",
  "glue_qqp",
  "glue_sst2",
  "squad",
  "super_glue_record",
)
# The columns of the paper's tables.
GLUE = tuple(glue.DATASETS)
SUPER_GLUE = tuple(
  f"super_glue_{name}" for name in ("multirc", "boolq", "wic", "wsc", "cb")
)
MRQA = tuple(name for name in mrqa.DATASETS if name != "squad")
OTHERS = tuple(other_benchmarks.DATASETS)
NLG = ("e2e_nlg", "web_nlg")


def register() -> None:
  """Registers every dataset's tasks; touches no data."""
  for name, dataset in DATASETS.items():
    register_dataset(name, dataset)
