"""The compiled functions of an engine, cached within the process.

Axis letters: B rows, L length, D emb_dim, F joined positions.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from mpt_jax.inference.engine import decoding, ragged
from mpt_jax.model import partitioning
from mpt_jax.model.network import T5
from mpt_jax.prompts.config import PromptConfig


class Programs(NamedTuple):
  """The functions that take the rows of a batch.

  Attributes:
    encode: (params, encoder arrays) -> states [B, L, D].
    take: (states, places [B, L], present [B, L]) -> states [B, L, D] of plain
      rows: the positions `places` of the flattened states, 0 where `present`
      is 0.
    score: see `decoding.score_candidates`.
    generate: see `decoding.make_decoder`.
  """

  encode: Callable
  take: Callable
  score: Callable
  generate: Callable


@functools.lru_cache(maxsize=16)
def make_programs(config, prompt_length, plan, mesh, generation) -> Programs:
  """Returns the functions of a network.

  Args:
    config: the shape of the T5.
    prompt_length: P, 0 for the T5 alone.
    plan: the plan of attention.
    mesh: the devices.
    generation: settings of `generate`.
  """
  network = _network(config, prompt_length, plan)
  on_data = NamedSharding(mesh, PartitionSpec("data"))
  replicated = partitioning.replicated(mesh)
  return Programs(
    encode=jax.jit(
      functools.partial(decoding.encode, network), out_shardings=on_data
    ),
    take=jax.jit(_take, out_shardings=on_data),
    score=jax.jit(
      functools.partial(decoding.score_candidates, network),
      static_argnames="num_candidates",
      out_shardings=replicated,
    ),
    generate=jax.jit(
      decoding.make_decoder(network, generation),
      static_argnames="max_length",
      out_shardings=replicated,
    ),
  )


@functools.lru_cache(maxsize=16)
def make_table_programs(
  config, prompt_length, plan, mesh, max_length, top_k
) -> ragged.Programs:
  """Returns the functions of tables of decoding; see `make_programs`.

  Args:
    config, prompt_length, plan, mesh: see `make_programs`.
    max_length: the longest output in tokens.
    top_k: see `decoding.Generation`.
  """
  network = _network(config, prompt_length, plan)
  return ragged.make_programs(network, max_length, top_k, mesh)


def _network(config, prompt_length, plan):
  prompts = None
  if prompt_length:
    prompts = PromptConfig(num_slots=1, prompt_length=prompt_length, rank=0)
  return T5(config, prompts, plan)


def _take(states, places, present):
  rows = states.reshape(-1, states.shape[-1])[places]
  return jnp.where(present[..., None] > 0, rows, 0)
