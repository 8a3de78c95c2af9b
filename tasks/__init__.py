"""seqio tasks of this project, registered when this package is imported.

Nothing is downloaded before a task's data is used. Every dataset of
`tasks.sources.SOURCES` gives two tasks: `NAME`, the text alone, for prompts to
say what is asked; and `NAME_prefixed`, with the task prefix that pretraining
used. `tasks.benchmarks` has the datasets of the paper, from TensorFlow
Datasets. To add your own data see `register_file_task`, and `register_dataset`
for what TFDS has.
"""

import functools

from tasks import benchmarks, pretraining, sources
from tasks.files import register_file_task
from tasks.text_tasks import (
  LabelPostprocessor,
  few_shot,
  get_task,
  register_classification_task,
  task_names,
  with_vocabulary,
)
from tasks.tfds_tasks import Dataset, register_dataset

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

for _name, _source in sources.SOURCES.items():
  for _suffix, _prefix in (("", ""), ("_prefixed", _source.prefix)):
    register_classification_task(
      _name + _suffix,
      functools.partial(sources.load_splits, _name),
      template=_prefix + _source.template,
      label_names=_source.label_names,
    )

benchmarks.register()
pretraining.register()
