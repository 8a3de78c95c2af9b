"""The experiment's parts, folders and data for t5x's programs.

The gin files in `gin/launchers/` bind these functions. `adapter` has the model
and the trainer.
"""

import dataclasses
import functools
import sys

import flax.traverse_util
import jax
import numpy as np
import safetensors.numpy as safetensors
from clu.data.dataset_iterator import ArraySpec, DatasetIterator
from etils import epath

from mpt_jax.backbones import backbone as backbones
from mpt_jax.backbones import t5x_checkpoints
from mpt_jax.data import batches, packing, pipeline
from mpt_jax.io import checks, digests, paths
from mpt_jax.io.errors import reading
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import load_bank
from mpt_jax.t5x import sums, tasks
from mpt_jax.text import vocabulary_files
from mpt_jax.training import assembly, run_folder
from mpt_jax.training.experiment import Experiment

try:
  # This imports all parts of t5x that are used here and in `adapter`.
  import t5x.trainer
except ImportError as error:
  raise ImportError(
    f"mpt_jax.t5x.adapter needs t5x and all that it imports ({error}). t5x is"
    " not on PyPI: install it as https://github.com/google-research/t5x says,"
    " and airio and jestimator, which are not on PyPI either, from their"
    " repositories; `python -m mpt_jax.train` runs the same files without it"
  ) from None


# Suffix of the file with the best prompts so far, beside the data's position.
BEST = ".best.safetensors"


@functools.lru_cache(maxsize=1)
def assemble(experiment: Experiment) -> assembly.Assembly:
  """Returns the experiment's parts, loaded once for all of t5x's calls."""
  backbone = None
  if is_t5x_checkpoint(experiment.backbone):
    # t5x itself reads the tensors; each device reads its own part.
    opened = backbones.open_backbone(experiment.backbone)
    config = dataclasses.replace(
      opened.config, dtype=experiment.dtype or opened.config.dtype
    )
    backbone = backbones.Backbone(
      config,
      None,
      vocabulary_files.resolve(experiment.vocabulary_path)
      or opened.find_vocabulary(),
      None,
      experiment.backbone,
    )
  return assembly.assemble(experiment, backbone=backbone)


def is_t5x_checkpoint(backbone: str | None) -> bool:
  """Whether an experiment's backbone is a t5x checkpoint."""
  return (
    backbone is not None
    and t5x_checkpoints.find_checkpoint(backbone) is not None
  )


def settings_of_run(parts: assembly.Assembly) -> dict:
  """Returns the settings in a run's experiment.json."""
  experiment = parts.experiment.to_json()
  written = {run_settings.CHECKPOINT_DIGESTS: True}
  return {**experiment, "launcher": "t5x", **written}


@functools.lru_cache(maxsize=1)
def newest_checkpoint(path: str, experiment: Experiment) -> str:
  """Returns the newest good step's folder of a run; a step's folder as it is.

  Damaged newer steps of a run stay where they are, and a line names each.

  Raises:
    FileNotFoundError: there is no checkpoint.
    ValueError: the step, or every step of the run, is damaged.
    ValueError: the run's slots differ from the experiment's.
  """
  path = paths.absolute(path)
  _check_slots(path, experiment)
  if t5x.checkpoints.all_steps(path):
    step, notes = sums.find_good(path)
    for note in notes:
      print(note, file=sys.stderr)
    return t5x.checkpoints.get_checkpoint_dir(path, step)
  if t5x_checkpoints.find_checkpoint(path) is None:
    raise FileNotFoundError(
      f"no t5x checkpoint in {path}: give MODEL_DIR, the folder of a run of"
      " t5x.train, or CHECKPOINT_PATH"
    )
  sums.check(path)
  return path


