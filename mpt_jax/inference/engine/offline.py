"""Generates outputs for many examples at once, by an `Engine`."""

import jax
import numpy as np

from mpt_jax.inference.engine import decoding, ragged
from mpt_jax.inference.engine.example import NotFiniteError
from mpt_jax.model import partitioning


def decode(engine, examples, length, members, row_ids, results, advance):
  """Decodes in a table whose rows are filled again as others end."""
  keys = np.asarray(ragged.row_keys(engine.generation.seed or 0, row_ids))
  waiting = _Waiting(engine, examples, members)
  table, count = engine.start_table(length), engine.shapes.num_rows(length)
  holders = [None] * count
  while waiting or any(h is not None for h in holders):
    free = [row for row, holder in enumerate(holders) if holder is None]
    while free and waiting:
      encoded, chosen, ids = waiting.take(
        min(len(free), engine.shapes.admit_rows)
      )
      rows, free = free[: len(ids)], free[len(ids) :]
      warmth = [engine.generation.temperature] * len(ids)
      table = engine.admit(table, encoded, chosen, rows, warmth, keys[ids])
      for row, i in zip(rows, ids, strict=True):
        holders[row] = i
    enough = max(1, count // 4) if waiting else count
    table = engine.run_table(table, engine.targets_length, enough)
    done, tokens, total = jax.device_get(
      [table[name] for name in ("done", "tokens", "total")]
    )
    ended = [r for r in range(count) if done[r] and holders[r] is not None]
    for row in ended:
      if not np.isfinite(total[row]):
        raise NotFiniteError(holders[row])
      results[holders[row]] = tokens[row]
      holders[row] = None
    advance(len(ended))


def search(engine, examples, length, members, row_ids, results, advance):
  """Searches with beams, in batches of a fixed number of rows."""
  count = engine.shapes.num_rows(length)
  waiting = _Waiting(engine, examples, members)
  while waiting:
    encoded, chosen, ids = waiting.take(count)
    numbers = np.zeros(count, np.int32)
    numbers[: len(ids)] = row_ids[ids]
    tokens = engine.programs().generate(
      engine.params,
      engine.rows(encoded, chosen, count),
      partitioning.put_batch(engine.mesh, numbers),
      max_length=engine.targets_length,
    )
    results[ids] = np.asarray(tokens)[: len(ids)]
    broken = [i for i in ids if results[i, 0] == decoding.NOT_FINITE]
    if broken:
      raise NotFiniteError(broken[0])
    advance(len(ids))


class _Waiting:
  """Examples of one row length, encoded a batch at a time as they are taken."""

  def __init__(self, engine, examples, members):
    self._engine, self._examples = engine, examples
    self._rest, self._encoded, self._ids, self._next = members, None, [], 0

  def __bool__(self):
    return self._next < len(self._ids) or bool(self._rest)

  def take(self, most):
    """Returns (encoded, which of them, their indices), at most so many."""
    if self._next == len(self._ids):
      sizes = [self._engine.size(self._examples[i]) for i in self._rest]
      chosen, shape = self._engine.shapes.take_batch(sizes)
      self._ids = [self._rest[k] for k in chosen]
      taken = set(self._ids)
      self._rest = [i for i in self._rest if i not in taken]
      part = [self._examples[i] for i in self._ids]
      self._encoded, self._next = self._engine.encode(part, shape), 0
    chosen = list(range(self._next, min(len(self._ids), self._next + most)))
    self._next += len(chosen)
    return self._encoded, chosen, [self._ids[k] for k in chosen]
