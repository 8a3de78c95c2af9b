"""Declares the seqio tasks that ship with this library, and registers yours.

The import name is `mpt_jax.tasks`. Nothing is downloaded before a task's data
is used. Every dataset of `public.sources.SOURCES` gives two tasks. The inputs
of `NAME` are the text alone, and the prompt has to tell the T5 the task.
`NAME_prefixed` puts the task prefix of pretraining before the text.
`benchmarks` declares the datasets of the paper, which come from TensorFlow
Datasets (TFDS). `register_file_task` adds your own files, and
`register_dataset` adds a dataset of TFDS.

Importing seqio takes seconds. If it is imported already, importing this package
registers the tasks; otherwise the first use of one of its names does.
"""

import importlib
import sys

__all__ = [
  "Dataset",
  "LabelPostprocessor",
  "few_shot",
  "get_task",
  "register_classification_task",
  "register_dataset",
  "register_file_task",
  "task_names",
  "task_rates",
  "with_vocabulary",
]


def __getattr__(name):
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module("mpt_jax.tasks.registry"), name)


if "seqio" in sys.modules:
  importlib.import_module("mpt_jax.tasks.registry")
