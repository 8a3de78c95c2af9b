"""The start of a run: one writer, equal processes, undamaged checkpoints."""

import contextlib
import sys

import jax
from etils import epath

from mpt_jax.data import batches
from mpt_jax.inference.evaluator import Evaluator
from mpt_jax.io import digests, paths
from mpt_jax.launchers import gin_names
from mpt_jax.t5x import data, sums
from mpt_jax.training import agreement, checkpoint_files, run_folder
from mpt_jax.training.experiment import Experiment


class Start:
  """What t5x needs before it writes anything, for one run at a time.

  Attributes:
    has_met: whether the processes of the run have begun to compare themselves.
      From then on all of them hear of an error of one.
  """

  def __init__(self):
    self.has_met = False
    self._held = contextlib.ExitStack()

  def take_folder(self, path: str, experiment: Experiment) -> str:
    """Takes the run's folder, and returns it in the form that t5x expects.

    Raises:
      ValueError: it holds another experiment, another run holds it, t5x would
        take it for a pattern, the processes differ, or all of its checkpoints
        are damaged.
    """
    self.has_met = True
    with agreement.together():
      path = paths.absolute(path)
      paths.check_no_pattern(path, "MODEL_DIR", "t5x")
      folder = epath.Path(path)
      parts = data.assemble(experiment)
      settings = data.settings_of_run(parts)
      if (folder / run_folder.SETTINGS).exists():
        run_folder.check_model_dir(folder, settings)
      contents = {} if agreement.is_alone() else _contents(parts)
    if not agreement.is_alone():
      agreement.compare(
        {"Experiment": settings, **gin_names.statements()}, contents
      )
    self._held.close()
    self._held.enter_context(agreement.hold(folder))
    with agreement.together():
      if jax.process_index() == 0:
        checkpoint_files.clear_unfinished(folder)
        for line in sums.set_damaged_aside(folder):
          print(line, file=sys.stderr)
    return path

  def release(self):
    """Lets another run write to the folder."""
    self._held.close()


START = Start()


def model_dir(path: str, experiment: Experiment) -> str:
  """Calls `Start.take_folder` of this process, for gin."""
  return START.take_folder(path, experiment)


def _contents(parts):
  """Returns digests of everything that the processes of a run share."""
  experiment = parts.experiment
  first, _ = batches.make_batch(next(parts.make_stream()), parts.layout)
  evaluated = None
  if experiment.eval is not None:
    evaluated = Evaluator(parts.tasks, experiment.eval).digest()
  return {
    "the code or the libraries": agreement.code_digest(),
    "the content of the vocabulary": digests.file_sha256(
      parts.backbone.vocabulary_path
    ),
    "the T5": parts.backbone.fingerprint,
    "the content of the first batch": agreement.digest(first),
    "the evaluation examples": evaluated,
  }
