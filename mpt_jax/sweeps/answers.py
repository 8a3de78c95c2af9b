"""Answers the targets of a contest, and keeps the answers.

The answers of a run are in RUN/answers/VIEW/outcomes.json, and those of
majority, tf-idf and the T5 without a prompt in TABLE/baselines/VIEW. What is
there is not answered again.
"""

import dataclasses
import hashlib
import json
import pathlib

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.backbones.backbone import identify_backbone
from mpt_jax.data import labels
from mpt_jax.data.in_memory import baselines
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.inference.evaluator import EvalConfig, answer
from mpt_jax.io import digests, files
from mpt_jax.judgement import outcomes as outcomes_files
from mpt_jax.judgement import texts
from mpt_jax.judgement.outcomes import Outcomes, Target, Trial
from mpt_jax.process.progress import Progress
from mpt_jax.prompts.slots import make_slots
from mpt_jax.sweeps.contest import MAJORITY, NO_PROMPT, TFIDF, trial
from mpt_jax.training.run_folder import prompts_of_step

ANSWERS, BASELINE_FOLDER = "answers", "baselines"
SETTINGS = "settings.json"
# Slots that are answered before the answers are written.
CHUNK = 128


class Store:
  """Answers of one view in a folder, with the settings that made them.

  Args:
    folder: the folder, which need not exist.
    settings: JSON values that determine the answers.

  Attributes:
    outcomes: the answers so far.

  Raises:
    ValueError: the folder's answers were made with other settings.
  """

  def __init__(self, folder, settings: dict):
    self._folder, self._settings = pathlib.Path(folder), settings
    self.outcomes = Outcomes({})
    path = self._folder / SETTINGS
    if not path.is_file():
      return
    old = digests.read_sealed(path, "the settings of answers")
    differ = [k for k in settings if old.get(k) != settings[k]]
    if differ:
      raise ValueError(
        f"{self._folder} was made with other settings ({differ[0]} differs);"
        " move it away to answer again"
      )
    if (self._folder / outcomes_files.FILE).is_file():
      self.outcomes = Outcomes.load(self._folder)

  def add(self, answered: dict[Trial, tuple[Target, list]]):
    """Adds answers and writes the files."""
    for one, (target, predictions) in answered.items():
      self.outcomes.targets.setdefault(one.target, target)
      self.outcomes.add(one, predictions)
    text = json.dumps(digests.seal(self._settings)) + "\n"
    files.write_text(self._folder / SETTINGS, text)
    self.outcomes.save(self._folder)

  def missing(self, trials) -> list:
    return [one for one in trials if one not in self.outcomes.predictions]


def config_of(contest, view, experiment) -> EvalConfig:
  """The settings with which a view is answered."""
  return dataclasses.replace(
    experiment.eval or EvalConfig(),
    split=contest.split,
    max_examples=view.max_examples,
    method=view.evaluation,
  )


def answer_run(contest, run, folder, console):
  """Answers the targets with the slots of a finished run, in all views.

  Args:
    contest: the `contest.Contest`.
    run: a `plan.PlannedRun`.
    folder: the contest's folder, which gets the texts.
    console: where progress is printed.

  Raises:
    ValueError: the answers were made with other settings or other prompts.
  """
  for view in contest.all_views:
    by_steps = contest.slots(view, run)
    if not by_steps:
      continue
    config = config_of(contest, view, run.experiment)
    settings = {
      "eval": dataclasses.asdict(config),
      "trained": _fingerprint(run, by_steps),
    }
    store = Store(run.folder / ANSWERS / view.name, settings)
    for steps, slots in by_steps.items():
      missing = {trial(slot): slot for slot in slots}
      missing = {one: missing[one] for one in store.missing(missing)}
      for start in range(0, len(missing), CHUNK):
        chunk = dict(list(missing.items())[start : start + CHUNK])
        what = f"{run.name}, {view.name}: {start} of {len(missing)} prompts"
        with Progress(what, transient=True, console=console) as bar:
          store.add(_answer(run, steps, chunk, config, folder, bar.update))


