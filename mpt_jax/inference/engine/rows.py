"""Places examples in the rows of the encoder, and finds their states again.

Everything here runs on the host.

Axis letters: B rows, L length, T target_length, D emb_dim.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mpt_jax.data.batches import EOS_ID, make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine.example import Example
from mpt_jax.inference.engine.shapes import Shapes

_ARRAYS = ("input_tokens", "segment_ids", "prompt_positions", "slot_ids")


class Placed(NamedTuple):
  """Examples in the encoder's arrays.

  Attributes:
    arrays: the encoder_* arrays [B, L] int32. The slots count `prompts`.
    prompts: `Example.prompt` of each prompt that the examples use.
    starts: for each example its first position in the flattened arrays.
    sizes: for each example its number of positions.
  """

  arrays: dict
  prompts: list
  starts: list[int]
  sizes: list[int]


class Encoded(NamedTuple):
  """What the encoder made of some examples.

  Attributes:
    states: [B, L, D] on the devices.
    starts: for each example its first position in [B·L, D].
    sizes: for each example its number of positions.
  """

  states: Any
  starts: list[int]
  sizes: list[int]


def place(examples: Sequence[Example], shape, shapes: Shapes) -> Placed:
  """Places examples one behind the other, or one in each row.

  Args:
    examples: the examples, which fit the shape.
    shape: (B, L).
    shapes: the shapes of the engine.
  """
  arrays = {name: np.zeros(shape, np.int32) for name in _ARRAYS}
  flat = {name: array.reshape(-1) for name, array in arrays.items()}
  starts, sizes, numbers, prompts = [], [], {}, []
  length, start = shapes.prompt_length, 0
  for i, example in enumerate(examples):
    if not shapes.joined:
      start = i * shape[1]
    size = shapes.size(example)
    tokens, end = start + length, start + size
    ids = flat["input_tokens"][tokens:end]
    ids[:] = example.inputs[: shapes.inputs_length]
    if len(example.inputs) > shapes.inputs_length:
      ids[-1] = EOS_ID
    flat["segment_ids"][start:end] = i + 1 if shapes.joined else 1
    if length:
      # Examples of one prompt share its copy.
      prompt = example.prompt
      key = id(prompt) if isinstance(prompt, np.ndarray) else int(prompt)
      if numbers.setdefault(key, len(prompts)) == len(prompts):
        prompts.append(prompt)
      flat["slot_ids"][start:end] = numbers[key]
      flat["prompt_positions"][start:tokens] = np.arange(1, length + 1)
    starts.append(start)
    sizes.append(size)
    start = end
  arrays = {f"encoder_{name}": array for name, array in arrays.items()}
  return Placed(arrays, prompts, starts, sizes)


def find_places(encoded: Encoded, chosen, shape):
  """Returns where the states of some examples are.

  Args:
    encoded: the states.
    chosen: which of its examples, at most B.
    shape: (B, L).

  Returns:
    places [B, L] int32, the position of each state in the flattened states, and
    present [B, L] int32, 1 at positions of an example. The places of padding
    are 0.
  """
  places, present = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  for row, i in enumerate(chosen):
    start, size = encoded.starts[i], encoded.sizes[i]
    places[row, :size] = np.arange(start, start + size)
    present[row, :size] = 1
  return places, present


def target_arrays(candidates, num_rows: int, target_length: int) -> dict:
  """Returns the decoder's arrays of candidates, see `batches.make_batch`.

  Args:
    candidates: the token ids of each candidate, for each row.
    num_rows: B, at least the number of rows.
    target_length: T, at least the tokens of each row.
  """
  layout = BatchLayout(
    inputs_length=1,
    targets_length=target_length,
    prompt_length=0,
    pack=False,
    length_multiple=1,
    num_rows=num_rows,
  )
  ids = np.array([EOS_ID], np.int32)
  rows = [{"inputs": ids, "targets": own} for own in candidates]
  arrays, _ = make_batch(rows, layout)
  return {k: v for k, v in arrays.items() if k.startswith("decoder_")}
