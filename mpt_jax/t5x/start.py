"""The start of a program: its folder, equal processes, no damage."""

import contextlib
import hashlib
import json
import sys

import jax
from etils import epath

from mpt_jax.data import batches
from mpt_jax.inference.evaluator import Evaluator
from mpt_jax.io import digests, files, paths
from mpt_jax.launchers import gin_names
from mpt_jax.prompts import run_settings
from mpt_jax.t5x import data, sums
from mpt_jax.training import agreement, checkpoint_files, run_folder
from mpt_jax.training.experiment import Experiment

# What the answers in an output folder of t5x.infer are made of.
ANSWERS = "answers.json"


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
        take it for a pattern, the processes differ, all of its checkpoints are
        damaged, or the experiment ends early.
    """
    self.has_met = True
    with agreement.together():
      _check_patience(experiment)
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


def answers_dir(
  path: str, experiment: Experiment, checkpoint: str, prompts=None
) -> str:
  """Returns t5x.infer's output folder in the form that t5x expects.

  t5x keeps a file of answers that it finds there, and goes on with one that it
  had begun, whichever prompts made it.

  Args:
    path: the folder.
    experiment: the settings.
    checkpoint: the folder of a step.
    prompts: the arrays of the bank that answers; None for the checkpoint's.

  Raises:
    ValueError: the folder has answers of other prompts or settings.
  """
  path = paths.absolute(path)
  folder = epath.Path(path)
  made_of = {
    **experiment.to_json(),
    "the prompts": _prompts_digest(checkpoint, prompts),
  }
  has_answers = folder.is_dir() and any(
    found.name.startswith("tmp-") or found.name.endswith(".COMPLETED")
    for found in folder.iterdir()
  )
  known, differ = folder / ANSWERS, ["what made them"]
  if known.exists():
    old = digests.read_sealed(known, "what answers are made of")
    if old.keys() == made_of.keys():
      differ = list(run_settings.differences(old, made_of))
  if has_answers and differ:
    raise ValueError(
      f"INFER_OUTPUT_DIR={path} has answers of other prompts or settings"
      f" ({', '.join(differ)}), which t5x would keep; use another folder"
    )
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(known, json.dumps(digests.seal(made_of), indent=2) + "\n")
  return path


def _prompts_digest(checkpoint, prompts):
  digest = hashlib.sha256()
  sums_file = epath.Path(checkpoint) / digests.SUMS
  if prompts is not None:
    for name in sorted(prompts):
      digests.update(digest, name, prompts[name])
  elif sums_file.exists():
    digest.update(sums_file.read_bytes())
  else:  # An earlier version wrote the checkpoint.
    digest.update(str(checkpoint).encode())
  return digest.hexdigest()


def _check_patience(experiment):
  if experiment.eval is not None and experiment.eval.patience is not None:
    raise ValueError(
      f"EvalConfig.patience={experiment.eval.patience}: t5x trains to the last"
      " step; leave it out, or train with python -m mpt_jax.train"
    )


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
