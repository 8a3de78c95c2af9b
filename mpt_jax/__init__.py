"""Multitask Prompt Tuning for a frozen T5, in JAX and Flax.

What this module names is public and stays; everything else in the package is
internal. A name is imported when it is first used, so `import mpt_jax` is quick
and brings neither JAX nor TensorFlow.

Example::

  import mpt_jax as mpt

  run = mpt.fit(rows, text="question", label="kind", out="runs/trec")
  mpt.Predictor(run).predict(["Who wrote Ulysses?"])

  mpt.train(
    mpt.Experiment(slots=mpt.make_slots(("rotten_tomatoes",)), total_steps=200),
    model_dir="runs/teach",
  )
  mpt.evaluate("runs/teach", config=mpt.EvalConfig(split="test"))
  mpt.Predictor("runs/teach").predict([{"text": "a quiet, moving film"}])
"""

import importlib.util
import sys

__version__ = "0.2.0"

# Each public name and the module that defines it.
_PUBLIC = {
  "BatchConfig": "data.batches",
  "DistillConfig": "model.objective",
  "EvalConfig": "inference.evaluator",
  "Experiment": "training.experiment",
  "LossConfig": "model.objective",
  "MixConfig": "data.mixing",
  "OptimizerConfig": "training.optimizers",
  "Predictor": "inference.predictor",
  "PromptBank": "prompts.bank",
  "Slot": "prompts.slots",
  "T5Config": "model.config",
  "adapt": "fitting.stages",
  "compose_bank": "prompts.kinds",
  "distill": "fitting.stages",
  "evaluate": "inference.evaluator",
  "fit": "fitting.run",
  "load_backbone": "backbones.backbone",
  "load_bank": "prompts.bank",
  "make_slots": "prompts.slots",
  "teach": "fitting.stages",
  "train": "training.loop",
}
# Their users name tasks, so the built-in ones are registered with seqio first,
# unless seqio is not installed (requirements/light.txt).
_USE_TASKS = ("evaluate", "train")
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
  if name not in _PUBLIC:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  if name in _USE_TASKS and importlib.util.find_spec("seqio"):
    importlib.import_module("mpt_jax.tasks.registry")
  value = getattr(importlib.import_module(f"mpt_jax.{_PUBLIC[name]}"), name)
  globals()[name] = value
  return value


def __dir__():
  return sorted(__all__)


if hasattr(sys.modules.get("gin"), "add_config_file_search_path"):
  # A program that reads gin files, such as t5x.train, has imported gin before
  # this package. It can now find "gin/mpt_adapt.gin" from any folder.
  from mpt_jax.io.paths import GIN_SEARCH_PATHS

  for _folder in GIN_SEARCH_PATHS:
    sys.modules["gin"].add_config_file_search_path(_folder)