@functools.lru_cache(maxsize=1)
def best_prompts(path: str, experiment: Experiment, best: bool):
  """Returns the arrays of a run's best prompts, as `mpt eval` takes them.

  Args:
    path: the run, or one of its steps.
    experiment: the settings.
    best: whether the best prompts are asked for.

  Returns:
    None for the prompts of the checkpoint: `best` is False, the path is a step,
    or the run has no prompts.

  Raises:
    ValueError: the file of the best prompts is damaged.
  """
  prompts = epath.Path(paths.absolute(path)) / "prompts"
  if not checks.flag("BEST", best) or not prompts.is_dir():
    return None
  bank = load_bank(prompts.parent)
  steps = sorted({slot["metrics"].get("step", 0) for slot in bank.slots} - {0})
  if steps:
    print(
      f"the prompts are the best of the run in {prompts.parent}, of step"
      f" {', '.join(map(str, steps))}",
      file=sys.stderr,
    )
  return bank.params


def with_prompts(params, prompts):
  """Returns the parameters with these prompts; None changes nothing."""
  return params if prompts is None else {**params, "prompt": prompts}


def _check_slots(path, experiment):
  """Compares slots: prompts of other tasks may have the same shape."""
  asked = _shown(experiment)
  for folder in (epath.Path(path), epath.Path(path).parent):
    settings = folder / run_folder.SETTINGS
    if settings.is_file():
      with reading(settings, "the settings of a run"):
        run = digests.read_sealed(settings, "the settings of a run")
        trained = _shown(Experiment.from_json(run))
      if trained != asked:
        raise ValueError(
          f"the run in {folder} has the slots {trained}; the experiment's are"
          f" {asked}: give MIXTURE_OR_TASK_NAME, SHOTS, SEEDS, PROMPT_LENGTH,"
          " KIND and RANK as in training"
        )


def _shown(experiment):
  names = ", ".join(slot.name for slot in experiment.slots)
  return (
    f"{names} (prompt_length={experiment.prompt_length},"
    f" rank={experiment.rank}, prompt_kind={experiment.prompt_kind})"
  )


# ------------------------------------------------------------------ training


class PromptBatches(DatasetIterator):
  """The native launcher's batches, each of as many rows as it needs.

  t5x's loop expects batches of one shape. It also takes a batch before it saves
  the first checkpoint, which would then hold the position after that batch. So
  `next` returns blank batches of one shape, and `PromptTrainer` takes the real
  ones from `next_batch`.

  Args:
    parts: the assembled experiment.
    blank_rows: rows of a blank batch.

  Attributes:
    record: {"best": see `best.init_best`, "evaluated": [] int, the step of the
      last evaluation}. t5x saves and restores it with the position in the data.
      None before the first evaluation.
  """

  def __init__(self, parts: assembly.Assembly, blank_rows=1):
    experiment = parts.experiment
    self._layout = parts.layout
    self._blank, _ = batches.make_batch([], parts.layout, blank_rows)
    self._initial = None
    if is_t5x_checkpoint(experiment.backbone):
      self._initial = f"{paths.absolute(experiment.backbone)}/"
    self._stream = parts.make_stream()
    self.record = None

  def __next__(self):
    return self._blank

  def next_batch(self, row_multiple: int):
    """Returns the next batch, equal in all processes, and its `BatchStats`.

    Args:
      row_multiple: the number of rows is a multiple of it.

    Raises:
      ValueError: a fixed number of rows is not a multiple of it.
    """
    layout = assembly.fit_to_devices(self._layout, row_multiple)
    return batches.make_batch(next(self._stream), layout)

  @property
  def element_spec(self):
    return {k: ArraySpec(v.dtype, v.shape) for k, v in self._blank.items()}

  def save(self, filename):
    self._stream.save(filename)
    if self.record is not None:
      flat = flax.traverse_util.flatten_dict(self.record, sep="/")
      arrays = {name: np.array(x) for name, x in flat.items()}
      epath.Path(f"{filename}{BEST}").write_bytes(safetensors.save(arrays))

  def restore(self, filename):
    # t5x also looks beside the T5's checkpoint.
    if self._initial and str(filename).startswith(self._initial):
      return
    found = _find_position(filename)
    self._stream.restore(found)
    best = epath.Path(f"{found}{BEST}")
    if best.exists():
      with reading(best, "the best prompts of a checkpoint"):
        flat = safetensors.load(best.read_bytes())
      self.record = flax.traverse_util.unflatten_dict(flat, sep="/")


