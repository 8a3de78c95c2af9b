"""A run's folder: its settings and its prompt files."""

import json

import jax
import numpy as np
from flax import traverse_util

from mpt_jax.data import labels
from mpt_jax.io import digests, files, locks, provenance
from mpt_jax.model import partitioning
from mpt_jax.model.faults import select_rows
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.training import checkpoint_files
from mpt_jax.training.assembly import Setup

SETTINGS = run_settings.FILE


def make_bank(setup: Setup, prompt, metrics=(), faults=()) -> PromptBank:
  """Makes a bank from a prompt tree, with everything that prediction needs.

  Args:
    setup: the loaded experiment.
    prompt: the prompt tree.
    metrics: a dict for each slot, with the metrics of these prompts, or empty.
    faults: the `model.faults.Fault` of each slot that is frozen.
  """
  diverged = {fault.slot: {"diverged": fault.fields} for fault in faults}
  slots = tuple(
    {
      "task": slot.task,
      "label_names": labels.label_names(task),
      "template": getattr(task, "template", None),
      "metrics": _without_nan(metrics[i]) if metrics else {},
      **diverged.get(slot.name, {}),
    }
    for i, (slot, task) in enumerate(
      zip(setup.experiment.slots, setup.tasks, strict=True)
    )
  )
  return PromptBank(
    {k: np.asarray(v) for k, v in prompt.items()},
    tuple(slot.name for slot in setup.experiment.slots),
    setup.model.groups,
    setup.backbone.fingerprint,
    slots,
  )


def _without_nan(metrics):
  """Puts None for NaN, which a metric may be and JSON does not have."""
  return {k: v if np.isfinite(v) else None for k, v in metrics.items()}


def best_bank(
  setup: Setup, best, last: PromptBank, names, faults=()
) -> PromptBank:
  """Makes the bank with each group's prompts at its best evaluation.

  A group without one, because nothing was evaluated or its metric was never
  finite, has its last prompts.
  """
  groups = np.asarray(setup.model.groups)
  has_best = best["step"][groups] > 0
  if not has_best.any():
    return last
  metrics = [
    {name: float(value), **({"step": int(step)} if step else {})}
    for name, value, step in zip(
      names, best["values"], best["step"][groups], strict=True
    )
  ]
  config = setup.model.prompt_config
  prompt = select_rows(config, has_best, best["prompt"], last.params)
  return make_bank(setup, prompt, metrics, faults)


def write_prompts(
  model_dir, setup, trainable, best, names, metrics=(), faults=()
):
  """Writes the run's prompt files, or its backbone if everything trains.

  Args:
    model_dir: the run's folder.
    setup: the loaded experiment.
    trainable: the trainable parameters.
    best: see `best.init_best`.
    names: the name of each slot's main metric; None without evaluation.
    metrics: the metrics of each slot for `trainable`, or empty.
    faults: see `make_bank`.
  """
  # Several processes may each hold a part of an array.
  trainable = jax.tree.map(partitioning.fetch, trainable)
  if jax.process_index() != 0:
    return
  if setup.model.prompt_config is not None:
    last = make_bank(setup, trainable["prompt"], metrics, faults)
    last.save(model_dir / "prompts" / "last.safetensors")
    chosen = best_bank(setup, best, last, names, faults)
    chosen.save(model_dir / "prompts" / "best.safetensors")
  if setup.model.trainable == "everything":
    from mpt_jax.backbones.backbone import write_backbone

    params = {k: v for k, v in trainable.items() if k != "prompt"}
    flat = traverse_util.flatten_dict(params, sep="/")
    write_backbone(
      model_dir / "backbone",
      setup.backbone.config,
      ((name, flat[name]) for name in sorted(flat)),
      setup.backbone.vocabulary_path,
    )


def write_prompts_of_step(model_dir, setup, trainable, step, faults=()):
  """Writes the prompts after a step into a file of their own.

  Args:
    model_dir: the run's folder.
    setup: the loaded experiment.
    trainable: the trainable parameters.
    step: steps done.
    faults: see `make_bank`.
  """
  prompt = jax.tree.map(partitioning.fetch, trainable["prompt"])
  if jax.process_index() == 0:
    bank = make_bank(setup, prompt, faults=faults)
    bank.save(prompts_of_step(model_dir, step))


def prompts_of_step(model_dir, step: int):
  """Returns the path of the prompts that `write_prompts_of_step` keeps."""
  return model_dir / "prompts" / f"step_{step}.safetensors"


def check_model_dir(model_dir, settings):
  """Refuses a folder of another experiment.

  A run that ended before its first checkpoint leaves nothing to keep, so the
  next one may be another experiment.

  Args:
    model_dir: the run's folder.
    settings: the experiment as JSON. Only settings that both sides have are
      compared: earlier versions also wrote derived values, such as the number
      of prompts in the bank. Settings that change no result are not compared
      either; see `run_settings.FREE`.

  Raises:
    ValueError: the folder holds something else, or its experiment.json is
      damaged; the message names the settings that differ.
  """
  path = model_dir / SETTINGS
  if path.exists():
    if not has_trained(model_dir):
      return
    old = digests.read_sealed(path, "the settings of a run")
    differ = list(run_settings.differences(old, settings))
    if differ:
      raise ValueError(
        f"{model_dir} holds another experiment: {', '.join(differ)} differ"
        f" (see {path}); use another folder"
      )
  elif model_dir.is_dir() and any(
    p.name != locks.FILE and not files.is_temporary(p, SETTINGS)
    for p in model_dir.iterdir()
  ):
    raise ValueError(
      f"{model_dir} is not empty and holds no {SETTINGS}, so it is not a run of"
      " ours; use another folder"
    )


def has_trained(model_dir) -> bool:
  """Whether a run's folder has anything that steps have made."""
  if not model_dir.is_dir():
    return False
  names = {p.name for p in model_dir.iterdir()}
  # t5x's checkpoints are folders checkpoint_STEP beside experiment.json.
  if names & {"prompts", "backbone"} or any(
    name.startswith("checkpoint_") for name in names
  ):
    return True
  return bool(checkpoint_files.find_steps(model_dir))


def write_settings(model_dir, settings, config_text):
  """Writes experiment.json atomically, the launcher's configuration, and what
  this process is."""
  if jax.process_index() != 0:
    return
  model_dir.mkdir(parents=True, exist_ok=True)
  text = json.dumps(digests.seal(settings), indent=2) + "\n"
  files.write_text(model_dir / SETTINGS, text)
  if config_text is not None:
    files.write_text(model_dir / "config.gin", config_text)
  provenance.add_start(model_dir, jax.devices())