def _answer(run, steps, chunk, config, folder, progress):
  """Answers with some slots of a run: {trial: (target, predictions)}."""
  by_name = {slot.name: one for one, slot in chunk.items()}
  prompts, backbone, names = run.folder, None, list(by_name)
  if run.experiment.trainable == "everything":
    prompts, backbone = None, run.folder / "backbone"
    by_name = {slot.task: one for one, slot in chunk.items()}
    names = list(by_name)
  elif steps is not None:
    prompts = prompts_of_step(run.folder, steps)
  found = answer(
    prompts,
    names,
    config,
    backbone=backbone,
    inputs_length=run.experiment.batch.inputs_length,
    targets_length=run.experiment.batch.targets_length,
    dtype=run.experiment.dtype,
    num_model_partitions=run.arguments.get("num_model_partitions", 1),
    progress=progress,
  )
  keep_texts(folder, {one.task_name: one.task for one in found})
  return {
    by_name[one.prompt or one.task_name]: (_target(one.task), one.predictions)
    for one in found
  }


def _target(task) -> Target:
  return Target(labels=task.labels, answers=task.targets)


def _fingerprint(run, steps) -> str:
  """SHA-256 of the files that answer."""
  digest = hashlib.sha256()
  folder = run.folder / "prompts"
  paths = [run.folder / "backbone" / "params.safetensors"]
  for step in sorted(steps, key=lambda step: step or 0):
    paths.append(
      folder / "best.safetensors"
      if step is None
      else prompts_of_step(run.folder, step)
    )
  for path in paths:
    if path.is_file():
      digest.update(digests.file_sha256(path).encode())
  return digest.hexdigest()


def keep_texts(folder, tasks):
  """Keeps the inputs of test examples as texts, for those who show them.

  Args:
    folder: the contest's folder.
    tasks: {task name: `EvalTask`}. Of two with the same name the one with more
      examples counts.
  """
  known = texts.read(folder)
  found = {
    name: task.texts()
    for name, task in tasks.items()
    if len(task.inputs) > len(known.get(name, ()))
  }
  if found:
    texts.write(folder, {**known, **found})


def answer_baselines(contest, finished, folder, console):
  """Answers the targets without a trained prompt, in all views.

  Majority takes the most frequent label of the whole training split, and tf-idf
  with logistic regression learns from the examples of each draw.

  Args:
    contest: the `contest.Contest`.
    finished: the finished runs, whose slots say which draws there are.
    folder: the contest's folder.
    console: where progress is printed.
  """
  if not contest.baselines:
    return
  _, fingerprint = identify_backbone(finished[0].experiment.backbone)
  for view in contest.all_views:
    wanted = contest.baselines_of(view)
    slots = {
      (slot.task, slot.shots, slot.seed): (slot, run)
      for run in finished
      for found in contest.slots(view, run).values()
      for slot in found
    }
    if not wanted or not slots:
      continue
    run = next(iter(slots.values()))[1]
    config = config_of(contest, view, run.experiment)
    settings = {"eval": dataclasses.asdict(config), "T5": fingerprint}
    store = Store(pathlib.Path(folder) / BASELINE_FOLDER / view.name, settings)
    # Only tf-idf learns from a draw.
    trials = [
      Trial(method, task, *((shots, seed) if method == TFIDF else (None, None)))
      for task, shots, seed in slots
      for method in wanted
    ]
    missing = store.missing(dict.fromkeys(trials))
    if missing:
      what = f"{', '.join(wanted)}, {view.name}"
      with Progress(what, transient=True, console=console):
        store.add(_without_prompts(missing, run, config))


def _without_prompts(trials, run, config):
  """Answers of baselines: {trial: (target, predictions)}."""
  made = {}
  for one in trials:
    if one.method != NO_PROMPT:
      made[one] = _by_words(one, config)
  asked = {one.target: one for one in trials if one.method == NO_PROMPT}
  if asked:
    for found in answer(
      None,
      list(asked),
      config,
      backbone=run.experiment.backbone,
      inputs_length=run.experiment.batch.inputs_length,
      targets_length=run.experiment.batch.targets_length,
      dtype=run.experiment.dtype,
    ):
      made[asked[found.task_name]] = (_target(found.task), found.predictions)
  return made


def _by_words(one, config):
  """Answers one trial of majority or of tf-idf."""
  (slot,) = make_slots((one.target,), (one.shots,), (one.seed or 0,))
  (task,) = slot_tasks([slot], None)
  name = {MAJORITY: baselines.MAJORITY, TFIDF: baselines.TFIDF}[one.method]
  found, right = baselines.answer_task(task, config.split, config.max_examples)
  words = labels.label_names(task)
  target = Target(labels=words, answers=[words.index(word) for word in right])
  return target, [words.index(word) for word in found[name]]