def _find_position(filename) -> str:
  """Finds a position's file, whose name has the number of processes.

  All processes have the same position, so a file of any number will do.
  """
  folder = epath.Path(filename).parent
  if folder.name.startswith("process_"):
    folder = folder.parent
  for suffix in (".index", pipeline.COUNT):
    if epath.Path(f"{filename}{suffix}").exists():
      return str(filename)
  for suffix in (".index", pipeline.COUNT):
    for pattern in ("train_ds-*", "process_*/train_ds-*"):
      for found in sorted(folder.glob(pattern + suffix)):
        return str(found).removesuffix(suffix)
  return str(filename)


def find_batches(batch_iter) -> PromptBatches:
  """Unwraps the batches, which t5x.train wraps twice.

  Raises:
    TypeError: the batches do not come from `get_dataset`.
  """
  # clu's PeekableDatasetIterator has no public name for what it wraps, and t5x
  # hands the batches to the trainer in no other way.
  found = getattr(getattr(batch_iter, "_it", None), "iterator", None)
  if not isinstance(found, PromptBatches):
    raise TypeError(
      "PromptTrainer needs train.get_dataset_fn = @data.get_dataset, got"
      f" batches of {type(found or batch_iter).__name__}"
    )
  return found


def get_dataset(
  cfg,
  shard_id,
  num_shards,
  feature_converter_cls,
  num_epochs=None,
  continue_from_last_checkpoint=False,
  *,
  experiment: Experiment,
) -> PromptBatches:
  """t5x's `get_dataset_fn` for training."""
  del feature_converter_cls, num_epochs, continue_from_last_checkpoint, shard_id
  return PromptBatches(assemble(experiment), cfg.batch_size // num_shards)


# ------------------------------------------------------------------ settings


def train_dataset(experiment: Experiment):
  """Returns training's `DatasetConfig`; `get_dataset` has the data."""
  parts = assemble(experiment)
  rows = experiment.batch.num_rows or experiment.mix.batch_size
  return _dataset_config(
    *(parts, tasks.register_slots(parts), "train", rows),
    experiment.num_microbatches,
    experiment.mix.seed,
  )


def eval_dataset(experiment: Experiment, split: str | None = None):
  """Returns the slots' evaluation data.

  Args:
    experiment: the settings.
    split: instead of the experiment's.

  Raises:
    ValueError: the experiment has no `eval`, or a task lacks the split.
  """
  if experiment.eval is None:
    raise ValueError(
      "t5x.eval needs Experiment.eval, which says what to evaluate"
    )
  parts = assemble(experiment)
  return _eval_config(parts, tasks.register_slots(parts), split)


def eval_loss_dataset(experiment: Experiment, steps: int):
  """Returns the data of the loss by teacher forcing, or None for 0 steps."""
  if checks.whole("eval_loss_dataset.steps", steps, low=0) == 0:
    return None
  return eval_dataset(experiment)


def infer_dataset(
  experiment: Experiment, split: str | None = None, mixed: bool = True
):
  """Returns the data of t5x.infer.

  Args:
    experiment: the settings.
    split: instead of the experiment's.
    mixed: True lets examples of all slots share batches and one file of
      predictions. With False each slot has its own file.
  """
  parts = assemble(experiment)
  register = tasks.register_mixed if mixed else tasks.register_slots
  return _eval_config(parts, register(parts), split)


def _eval_config(parts, name, split):
  config = parts.experiment.eval
  split = split or (config.split if config else "validation")
  for slot, task in zip(parts.experiment.slots, parts.tasks, strict=True):
    if split not in task.splits:
      raise ValueError(
        f"the task of slot {slot.name!r} has no split {split!r}; it has"
        f" {', '.join(task.splits)}"
      )
  return _dataset_config(parts, name, split, config.num_rows if config else 32)


def _dataset_config(parts, name, split, num_rows, multiple=1, seed=0):
  return t5x.utils.DatasetConfig(
    mixture_or_task_name=name,
    task_feature_lengths=tasks.feature_lengths(parts),
    split=split,
    # t5x requires a multiple of the number of devices.
    batch_size=packing.round_up(num_rows, jax.device_count() * multiple),
    shuffle=split == "train",
    seed=seed,
    use_cached=False,
    use_memory_cache=False,
  )
