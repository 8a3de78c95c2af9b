"""Decoding in a table of rows: rows enter and leave while others go on.

A table has a fixed number of rows, each with its own position, so one compiled
program decodes whatever requests there are. A row's output depends on its own
input alone: not on its place, and not on the other rows. All functions are
pure.

Axis letters: B rows of the table, L length, D emb_dim, T max_length,
V vocab_size, N new rows.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from mpt_jax.data.batches import EOS_ID
from mpt_jax.inference.engine.decoding import START_ID
from mpt_jax.model import partitioning


class Programs(NamedTuple):
  """The compiled functions of a table.

  Attributes:
    start: (params, num_rows, length) -> a table of free rows.
    admit: (params, table, states [N, L, D], segment_ids [N, L], rows [N],
      temperatures [N], keys [N]) -> the table with the new rows. A row number
      of B or more admits nothing.
    run: (params, table, steps [], enough []) -> the table after so many steps,
      or once `enough` rows are free.
    release: (table, leave [B] bool) -> the table with these rows free.
  """

  start: Callable
  admit: Callable
  run: Callable
  release: Callable


def make_programs(network, max_length: int, top_k: int, mesh) -> Programs:
  """Makes the functions of a table.

  Args:
    network: a `network.T5`.
    max_length: T, the longest output with the end of sequence.
    top_k: top-k sampling; 0 disables it.
    mesh: the devices, over which the rows are divided.
  """
  return Programs(
    start=jax.jit(
      functools.partial(_start, network, max_length, mesh),
      static_argnames=("num_rows", "length"),
    ),
    admit=jax.jit(
      functools.partial(_admit, network, max_length, mesh), donate_argnums=1
    ),
    run=jax.jit(
      functools.partial(_run, network, max_length, top_k, mesh),
      donate_argnums=1,
    ),
    release=jax.jit(_release, donate_argnums=0),
  )


def _cache(network, params, states, segment_ids, max_length):
  return network.apply(
    {"params": params}, states, segment_ids, max_length, method="init_cache"
  )


def _start(network, max_length, mesh, params, num_rows, length):
  """Makes a table of free rows.

  Its entries are [B, ...]: "cache", the decoder's cache; "last" int32, the last
  token; "index" int32, the position to decode next, or that of the last token
  once the row is done; "done" bool, whether the
  row is free; "tokens" [B, T] int32; "total" float32, Σ log p, which is not
  finite once a logit was not; "temperature" float32; "keys" uint32 [B, 2].
  """
  states = jnp.zeros(
    (num_rows, length, network.config.emb_dim), network.config.dtype
  )
  segment_ids = jnp.zeros((num_rows, length), jnp.int32)
  table = {
    "cache": _cache(network, params, states, segment_ids, max_length),
    "last": jnp.zeros(num_rows, jnp.int32),
    "index": jnp.zeros(num_rows, jnp.int32),
    "done": jnp.ones(num_rows, bool),
    "tokens": jnp.zeros((num_rows, max_length), jnp.int32),
    "total": jnp.zeros(num_rows),
    "temperature": jnp.zeros(num_rows),
    "keys": jnp.zeros((num_rows, 2), jnp.uint32),
  }
  return _divide(table, mesh)


def _admit(
  network,
  max_length,
  mesh,
  params,
  table,
  states,
  segment_ids,
  rows,
  temperatures,
  keys,
):
  count = len(rows)
  new = {
    "cache": _cache(network, params, states, segment_ids, max_length),
    "last": jnp.full(count, START_ID),
    "index": jnp.zeros(count, jnp.int32),
    "done": jnp.zeros(count, bool),
    "tokens": jnp.zeros((count, max_length), jnp.int32),
    "total": jnp.zeros(count),
    "temperature": temperatures,
    "keys": keys,
  }
  # A new row replaces all that the one before it left, NaN included.
  table = jax.tree.map(lambda x, y: x.at[rows].set(y, mode="drop"), table, new)
  return _divide(table, mesh)


def _divide(table, mesh):
  """Divides the rows of a table over the devices."""
  on_data = NamedSharding(mesh, PartitionSpec("data"))
  return jax.tree.map(lambda x: lax.with_sharding_constraint(x, on_data), table)


def _release(table, leave):
  return {**table, "done": table["done"] | leave}


def _run(network, max_length, top_k, mesh, params, table, steps, enough):
  def body(state):
    step, table = state
    index, done = table["index"], table["done"]
    logits, cache = network.apply(
      {"params": params},
      table["last"],
      table["cache"],
      index,
      method="decode_step",
    )
    logits = logits.astype(jnp.float32)
    token = _choose(logits, index, table["temperature"], table["keys"], top_k)
    token = jnp.where(done, 0, token).astype(jnp.int32)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    log_prob = chosen - jax.nn.logsumexp(logits, axis=-1)
    rows = jnp.arange(len(index))
    kept = jnp.where(done, table["tokens"][rows, index], token)
    ends = (token == EOS_ID) | (index + 1 >= max_length)
    return step + 1, {
      **table,
      "cache": cache,
      "last": token,
      "index": jnp.where(done | ends, index, index + 1),
      "done": done | ends,
      "tokens": table["tokens"].at[rows, index].set(kept),
      "total": table["total"] + jnp.where(done, 0.0, log_prob),
    }

  def goes_on(state):
    step, table = state
    free = jnp.sum(table["done"])
    return (step < steps) & (free < jnp.minimum(enough, len(table["done"])))

  _, table = lax.while_loop(goes_on, body, (jnp.int32(0), table))
  table = _divide(table, mesh)
  # The host reads these.
  for name in ("done", "index", "tokens", "total"):
    table[name] = lax.with_sharding_constraint(
      table[name], partitioning.replicated(mesh)
    )
  return table


def _choose(logits, index, temperature, keys, top_k):
  """Chooses a token for each row: the likeliest, or a draw.

  A row draws position t with `fold_in(key, t)`, as `decoding.sample_decode`.
  """
  likeliest = jnp.argmax(logits, axis=-1)

  def draw():
    scores, ids = lax.top_k(logits, top_k) if top_k else (logits, None)
    scores = scores - jnp.max(scores, axis=-1, keepdims=True)
    least = jnp.finfo(jnp.float32).tiny
    scores = scores / jnp.maximum(temperature, least)[:, None]
    fold = jax.vmap(lambda key, t: jax.random.fold_in(_wrap(key), t))
    drawn = jax.vmap(jax.random.categorical)(fold(keys, index), scores)
    if ids is not None:
      drawn = jnp.take_along_axis(ids, drawn[:, None], axis=-1)[:, 0]
    return jnp.where(temperature > 0, drawn, likeliest)

  return lax.cond(jnp.any(temperature > 0), draw, lambda: likeliest)


def _wrap(key):
  return jax.random.wrap_key_data(key, impl="threefry2x32")


@functools.partial(jax.jit, static_argnames=())
def row_keys(seed, row_ids):
  """Returns the key data [N, 2] uint32 of rows: `fold_in(key(seed), row)`."""
  base = jax.random.key(seed, impl="threefry2x32")
  fold = jax.vmap(lambda row: jax.random.fold_in(base, row))
  return jax.random.key_data(fold(row_ids))
