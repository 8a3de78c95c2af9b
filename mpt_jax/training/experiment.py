"""One experiment, said once: all settings that decide what is computed."""

import dataclasses
import json

from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.pipeline import MixConfig
from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import LossConfig
from mpt_jax.prompts.slots import Slot
from mpt_jax.training.optimizers import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The settings of a run, the same for every launcher.

  Attributes:
    slots: the bank; where everything trains without prompts, its tasks.
    total_steps: length of the run.
    backbone: "default" (the embedded small T5), a folder (ours or Hugging
      Face's) or a t5x checkpoint; None for random parameters.
    network: the T5's shape, where its parameters are random.
    vocabulary_path: sentencepiece model, where the backbone brings none.
    dtype: "float32" or "bfloat16" activations; None keeps the backbone's.
    trainable: "prompt" or "everything".
    prompt_length: P; 0 for no prompts, where everything trains.
    rank: R of the task factors; 0 for plain soft prompts.
    prompt_kind: how prompts are made from what trains, if rank is above 0; a
      key of `parametrization.KINDS`.
    teachers: prompt file or run folder of the teachers, for distillation. It
      must have a prompt for each of the slots' tasks.
    loss: the loss.
    batch: lengths and packing. prompt_length and num_tasks are filled in.
    mix: how tasks share a batch.
    optimizer: rates and schedule.
    eval: when and how to evaluate, or None.
    num_microbatches: parts of a batch whose gradients are accumulated.
    dropout_rate: dropout in the frozen network; 0 by default, as the network
      is not what learns.
    seed: base key of parameters and dropout.
  """

  slots: tuple[Slot, ...]
  total_steps: int
  backbone: str | None = "default"
  network: T5Config | None = None
  vocabulary_path: str | None = None
  dtype: str | None = None
  trainable: str = "prompt"
  prompt_length: int = 100
  rank: int = 1
  prompt_kind: str = "multitask"
  teachers: str | None = None
  loss: LossConfig = LossConfig()
  batch: BatchConfig = BatchConfig(inputs_length=256, targets_length=16)
  mix: MixConfig = MixConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  eval: EvalConfig | None = EvalConfig()
  num_microbatches: int = 1
  dropout_rate: float = 0.0
  seed: int = 0

  def __post_init__(self):
    if self.total_steps < 1:
      raise ValueError(
        f"total_steps must be at least 1, got {self.total_steps}"
      )
    if (self.network is None) == (self.backbone is None):
      raise ValueError(
        "an experiment needs either a backbone or, to start from random"
        f" parameters, a network; got backbone={self.backbone!r} and"
        f" network={self.network!r}"
      )
    if not self.slots:
      raise ValueError("an experiment needs at least one slot")
    object.__setattr__(self, "slots", tuple(self.slots))

  def to_json(self) -> dict:
    """The settings as JSON values, to be kept beside a run."""
    return json.loads(json.dumps(dataclasses.asdict(self)))
