"""Evaluates the prompts of a bank, or a T5 without any: `mpt eval`."""

import pathlib

import mpt_jax.io.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.backbones.backbone import check_vocabulary, load_backbone
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.inference.evaluator import EvalConfig, Evaluator
from mpt_jax.io import run_settings
from mpt_jax.model import partitioning
from mpt_jax.model.network import T5
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.parametrization import PromptConfig
from mpt_jax.prompts.plain import plain_params
from mpt_jax.prompts.slots import Slot


def evaluate(
  prompts,
  tasks,
  config: EvalConfig,
  backbone=None,
  progress=None,
  *,
  dtype: str | None = None,
  num_model_partitions: int = 1,
) -> list[dict]:
  """Evaluates prompts on their tasks.

  Args:
    prompts: a prompt file or run folder, or None for the T5 without prompts.
    tasks: names of prompts or tasks: only these, in the bank's order; None for
      all. Without prompts, the tasks to evaluate.
    config: split, number of examples and method.
    backbone: as `predict.Predictor`'s.
    progress: called with (done, total) examples.
    dtype: as `predict.Predictor`'s.
    num_model_partitions: devices that share one copy of the T5; the rest
      share the batches.

  Returns:
    Rows of "prompt" (None without prompts), "task", "split", "metric",
    "value" and "num_examples".

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: files that do not fit each other, an unknown task.
  """
  settings, bank = {}, None
  if prompts is not None:
    settings = run_settings.read(prompts)
    # Before the T5, which takes longer to load.
    bank = load_bank(prompts)
  elif not tasks:
    raise ValueError("without prompts, name at least one task")
  else:
    # A run that trains everything leaves its T5 in its folder.
    settings = run_settings.read(pathlib.Path(backbone, "config.json"))
  mesh = partitioning.make_mesh(num_model_partitions)
  loaded = load_backbone(
    backbone or run_settings.backbone(settings),
    dtype or settings.get("dtype"),
    settings.get("vocabulary_path"),
  )
  check_vocabulary(loaded)
  params, prompt_config = dict(loaded.params), None
  if bank is not None:
    bank = load_bank(prompts, loaded.fingerprint)
    chosen = _chosen(bank, tasks)
    names = [bank.names[i] for i in chosen]
    task_names = [bank.slots[i]["task"] for i in chosen]
    prompt_config = PromptConfig(len(chosen), bank.config.prompt_length, 0)
    params["prompt"] = plain_params(bank.composed[chosen])
  else:
    names, task_names = [None] * len(tasks), list(tasks)
  seqio_tasks = slot_tasks(
    [Slot(name) for name in task_names], loaded.vocabulary_path
  )
  lengths = run_settings.lengths(settings)
  network = T5(loaded.config, prompt_config)
  evaluator = Evaluator(
    network,
    seqio_tasks,
    config,
    BatchConfig(
      inputs_length=lengths[0],
      targets_length=lengths[1],
      prompt_length=prompt_config.prompt_length if prompt_config else 0,
      num_tasks=len(names),
    ),
    mesh,
  )
  params = partitioning.put_params(mesh, network, params)
  rows = []
  for name, task, metrics in zip(
    names, task_names, evaluator(params, progress), strict=True
  ):
    num_examples = int(metrics.pop("num_examples"))
    rows += [
      {
        "prompt": name,
        "task": task,
        "split": config.split,
        "metric": metric,
        "value": value,
        "num_examples": num_examples,
      }
      for metric, value in metrics.items()
    ]
  return rows


def _chosen(bank, tasks):
  """The places of the prompts that are named, or whose task is."""
  if not tasks:
    return list(range(len(bank.names)))
  found = set()
  for name in tasks:
    of_task = [i for i, s in enumerate(bank.slots) if s.get("task") == name]
    # `index` has the error for a name that is neither.
    found.update(of_task or [bank.index(name)])
  return sorted(found)
