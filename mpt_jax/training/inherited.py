"""Settings that an experiment takes from the prompts that it starts from.

A user who trains on from a run need not repeat the shape of its prompts. Each
setting that is None gets the value of `Slot.source` and `Experiment.teachers`,
or a default if there are none.
"""

from collections.abc import Sequence

from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import KINDS
from mpt_jax.prompts.multitask import Multitask

PROMPT_KIND = Multitask.name
# Tokens of inputs and targets.
INPUTS_LENGTH, TARGETS_LENGTH = 256, 16


class Inherited:
  """What the sources and teachers of an experiment say.

  A path where nothing is yet is left out: a table plans runs before it trains
  their sources. Whoever loads the prompts reports that they are missing.

  Args:
    sources: the prompt files or run folders that slots start from.
    teachers: that of the teachers, or None.
    kind: the kind of prompt that the user chose, or None.

  Raises:
    ValueError: a file is damaged.
  """

  def __init__(
    self, sources: Sequence[str], teachers: str | None, kind: str | None
  ):
    self._kind = kind
    self._configs: dict[str, PromptConfig] = {}
    self._settings = []
    self._sources = tuple(dict.fromkeys(sources))
    paths = (*self._sources, *([teachers] if teachers else ()))
    for path in dict.fromkeys(paths):
      try:
        self._configs[path] = load_bank(path).config
      except FileNotFoundError:
        continue
      self._settings.append(run_settings.read(path).get("batch", {}))

  @property
  def prompt_length(self) -> int:
    """P of all prompts, or the default of the kind.

    Raises:
      ValueError: they differ.
    """
    found = {path: c.prompt_length for path, c in self._configs.items()}
    default = KINDS[self.prompt_kind].default_length
    return _the_same("Experiment.prompt_length", found, default)

  @property
  def rank(self) -> int:
    """R of the sources of this kind, or the default of the kind.

    Raises:
      ValueError: they differ.
    """
    kind = self.prompt_kind
    found = {path: c.rank for path, c in self._factored() if c.kind == kind}
    return _the_same("Experiment.rank", found, KINDS[kind].default_rank)

  @property
  def prompt_kind(self) -> str:
    """The kind that the user chose, or that of the sources that are not plain.

    Raises:
      ValueError: they differ.
    """
    if self._kind is not None:
      return self._kind
    found = {path: c.kind for path, c in self._factored()}
    return _the_same("Experiment.prompt_kind", found, PROMPT_KIND)

  @property
  def inputs_length(self) -> int:
    """The longest inputs of the runs, in tokens."""
    return self._longest("inputs_length", INPUTS_LENGTH)

  @property
  def targets_length(self) -> int:
    """The longest targets of the runs, in tokens."""
    return self._longest("targets_length", TARGETS_LENGTH)

  def _factored(self):
    for path in self._sources:
      config = self._configs.get(path)
      if config is not None and not config.is_plain:
        yield path, config

  def _longest(self, name, default):
    found = [batch[name] for batch in self._settings if batch.get(name)]
    return max(found, default=default)


def _the_same(setting, found, default):
  """Returns the only value of {path: value}, or the default."""
  values = set(found.values())
  if len(values) > 1:
    shown = ", ".join(f"{value} in {path}" for path, value in found.items())
    raise ValueError(
      f"{setting} must be given, because the prompts to start from have"
      f" different ones: {shown}"
    )
  return values.pop() if values else default
