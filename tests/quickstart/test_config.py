"""The settings of the quickstart."""

import dataclasses

import pytest

from mpt_jax.quickstart.config import SHORT, QuickstartConfig
from mpt_jax.tasks.public import sources


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(backbone=""), "QuickstartConfig.backbone must be a path"),
    (dict(sources=()), "QuickstartConfig.sources"),
    (dict(targets="spam"), "QuickstartConfig.targets"),
    (dict(shots=(0,)), "QuickstartConfig.shots"),
    (dict(shots=(16, 2.5)), "QuickstartConfig.shots"),
    (dict(seeds=()), "QuickstartConfig.seeds"),
    (dict(teach_steps=0), "teach_steps must be a whole number of at least 1"),
    (dict(adapt_examples=True), "QuickstartConfig.adapt_examples"),
    (dict(test_examples=0), "QuickstartConfig.test_examples"),
    (dict(learning_rate=-0.1), "QuickstartConfig.learning_rate"),
    (dict(learning_rate=float("nan")), "QuickstartConfig.learning_rate"),
  ],
)
def test_values_that_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    QuickstartConfig(**changes)


def test_lists_become_tuples():
  config = QuickstartConfig(seeds=[3, 4], shots=[2], sources=["a"])
  assert (config.seeds, config.shots, config.sources) == ((3, 4), (2,), ("a",))
  assert hash(config) == hash(dataclasses.replace(config, seeds=(3, 4)))


def test_targets_are_held_out_and_sources_are_not():
  config = QuickstartConfig()
  for name in config.sources:
    assert not sources.SOURCES[name].held_out
  for name in config.targets:
    assert sources.SOURCES[name].held_out


def test_the_short_run_is_shorter_in_every_number():
  config, fewer = QuickstartConfig(), 0
  for name, value in vars(SHORT).items():
    other = getattr(config, name)
    if name in ("seeds", "shots"):
      assert len(value) <= len(other) and max(value) < max(other)
    elif isinstance(value, int):
      assert value <= other
      fewer += value < other
  # Three stages, and the examples that they are tested on.
  assert fewer == 4
