"""seqio tasks of this project and of yours.

Nothing is downloaded before a task's data is used. Every dataset of
`tasks.sources.SOURCES` gives two tasks: `NAME`, the text alone, for prompts to
say what is asked; and `NAME_prefixed`, with the task prefix that pretraining
used. `tasks.benchmarks` has the datasets of the paper, from TensorFlow
Datasets. To add your own data see `register_file_task`, and `register_dataset`
for what TFDS has.

The tasks are registered when this package is imported after seqio, or else when
one of its names is first used: seqio takes seconds to import, this does not.
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
  "with_vocabulary",
]


def __getattr__(name):
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module("mpt_jax.tasks.registry"), name)


if "seqio" in sys.modules:
  importlib.import_module("mpt_jax.tasks.registry")
