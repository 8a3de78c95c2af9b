"""seqio tasks over rows of text in memory, with templates and labels.

A task's source returns finished `inputs` and `targets` texts, which seqio only
tokenises. `inputs_pretokenized` and `targets_pretokenized` keep the texts. Both
token features end with the end of sequence.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf

from mpt_jax.data import templates
from mpt_jax.data.in_memory.examples import (
  CLASSIFICATION_METRICS,
  SPLITS,
  Examples,
  LabelPostprocessor,
  check_label_names,
  check_template,
  find_metric,
)
from mpt_jax.io.checks import near_misses
from mpt_jax.text import vocabularies

# The preprocessors of all `TextTask`s.
PREPROCESSORS = (
  seqio.preprocessors.tokenize,
  seqio.preprocessors.append_eos_after_trim,
)


class ExamplesSource(seqio.DataSource):
  """Examples that are loaded on first use and then stay in memory.

  A shuffled epoch is a full permutation of the examples. Checkpoints of its
  iterator are small, because its state consists of indices only.

  Args:
    load: returns the examples of a split; it is called once per split.
    splits: the names of the splits.
    find: looks for the data without reading it, see `find`.
  """

  def __init__(
    self,
    load: Callable[[str], Examples],
    splits: Sequence[str] = SPLITS,
    find: Callable[[bool], str | None] = lambda fetch: None,
  ):
    self._load = load
    self._find = find
    self._loaded = {}
    super().__init__(splits=splits, performs_internal_shuffling=True)

  @property
  def supports_arbitrary_sharding(self) -> bool:
    return True

  def list_shards(self, split: str) -> Sequence[str]:
    return [split]

  def num_input_examples(self, split: str) -> int:
    return len(self.examples(split))

  def examples(self, split: str) -> Examples:
    """Returns the (inputs, targets) texts of a split.

    Raises:
      ValueError: the split does not exist or is empty.
    """
    if split not in self.splits:
      raise ValueError(f"split must be one of {self.splits}, got {split!r}")
    if split not in self._loaded:
      examples = self._load(split)
      if not examples:
        raise ValueError(f"split {split!r} is empty: it has no examples")
      self._loaded[split] = examples
    return self._loaded[split]

  def find(self, fetch: bool = False) -> str | None:
    """Says in a line what is missing of the data; None if nothing is.

    Raises:
      OSError: with `fetch`, which fetches data, it can be had nowhere.
    """
    return self._find(fetch)

  def get_dataset(
    self,
    split="train",
    shuffle=True,
    seed=None,
    shard_info=None,
    *,
    sequence_length=None,
    use_cached=False,
    num_epochs=1,
  ):
    """Returns a tf.data.Dataset of `inputs` and `targets` strings.

    The features of an `Example` are included: a text is a scalar, a list of
    texts is a vector.
    """
    del sequence_length, use_cached, num_epochs  # seqio's Task handles them.
    examples = self.examples(split)
    columns = dict(
      zip(("inputs", "targets"), zip(*examples, strict=True), strict=True)
    )
    for name in getattr(examples[0], "features", {}):
      columns[name] = [example.features[name] for example in examples]
    lookups = {name: _lookup(column) for name, column in columns.items()}
    ds = tf.data.Dataset.range(len(examples))
    if shard_info:
      ds = ds.shard(shard_info.num_shards, shard_info.index)
    if shuffle:
      # Shuffle the indices, in a new order in each epoch.
      ds = ds.shuffle(len(examples), seed=seed, reshuffle_each_iteration=True)
    return ds.map(lambda i: {name: at(i) for name, at in lookups.items()})


def _lookup(column):
  """Returns a function from an index tensor to the column's value."""
  if isinstance(column[0], str):
    texts = tf.constant(column, tf.string)
    return lambda i: texts[i]
  flat = tf.constant([text for texts in column for text in texts], tf.string)
  starts = np.cumsum([0, *(len(texts) for texts in column)])
  starts = tf.constant(starts, tf.int64)
  return lambda i: flat[starts[i] : starts[i + 1]]


class TextTask(seqio.Task):
  """A seqio.Task over an ExamplesSource.

  seqio never caches it in memory: the source is in memory already, and with a
  cache every epoch would have the same order.

  Attributes:
    template: the input text with the row's fields in braces, or None. It is
      saved in the prompt file for prediction.
    metric: name of the task's main metric, or None.
  """

  template: str | None = None
  metric: str | None = None

  def get_dataset(self, *args, try_in_mem_cache=False, **kwargs):
    del try_in_mem_cache
    return super().get_dataset(*args, try_in_mem_cache=False, **kwargs)

  def replace(self, **kwargs):
    made = super().replace(**kwargs)
    task = TextTask(
      made.name,
      made.source,
      made.output_features,
      preprocessors=made.preprocessors,
      postprocess_fn=made.postprocessor,
      metric_fns=made.metric_fns,
      shuffle_buffer_size=None,
    )
    task.template, task.metric = self.template, self.metric
    return task


