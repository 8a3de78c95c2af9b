"""The bound on memory, and sizes of which there are few, for the engine.

Each shape is compiled, so there should be few. All of this runs on the host.

Axis letters: L row_length, T target_length.
"""

import dataclasses

# Most positions of a joined row of the encoder, unless one example is longer.
JOINED_ROW = 8192
# Most positions of a decoder row with several candidates. A shorter row takes
# less time, because the attention computes the whole row although a candidate
# only attends to itself. If the candidates of an example do not fit, they are
# scored in several calls.
LONG_TARGETS = 128
# Most bytes for the activations of one call on one device. If the parameters
# take more than this, the activations may take as much as they do.
MAX_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class Memory:
  """The bound on memory: computes how many rows fit into a call.

  It counts the memory that grows with the number of rows. The estimates are
  upper bounds for attention over whole rows.

  Attributes:
    config: the `T5Config`.
    max_bytes: bytes for the activations of one call on one device.
  """

  config: object
  max_bytes: int = MAX_BYTES

  def ranking_rows(self, row_length: int, target_length: int) -> int:
    """Returns how many rows of L and T positions can be ranked at once."""
    c = self.config
    keys_values = 2 * c.num_heads * c.head_dim * self._width
    scores = 8 * c.num_heads * (row_length + target_length)
    # The logits, and as much again for the log-probabilities.
    decoder = target_length * (8 * c.vocab_size + scores + self._layer)
    return self._rows(row_length, decoder + 2 * row_length * keys_values)

  def generating_rows(
    self, row_length: int, target_length: int, num_beams: int = 1
  ) -> int:
    """Returns how many rows of L positions can generate T tokens at once."""
    c = self.config
    keys_values = 2 * c.num_heads * c.head_dim * self._width
    # A loop may hold its state twice.
    cache = (
      c.num_decoder_layers * keys_values * (row_length + 2 * target_length)
    )
    logits = 16 * c.vocab_size
    return self._rows(row_length, num_beams * (cache + logits))

  @property
  def _width(self):
    """Bytes of one number."""
    return 2 if self.config.dtype == "bfloat16" else 4

  @property
  def _layer(self):
    """Bytes of one position within a layer."""
    c = self.config
    features = 6 * c.emb_dim + 2 * c.mlp_dim + 4 * c.num_heads * c.head_dim
    return features * self._width

  def _rows(self, row_length, decoder):
    attention = 16 * self.config.num_heads * row_length
    encoder = row_length * (self._layer + attention)
    states = row_length * self.config.emb_dim * self._width
    return max(1, int(self.max_bytes // (states + max(encoder, decoder))))


def cut_candidates(candidates, target_length: int) -> list[list]:
  """Divides an example's candidates into parts of at most T tokens, in order.

  >>> cut_candidates(["ab", "cd", "efg"], 5)
  [['ab', 'cd'], ['efg']]
  """
  parts, used = [], target_length
  for candidate in candidates:
    if used + len(candidate) > target_length:
      parts.append([])
      used = 0
    parts[-1].append(candidate)
    used += len(candidate)
  return parts


def next_size(n: int) -> int:
  """Rounds n up to one of four sizes per power of two, or to 512s.

  >>> [next_size(n) for n in (1, 4, 9, 100, 5546, 8192)]
  [1, 4, 10, 112, 5632, 8192]
  """
  step = min(512, max(1, (1 << (n.bit_length() - 1)) // 4))
  return -(-n // step) * step


def next_count(n: int) -> int:
  """Rounds n up to a power of two, or to three quarters of one.

  >>> [next_count(n) for n in (1, 2, 3, 4, 5, 7, 13, 33, 64)]
  [1, 2, 3, 4, 6, 8, 16, 48, 64]
  """
  power = 1 << (n - 1).bit_length()
  return power * 3 // 4 if n <= power * 3 // 4 else power
