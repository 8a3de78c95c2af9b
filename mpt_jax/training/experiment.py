"""The settings of an experiment: everything that affects its results."""

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping

from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.mixing import MixConfig
from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.io import checks, digests
from mpt_jax.model.config import DTYPES, T5Config
from mpt_jax.model.objective import TRAINABLE, LossConfig
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import KINDS
from mpt_jax.prompts.slots import Slot, prompt_config
from mpt_jax.training import inherited
from mpt_jax.training.optimizers import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """The settings of a run, the same for every launcher.

  Attributes:
    slots: the slots of the bank, or the tasks if there are no prompts.
    total_steps: length of the run.
    backbone: "default" (the embedded small T5), a folder (ours or Hugging
      Face's) or a t5x checkpoint; None for random parameters.
    network: the T5's configuration, if its parameters are random.
    vocabulary_path: sentencepiece model, if the backbone comes without one; or
      the folder of a tokenizer, see `vocabulary_files.resolve`.
    dtype: "float32" or "bfloat16" activations; None keeps the backbone's.
    trainable: "prompt" or "everything".
    prompt_length: P; 0 trains everything without prompts. None takes that of
      the slots' sources and of the teachers, or `kind.Kind.default_length`.
    rank: R of the task factors, or what the kind of prompt calls its rank; 0
      for plain soft prompts. None takes that of the slots' sources of this
      kind, or `kind.Kind.default_rank`.
    prompt_kind: parametrisation of the prompts if rank is above 0. None takes
      that of the slots' sources, or "multitask"; else a key of
      `kinds.KINDS`.
    teachers: prompt file or run folder of the teachers, for distillation. It
      must have a prompt for the task of each slot.
    loss: the loss.
    batch: lengths and packing. A length of None is the longest of the runs of
      sources and teachers, or 256 for inputs and 16 for targets.
    mix: batch size and the mixing of tasks.
    optimizer: learning rates and schedule.
    eval: when and how to evaluate, or None.
    num_microbatches: parts of a batch whose gradients are accumulated. With 1,
      rows that are long (`BatchLayout.long_rows`) still go one after another.
    dropout_rate: dropout in the T5; 0 by default, because the T5 is frozen.
    seed: seed of random parameters and dropout.
  """

  slots: tuple[Slot, ...]
  total_steps: int
  backbone: str | None = "default"
  network: T5Config | None = None
  vocabulary_path: str | None = None
  dtype: str | None = None
  trainable: str = "prompt"
  prompt_length: int | None = None
  rank: int | None = None
  prompt_kind: str | None = None
  teachers: str | None = None
  loss: LossConfig = LossConfig()
  batch: BatchConfig = BatchConfig()
  mix: MixConfig = MixConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  eval: EvalConfig | None = EvalConfig()
  num_microbatches: int = 1
  dropout_rate: float = 0.0
  seed: int = 0

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    slots = dict(of=checks.instance, cls=Slot)
    check(checks.sequence, "slots", what="slots", **slots)
    check(checks.whole, "total_steps", "num_microbatches", low=1)
    check(checks.path, "backbone", "vocabulary_path", "teachers", optional=True)
    check(checks.instance, "batch", cls=BatchConfig)
    # The kind gives the defaults of the lengths and the rank.
    kinds = tuple(KINDS)
    check(checks.choice, "prompt_kind", choices=kinds, optional=True)
    self._inherit()
    check(checks.whole, "prompt_length", "rank", low=0)
    check(checks.choice, "dtype", choices=DTYPES, optional=True)
    check(checks.choice, "trainable", choices=TRAINABLE)
    check(checks.number, "dropout_rate", low=0, below=1)
    check(checks.seed, "seed")
    check(checks.instance, "network", cls=T5Config, optional=True)
    check(checks.instance, "loss", cls=LossConfig)
    check(checks.instance, "mix", cls=MixConfig)
    check(checks.instance, "optimizer", cls=OptimizerConfig)
    check(checks.instance, "eval", cls=EvalConfig, optional=True)
    self._check_together()

  def _inherit(self):
    """Fills in the settings that are None, see `inherited`."""
    names = ("prompt_length", "rank", "prompt_kind")
    lengths = ("inputs_length", "targets_length")
    missing = [name for name in names if getattr(self, name) is None]
    cut = [name for name in lengths if getattr(self.batch, name) is None]
    if not missing + cut:
      return
    sources = [slot.source for slot in self.slots if slot.source is not None]
    found = inherited.Inherited(sources, self.teachers, self.prompt_kind)
    for name in missing:
      object.__setattr__(self, name, getattr(found, name))
    values = {name: getattr(found, name) for name in cut}
    object.__setattr__(self, "batch", dataclasses.replace(self.batch, **values))

  def _check_together(self):
    """Checks that the settings fit each other."""
    if (self.network is None) == (self.backbone is None):
      raise ValueError(
        "an experiment needs either Experiment.backbone or, to start from"
        " random parameters, Experiment.network; got"
        f" backbone={self.backbone!r} and network={self.network!r}"
      )
    if self.trainable == "prompt" and not self.prompt_length:
      raise ValueError(
        "Experiment.prompt_length must be at least 1 where"
        " Experiment.trainable='prompt', got 0"
      )
    if self.loss.distill is not None and not self.prompt_length:
      raise ValueError(
        "Experiment.prompt_length must be at least 1 where"
        " Experiment.loss has a DistillConfig, got 0"
      )
    if self.trainable == "prompt" and self.optimizer.name != "adamw":
      raise ValueError(
        f"OptimizerConfig.name={self.optimizer.name!r} mixes the prompts of a"
        " bank in its statistics; prompts train with adamw"
      )
    rates = {slot.task: slot.rate for slot in self.slots}
    if self.mix.mixing == "sampled" and len(set(rates.values())) > 1:
      shown = ", ".join(f"{task} {rate:g}" for task, rate in rates.items())
      raise ValueError(
        f"the slots have the rates of a mixture ({shown}), which"
        " MixConfig.mixing='sampled' cannot obey, because it draws all tasks"
        " equally often. Set MixConfig.mixing to 'rates', or give the names of"
        " the tasks in place of the mixture's"
      )
    # A row must hold an example and its prompt.
    self.batch.layout(prompt_length=self.prompt_length)

  @property
  def bank_config(self) -> PromptConfig | None:
    """The shape of the bank that the slots make, or None without prompts.

    Raises:
      ValueError: see `slots.prompt_config`.
    """
    if not self.prompt_length:
      return None
    sizes = self.prompt_length, self.rank
    inputs_length = self.batch.inputs_length
    return prompt_config(self.slots, *sizes, self.prompt_kind, inputs_length)

  def to_json(self) -> dict:
    """Returns the settings as JSON values, for the run's experiment.json."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  @classmethod
  def from_json(cls, settings: Mapping) -> "Experiment":
    """Makes the experiment from `to_json` or from a run's experiment.json.

    Args:
      settings: JSON values. A missing setting gets its default. The entries
        that a run adds to its experiment.json are ignored.

    Raises:
      ValueError: a setting does not exist, or its value is invalid.
    """
    return _from_json(cls, settings)


# Names in experiment.json that are not settings. A run adds some of them, and
# earlier versions derived the others from the settings.
_NO_SETTINGS = {
  "Experiment": (
    "launcher",
    "backbone_fingerprint",
    run_settings.VOCABULARY_SHA256,
    run_settings.ROWS_SHA256,
    run_settings.CHECKPOINT_DIGESTS,
    digests.FIELD,
  ),
  "BatchConfig": ("prompt_length", "num_slots", "long_rows"),
  "OptimizerConfig": ("group_scales", "slot_scales"),
}


def _inner_class(hint):
  """Returns the settings dataclass in a field's type, or None."""
  types = (hint, *typing.get_args(hint))
  return next((t for t in types if dataclasses.is_dataclass(t)), None)


def _from_json(cls, values):
  """Makes an instance of a settings dataclass and of those nested in it."""
  values = checks.mapping(cls.__name__, values)
  fields = {field.name: field for field in dataclasses.fields(cls)}
  hints = typing.get_type_hints(cls)
  made = {}
  for name, value in values.items():
    if name in _NO_SETTINGS.get(cls.__name__, ()):
      continue
    checks.choice(f"a setting of {cls.__name__}", name, choices=tuple(fields))
    inner = _inner_class(hints[name])
    if inner is None or value is None:
      made[name] = value
    elif isinstance(value, list):
      made[name] = tuple(_from_json(inner, item) for item in value)
    else:
      made[name] = _from_json(inner, value)
  missing = [
    field.name
    for field in fields.values()
    if field.name not in made and field.default is dataclasses.MISSING
  ]
  if missing:
    raise ValueError(f"{cls.__name__} needs {', '.join(missing)}")
  return cls(**made)
