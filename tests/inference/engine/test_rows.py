"""Examples in the rows of the encoder, by hand."""

import numpy as np
import pytest

from mpt_jax.inference.engine import rows
from mpt_jax.inference.engine.example import Example
from mpt_jax.inference.engine.memory import Memory
from mpt_jax.inference.engine.shapes import Shapes


@pytest.fixture
def make_shapes(make_config):
  def make(joined, prompt_length=2):
    return Shapes(
      prompt_length=prompt_length,
      inputs_length=3,
      targets_length=4,
      batch_size=8,
      num_beams=1,
      devices=1,
      joined=joined,
      memory=Memory(make_config()),
    )

  return make


GIVEN = np.ones((2, 16), np.float32)
EXAMPLES = [
  Example(np.array([7, 8, 1]), 5),
  Example(np.array([9, 1]), GIVEN),
  # Too long: cut to three tokens with the end of sequence.
  Example(np.array([11, 12, 13, 14, 1]), 5),
]


def test_joined(make_shapes):
  placed = rows.place(EXAMPLES, (1, 16), make_shapes(True))
  arrays = {k: v.tolist() for k, v in placed.arrays.items()}
  assert arrays == {
    "encoder_input_tokens": [
      [0, 0, 7, 8, 1] + [0, 0, 9, 1] + [0, 0, 11, 12, 1] + [0, 0]
    ],
    "encoder_segment_ids": [[1] * 5 + [2] * 4 + [3] * 5 + [0, 0]],
    "encoder_slot_ids": [[0] * 5 + [1] * 4 + [0] * 7],
    "encoder_prompt_positions": [
      [1, 2, 0, 0, 0] + [1, 2, 0, 0] + [1, 2, 0, 0, 0] + [0, 0]
    ],
  }
  # Two examples share the prompt of number 5.
  assert placed.prompts[0] == 5 and placed.prompts[1] is GIVEN
  assert len(placed.prompts) == 2
  assert (placed.starts, placed.sizes) == ([0, 5, 9], [5, 4, 5])


def test_plain(make_shapes):
  placed = rows.place(EXAMPLES[:2], (3, 6), make_shapes(False))
  arrays = {k: v.tolist() for k, v in placed.arrays.items()}
  assert arrays["encoder_input_tokens"] == [
    [0, 0, 7, 8, 1, 0],
    [0, 0, 9, 1, 0, 0],
    [0] * 6,
  ]
  assert arrays["encoder_segment_ids"] == [
    [1] * 5 + [0],
    [1] * 4 + [0, 0],
    [0] * 6,
  ]
  assert (placed.starts, placed.sizes) == ([0, 6], [5, 4])


def test_without_prompts(make_shapes):
  shapes = make_shapes(True, prompt_length=0)
  placed = rows.place(EXAMPLES[:2], (1, 6), shapes)
  assert placed.arrays["encoder_input_tokens"].tolist() == [[7, 8, 1, 9, 1, 0]]
  assert not placed.arrays["encoder_prompt_positions"].any()
  assert placed.prompts == []


def test_places(make_shapes):
  encoded = rows.Encoded(None, [0, 5, 9], [5, 4, 5])
  places, present = rows.find_places(encoded, [2, 1], (3, 6))
  assert places.tolist() == [
    [9, 10, 11, 12, 13, 0],
    [5, 6, 7, 8, 0, 0],
    [0] * 6,
  ]
  assert present.tolist() == [[1] * 5 + [0], [1] * 4 + [0, 0], [0] * 6]


def test_targets():
  candidates = [[np.array([5, 1]), np.array([6, 7, 1])], [np.array([8, 1])]]
  made = rows.target_arrays(candidates, 3, 6)
  assert all(name.startswith("decoder_") for name in made)
  assert made["decoder_target_tokens"].tolist() == [
    [5, 1, 6, 7, 1, 0],
    [8, 1, 0, 0, 0, 0],
    [0] * 6,
  ]
  # Each candidate begins anew.
  assert made["decoder_input_tokens"].tolist()[0] == [0, 5, 0, 6, 7, 0]
  assert made["decoder_segment_ids"].tolist()[0] == [1, 1, 2, 2, 2, 0]


def test_a_candidate_without_tokens_is_refused():
  with pytest.raises(ValueError):
    rows.target_arrays([[np.array([], np.int32)]], 1, 4)
