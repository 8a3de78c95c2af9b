"""Makes an experiment's slots seqio tasks, and their examples plain rows.

Nothing here imports t5x.
"""

import functools

import seqio
import tensorflow as tf

from mpt_jax.training import assembly

# In seqio's registry a slot's name is PREFIX and its own name.
PREFIX = "mpt."
SLOTS = "mpt_slots"
MIXED = "mpt_mixed"


class PromptFeatureConverter(seqio.FeatureConverter):
  """Converts task features to rows of `batches.make_batch`, one example each.

  The task has the features of an encoder-decoder task and `slot_ids`, the
  number of the slot whose prompt precedes the inputs.

  Args:
    pack: must be False, because t5x evaluates plain rows only.
    prompt_length: P.
    **kwargs: see `seqio.FeatureConverter`.
  """

  TASK_FEATURES = {
    name: seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)
    for name in ("inputs", "targets", "slot_ids")
  }
  MODEL_FEATURES = {
    name: seqio.FeatureConverter.FeatureSpec(
      dtype=tf.float32 if name.endswith("weights") else tf.int32
    )
    for name in (
      "encoder_input_tokens",
      "encoder_prompt_positions",
      "encoder_slot_ids",
      "encoder_segment_ids",
      "decoder_input_tokens",
      "decoder_target_tokens",
      "decoder_loss_weights",
      "decoder_segment_ids",
      "decoder_slot_ids",
    )
  }
  PACKING_FEATURE_DTYPES = {}

  def __init__(self, pack=False, *, prompt_length, **kwargs):
    if pack:
      raise ValueError("evaluation takes plain rows: pack must be False")
    self._prompt_length = prompt_length
    super().__init__(pack=False, **kwargs)

  def get_model_feature_lengths(self, task_feature_lengths):
    length = self._prompt_length + task_feature_lengths["inputs"]
    return {
      name: length
      if name.startswith("encoder")
      else task_feature_lengths["targets"]
      for name in self.MODEL_FEATURES
    }

  def _convert_features(self, ds, task_feature_lengths):
    prompt_length = self._prompt_length
    length = prompt_length + task_feature_lengths["inputs"]
    target_length = task_feature_lengths["targets"]

    def row(values, size):
      padded = tf.pad(values, [[0, size - tf.shape(values)[0]]])
      return tf.ensure_shape(padded, [size])

    def convert(example):
      inputs = example["inputs"][: task_feature_lengths["inputs"]]
      targets = example["targets"][:target_length]
      slot_id = example["slot_ids"][0]
      ones = tf.ones([prompt_length + tf.shape(inputs)[0]], tf.int32)
      target_ones = tf.ones_like(targets)
      before = tf.zeros([prompt_length], tf.int32)
      return {
        "encoder_input_tokens": row(tf.concat([before, inputs], 0), length),
        "encoder_prompt_positions": row(tf.range(1, prompt_length + 1), length),
        "encoder_slot_ids": row(ones * slot_id, length),
        "encoder_segment_ids": row(ones, length),
        "decoder_input_tokens": row(
          tf.concat([[0], targets[:-1]], 0), target_length
        ),
        "decoder_target_tokens": row(targets, target_length),
        "decoder_loss_weights": tf.cast(
          row(target_ones, target_length), tf.float32
        ),
        "decoder_segment_ids": row(target_ones, target_length),
        "decoder_slot_ids": row(target_ones * slot_id, target_length),
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def register_slots(parts: assembly.Assembly) -> str:
  """Registers a task for each slot, because seqio's evaluator needs names.

  Returns:
    The name of the mixture of all slots. The names of its tasks are PREFIX and
    the slot's name. They replace those of an earlier experiment.
  """
  names = []
  for slot_id, (slot, task) in enumerate(
    zip(parts.experiment.slots, parts.tasks, strict=True)
  ):
    name = PREFIX + slot.name
    numbered = task.replace(
      name=name,
      output_features=_with_slot_ids(task.output_features, len(parts.tasks)),
      preprocessors=[
        *task.preprocessors,
        functools.partial(_add_task, slot_id=slot_id, name=slot.name),
      ],
    )
    _register(seqio.TaskRegistry, name, numbered)
    names.append(name)
  mixture = seqio.Mixture(SLOTS, names, default_rate=1.0)
  _register(seqio.MixtureRegistry, SLOTS, mixture)
  return SLOTS


def register_mixed(parts: assembly.Assembly) -> str:
  """Registers one task of all slots' examples, the slots taking turns.

  t5x.infer predicts one task at a time, so only the examples of one task can
  share a batch.

  Returns:
    The task's name. An example has the features that all slots' tasks have, and
    `task`, the slot's name.
  """
  register_slots(parts)
  names = [PREFIX + slot.name for slot in parts.experiment.slots]
  features = parts.tasks[0].output_features
  splits = [
    split
    for split in parts.tasks[0].splits
    if all(split in task.splits for task in parts.tasks)
  ]

  def examples(split, shuffle_files, seed=None):
    del shuffle_files, seed
    datasets = [
      seqio.TaskRegistry.get(name).get_dataset(
        sequence_length=feature_lengths(parts), split=split, shuffle=False
      )
      for name in names
    ]
    specs = [
      {k: (v.dtype, v.shape.rank) for k, v in ds.element_spec.items()}
      for ds in datasets
    ]
    shared = [
      k for k in specs[0] if all(s.get(k) == specs[0][k] for s in specs)
    ]
    datasets = [ds.map(lambda x: {k: x[k] for k in shared}) for ds in datasets]
    return tf.data.Dataset.choose_from_datasets(
      datasets,
      tf.data.Dataset.range(len(datasets)).repeat(),
      stop_on_empty_dataset=False,
    )

  task = seqio.Task(
    MIXED,
    seqio.FunctionDataSource(examples, splits=splits),
    output_features=_with_slot_ids(
      {name: features[name] for name in ("inputs", "targets")}, len(names)
    ),
    preprocessors=[],
  )
  _register(seqio.TaskRegistry, MIXED, task)
  return MIXED


def _with_slot_ids(features, num_slots):
  vocabulary = seqio.PassThroughVocabulary(num_slots)
  return {**features, "slot_ids": seqio.Feature(vocabulary, add_eos=False)}


def _add_task(dataset, slot_id, name):
  return dataset.map(
    lambda example: {
      **example,
      "slot_ids": tf.constant([slot_id], tf.int32),
      "task": name,
    }
  )


def _register(registry, name, provider):
  if name in registry.names():
    registry.remove(name)
  registry.add_provider(name, provider)


def feature_lengths(parts: assembly.Assembly) -> dict[str, int]:
  """Returns t5x's task_feature_lengths."""
  batch = parts.experiment.batch
  return {
    "inputs": batch.inputs_length,
    "targets": batch.targets_length,
    "slot_ids": 1,
  }
