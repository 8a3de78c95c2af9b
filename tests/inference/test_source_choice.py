"""The choice of the source prompt that a slot starts from."""

import numpy as np
import pytest
from train_fixtures import (
  register_tiny_task,
  tiny_backbone,
  tiny_experiment,
)

from mpt_jax.backbones import backbone as backbones
from mpt_jax.data import text_tasks
from mpt_jax.data.shots import few_shot
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.evaluator import EvalConfig, Evaluator
from mpt_jax.inference.source_choice import choose_sources
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.prompts.slots import Slot
from mpt_jax.training import assembly

__all__ = ["tiny_backbone"]
NAMES = ("one", "two", "three", "four")


def log_likelihood(targets, scores):
  return {"log_likelihood": sum(scores) / len(scores)}


@pytest.fixture(scope="module")
def source(tiny_backbone, tmp_path_factory):
  """A file of four random prompts, and their values."""
  loaded = backbones.load_backbone(tiny_backbone)
  prompts = np.random.default_rng(0).normal(0, 3, (4, 3, 32)).astype("f4")
  path = tmp_path_factory.mktemp("starts") / "teachers.safetensors"
  PromptBank(
    {"shared_prompt": prompts},
    NAMES,
    (0, 1, 2, 3),
    loaded.fingerprint,
    tuple({"task": name} for name in NAMES),
  ).save(path)
  return str(path), prompts, loaded


def likelihoods(source, task):
  """The mean log-likelihood of a task's training answers with each prompt."""
  _, prompts, loaded = source
  task = task.replace(metric_fns=[log_likelihood])
  engine = Engine(
    loaded.config,
    loaded.params,
    prompts,
    mesh=partitioning.make_mesh(),
    inputs_length=16,
    targets_length=4,
  )
  made = Evaluator([task] * 4, EvalConfig(split="train"))(engine)
  return [values["log_likelihood"] for values in made]


def choose(parts):
  slots = parts.experiment.slots
  return choose_sources(slots, parts.tasks, parts.backbone, parts.layout)


def test_the_likeliest_answers_choose(source, tiny_backbone, tmp_path):
  """Compared with a metric function of the scores of the right answers."""
  path, _, _ = source
  names = [register_tiny_task(tmp_path, seed=seed) for seed in range(3)]
  slots = [
    Slot(task=names[0], init="best", source=path),
    Slot(task=names[0], init="best:two,three", source=path, label="two"),
    Slot(task=names[1], init="best", source=path, shots=2, seed=5),
    Slot(task=names[1], shots=2, seed=5, label="own"),
    Slot(task=names[2], init="task:one", source=path),
  ]
  experiment = tiny_experiment(tuple(slots), tiny_backbone)
  parts = assembly.assemble(experiment, mesh=partitioning.make_mesh())
  found = choose(parts)
  whole = likelihoods(source, text_tasks.get_task(names[0]))
  few = likelihoods(source, few_shot(names[1], 2, 5))
  assert len(set(np.round(whole, 4))) == 4
  assert [slot.init for slot in found] == [
    f"task:{NAMES[int(np.argmax(whole))]}",
    f"task:{NAMES[1 + int(np.argmax(whole[1:3]))]}",
    f"task:{NAMES[int(np.argmax(few))]}",
    "vocabulary",
    "task:one",
  ]
  # The settings of the run still say "best".
  assert experiment.slots[0].init == "best"
  # The prompt of the chosen source is the start.
  embedding = parts.backbone.params["token_embedder"]["embedding"]
  made = assembly.starting_prompts(parts, embedding)["shared_prompt"]
  np.testing.assert_allclose(
    made[0], source[1][int(np.argmax(whole))], rtol=1e-6
  )


def test_a_choice_needs_a_source(tiny_backbone, tmp_path):
  task = register_tiny_task(tmp_path)
  experiment = tiny_experiment((Slot(task=task, init="best"),), tiny_backbone)
  parts = assembly.assemble(experiment, mesh=partitioning.make_mesh())
  with pytest.raises(ValueError, match="prompts of Slot.source"):
    choose(parts)
