"""The few sizes of batches that prediction compiles its programs for."""

MAX_ROW_LENGTHS = 10


def row_lengths(prompt_length: int, inputs_length: int) -> list[int]:
  """The lengths of rows, each the next one times 1.2 or more.

  Args:
    prompt_length: P.
    inputs_length: longest input in tokens.

  Returns:
    At most MAX_ROW_LENGTHS lengths, the prompt included: the longest first,
    the others multiples of 8. A row of n positions goes into the smallest
    that holds it.

  >>> row_lengths(100, 512)
  [612, 504, 408, 336, 272, 224, 184, 144, 112]
  """
  longest = prompt_length + inputs_length
  shortest = prompt_length + 8
  ratio = max(1.2, (longest / shortest) ** (1 / (MAX_ROW_LENGTHS - 1)))
  lengths = [longest]
  while len(lengths) < MAX_ROW_LENGTHS:
    length = int(lengths[-1] / ratio) // 8 * 8
    if length <= prompt_length:
      break
    lengths.append(length)
  return lengths


def next_size(n: int) -> int:
  """n rounded up to one of four sizes between two powers of two.

  >>> [next_size(n) for n in (1, 4, 9, 100, 5546, 8192)]
  [1, 4, 10, 112, 6144, 8192]
  """
  step = max(1, (1 << (n.bit_length() - 1)) // 4)
  return -(-n // step) * step
