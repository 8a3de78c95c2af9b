"""The shape of a bank: its groups, its counts and its checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.module import Prompts


def _random(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def test_defaults_of_groups():
  assert PromptConfig(num_slots=3, rank=1).groups == (0, 0, 0)
  assert PromptConfig(num_slots=3, rank=0).groups == (0, 1, 2)
  assert PromptConfig(num_slots=3, rank=1, groups=[0, 1, 0]).num_groups == 2


def test_parameter_counts_are_those_of_the_paper():
  # Wang et al. (2023): one target (l·d) + (l + d) = 76,800 + 868, a group of
  # τ targets (l·d) + (l + d)·τ; l = 100, d = 768.
  assert PromptConfig(num_slots=1).num_parameters(768) == 76_800 + 868
  assert PromptConfig(num_slots=6).num_parameters(768) == 76_800 + 6 * 868
  # Each target with a P* of its own, and plain prompts.
  own = PromptConfig(num_slots=6, groups=tuple(range(6)))
  assert own.num_parameters(768) == 6 * (76_800 + 868)
  assert PromptConfig(num_slots=6, rank=0).num_parameters(768) == 6 * 76_800
  # The formula is the size of what is really there.
  config = PromptConfig(num_slots=3, prompt_length=5, rank=2, groups=(0, 1, 1))
  where = jnp.ones((1, 2), int)
  variables = Prompts(config, 8).init(jax.random.key(0), where, where)
  count = sum(x.size for x in jax.tree.leaves(variables["params"]))
  assert count == config.num_parameters(8)


@pytest.mark.parametrize(
  "arguments, message",
  [
    (dict(num_slots=0), "num_slots.*at least 1.*0"),
    (dict(num_slots=2, prompt_length=0), "prompt_length"),
    (dict(num_slots=2, rank=-1), "rank"),
    (dict(num_slots=2, groups=(0, 2)), "groups"),
    (dict(num_slots=2, groups=(0,)), "groups"),
  ],
)
def test_config_is_checked(arguments, message):
  with pytest.raises(ValueError, match=message):
    PromptConfig(**arguments)


# ----------------------------------------------------------------- values
