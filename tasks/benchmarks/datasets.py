"""All datasets of the paper, by task name and by benchmark."""

from collections.abc import Mapping

from mpt_jax.tasks.benchmarks import glue, mrqa, nlg, others, superglue
from mpt_jax.tasks.tfds_tasks import Dataset, register_dataset

DATASETS: Mapping[str, Dataset] = {
  **glue.DATASETS,
  **superglue.DATASETS,
  **mrqa.DATASETS,
  **others.DATASETS,
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
OTHERS = tuple(others.DATASETS)
NLG = ("e2e_nlg", "web_nlg")


def register() -> None:
  """Registers every dataset's tasks; touches no data."""
  for name, dataset in DATASETS.items():
    register_dataset(name, dataset)
