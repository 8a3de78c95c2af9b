"""Registers all tasks on import; `mpt_jax.tasks` exports its names."""

import functools

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.data.shots import few_shot  # noqa: F401
from mpt_jax.data.slot_tasks import task_names, task_rates  # noqa: F401
from mpt_jax.data.text_tasks import (  # noqa: F401
  LabelPostprocessor,
  get_task,
  register_classification_task,
  with_vocabulary,
)
from mpt_jax.tasks.benchmarks import datasets
from mpt_jax.tasks.files import register_file_task  # noqa: F401
from mpt_jax.tasks.pretraining import tasks as pretraining
from mpt_jax.tasks.public import sources
from mpt_jax.tasks.tfds_tasks import Dataset, register_dataset  # noqa: F401

for _name, _source in sources.SOURCES.items():
  for _suffix, _prefix in (("", ""), ("_prefixed", _source.prefix)):
    register_classification_task(
      _name + _suffix,
      functools.partial(sources.load_splits, _name),
      template=_prefix + _source.template,
      label_names=_source.label_names,
    )

for _name in [n for n, source in sources.SOURCES.items() if source.held_out]:
  for _labels in sources.LABELS:
    register_classification_task(
      f"{_name}_{_labels}",
      functools.partial(sources.load_relabelled, _name, _labels),
      template=sources.SOURCES[_name].template,
      label_names=sources.label_words(_name, _labels),
    )

datasets.register()
pretraining.register()