def register_text_task(
  name: str,
  source: ExamplesSource,
  *,
  label_names: Sequence[str] | None = None,
  postprocess_fn: Callable | None = None,
  metric_fns: Sequence[str | Callable] = (),
  vocabulary: seqio.Vocabulary | None = None,
  template: str | None = None,
) -> seqio.Task:
  """Registers a task over a source of finished inputs and targets.

  Args:
    name: the task's name in seqio's registry.
    source: the examples.
    label_names: the label words in class order, for classification.
    postprocess_fn: converts a text for the metrics. The default is a
      `LabelPostprocessor` if there are label names, else the text itself.
    metric_fns: names in `metrics.METRICS`, or functions of (targets,
      predictions) that return a dict.
    vocabulary: vocabulary of inputs and targets; by default the embedded
      model's.
    template: the template that made the inputs, for `TextTask.template`.

  Raises:
    ValueError: the name is taken, a metric is unknown, or there are not at
      least two different labels; see `check_label_names` too.
  """
  if name in seqio.TaskRegistry.names():
    raise ValueError(
      f"a task named {name!r} is registered already; choose another name"
    )
  vocabulary = vocabulary or vocabularies.default_vocabulary()
  feature = seqio.Feature(vocabulary, add_eos=True, required=True)
  if label_names is not None:
    check_label_names(label_names)
    label_names = tuple(str(label) for label in label_names)
    if len(set(label_names)) < max(2, len(label_names)):
      raise ValueError(
        f"label_names must be at least two different words, got {label_names}"
      )
    postprocess_fn = postprocess_fn or LabelPostprocessor(label_names)
  task = seqio.TaskRegistry.add(
    name,
    source,
    output_features={"inputs": feature, "targets": feature},
    preprocessors=list(PREPROCESSORS),
    postprocess_fn=postprocess_fn,
    metric_fns=[find_metric(metric) for metric in metric_fns],
    task_cls=TextTask,
    shuffle_buffer_size=None,
  )
  task.template = template
  return task


def register_classification_task(
  name: str,
  rows: Callable[[], Mapping[str, Sequence[Mapping]]],
  *,
  template: str,
  label_names: Sequence[str],
  label_field: str = "label",
  splits: Sequence[str] = SPLITS,
  metric_fns: Sequence[str | Callable] = CLASSIFICATION_METRICS,
  vocabulary: seqio.Vocabulary | None = None,
) -> seqio.Task:
  """Registers a classification task over rows that a function returns.

  Args:
    name: the task's name.
    rows: a function that returns {split: rows}; it is called on first use. A
      row is a dict with the template's fields and the label word.
    template: the input text with fields in braces, e.g. "review: {text}".
    label_names: the label words in class order.
    label_field: the field that holds the label word.
    splits: the names of the splits that `rows` returns.
    metric_fns: names in `metrics.METRICS`, or functions.
    vocabulary: see `register_text_task`.

  Raises:
    ValueError: see `register_text_task`, or the template is malformed.
  """
  check_template(template)

  def load(split):
    examples = []
    for row in rows()[split]:
      if row[label_field] not in label_names:
        raise ValueError(
          f"task {name!r}: label {row[label_field]!r} is not one of"
          f" {tuple(label_names)}"
        )
      examples.append((templates.fill(template, row), row[label_field]))
    return examples

  return register_text_task(
    name,
    ExamplesSource(load, splits),
    label_names=label_names,
    metric_fns=metric_fns,
    vocabulary=vocabulary,
    template=template,
  )


def get_task(name: str) -> seqio.Task:
  """Returns a registered task.

  Raises:
    ValueError: no task has this name; the message has the nearest names.
  """
  known = sorted(seqio.TaskRegistry.names())
  if name not in known:
    hint = near_misses(name, known) or f" There are: {', '.join(known)}."
    raise ValueError(
      f"unknown task {name!r}.{hint} Your own task is known once its module is"
      " imported: `import my_tasks` in the gin file, --module for mpt eval"
    )
  return seqio.TaskRegistry.get(name)


def with_vocabulary(
  task: seqio.Task | str, vocabulary: seqio.Vocabulary
) -> seqio.Task:
  """Returns an unregistered copy with another vocabulary of its texts.

  It is that of the features `inputs` and `targets`; others keep theirs.
  """
  task = get_task(task) if isinstance(task, str) else task
  features = {
    name: dataclasses.replace(feature, vocabulary=vocabulary)
    if name in ("inputs", "targets")
    else feature
    for name, feature in task.output_features.items()
  }
  return task.replace(output_features=features)
