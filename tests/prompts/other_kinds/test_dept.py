"""DePT: a short prompt, and offsets for the input's tokens."""

import jax
import numpy as np
import pytest
from prompt_fixtures import random_params

from mpt_jax.backbones.backbone import DEFAULT
from mpt_jax.export import prompt_files, stablehlo
from mpt_jax.prompts.bank import PromptBank, concatenate, merge, select
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.initialization import init_bank
from mpt_jax.prompts.kind import EMBED, INPUTS, RANK
from mpt_jax.prompts.kinds import compose_bank, expand_bank
from mpt_jax.prompts.other_kinds.dept import ShortPromptWithOffsets
from mpt_jax.prompts.slots import Slot
from mpt_jax.serve.table import Composed


def _config(num_slots=2, **changes):
  sizes = dict(prompt_length=3, rank=2, inputs_length=4, kind="dept")
  return PromptConfig(num_slots=num_slots, **{**sizes, **changes})


@pytest.fixture
def bank():
  slots = tuple({"task": name} for name in "ab")
  params = random_params(_config(), 6)
  return PromptBank(params, ("a", "b"), (0, 1), "feed", slots)


def test_the_offsets_by_hand():
  params = {
    "short_prompt": np.zeros((1, 1, 2)),
    # R = 4, so that α/√R = 8/2.
    "offset_left": np.array([[[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, -1.0]]]),
    "offset_right": np.array(
      [[[1.0, 0.0], [0.5, 1.0], [1.0, 1.0], [2.0, 0.0]]]
    ),
  }
  # 4 ((1, 0) + 2 (.5, 1)) and 4 (3 (1, 1) - (2, 0)).
  expected = [[[8.0, 8.0], [4.0, 12.0]]]
  kind = ShortPromptWithOffsets()
  assert kind.offsets(params, (0,)).tolist() == expected
  rows = kind.offset_rows(params, (0,), np.array([0, 0]), np.array([1, 0]))
  assert rows.tolist() == expected[0][::-1]


def test_all_that_a_bank_adds_is_one_array(bank):
  found = expand_bank(bank.params, (0, 1))
  assert found.shape == (2, 3 + 4, 6)
  np.testing.assert_array_equal(found[:, :3], bank.params["short_prompt"])
  scale = 8 / np.sqrt(2)
  for k in range(2):
    product = bank.params["offset_left"][k] @ bank.params["offset_right"][k]
    np.testing.assert_allclose(found[k, 3:], scale * product, rtol=1e-5)
  # Other kinds add nothing behind their prompts.
  plain = {"shared_prompt": bank.params["short_prompt"]}
  assert expand_bank(plain, (0, 1)).shape == (2, 3, 6)


def test_a_slot_starts_without_offsets_and_can_move():
  rows = np.random.default_rng(0).normal(size=(3, 6)).astype("f4")
  kind = ShortPromptWithOffsets()
  made = kind.start(rows, {RANK: 2, INPUTS: 4, EMBED: 6}, jax.random.key(0))
  bank = {name: array[None] for name, array in made.items()}
  expanded = np.asarray(expand_bank(bank, (0,)))[0]
  np.testing.assert_array_equal(expanded[:3], rows)
  np.testing.assert_array_equal(expanded[3:], 0)
  gradient = jax.grad(lambda p: kind.offsets(p, (0,)).sum())(bank)
  assert np.abs(gradient["offset_right"]).max() > 0.1


def test_a_slot_starts_from_one_of_the_same_sizes_alone(bank, tmp_path):
  source = tmp_path / "source.safetensors"
  bank.save(source)
  slot = Slot(task="x", init="task:b", source=str(source))

  def start(**changes):
    return init_bank((slot,), _config(1, **changes), np.zeros((30, 6), "f4"))

  copied = start()
  for name, array in copied.items():
    np.testing.assert_array_equal(array[0], bank.params[name][1])
  for changes in (dict(rank=3), dict(inputs_length=5), dict(kind="ulpt")):
    with pytest.raises(ValueError, match="'x': dept prompts also add .* start"):
      start(**changes)


def test_parts_of_a_bank_keep_their_offsets(bank):
  both = concatenate([select(bank, ["b"]), select(bank, ["a"])])
  np.testing.assert_array_equal(both.expanded, bank.expanded[::-1])
  assert both.config == bank.config == _config()
  other = PromptBank(
    random_params(_config(inputs_length=5), 6),
    *(("c", "d"), bank.groups, bank.backbone, bank.slots),
  )
  with pytest.raises(ValueError, match="offset_left.*4.*offset_left.*5"):
    concatenate([bank, other])


def test_what_a_plain_prompt_cannot_do_is_refused_by_name(bank, tmp_path):
  refused = [
    lambda: compose_bank(bank.params, bank.groups),
    lambda: merge(bank),
    lambda: Composed(bank)[0],
    lambda: stablehlo.export_stablehlo(
      bank, tmp_path / "s", DEFAULT, inputs_lengths=[4], targets_length=2
    ),
  ]
  for call in refused:
    with pytest.raises(ValueError, match="^dept prompts also add to the emb"):
      call()
  with pytest.raises(ValueError, match="^PEFT has no method for dept prompts$"):
    prompt_files.export_prompts(bank, "peft", tmp_path / "peft")
  assert not list(tmp_path.iterdir())


def test_the_longest_input_is_a_size_of_the_bank():
  with pytest.raises(ValueError, match="PromptConfig.inputs_length must be"):
    _config(inputs_length=None)
  # Kinds without offsets do not depend on it.
  assert _config(kind="ulpt") == _config(kind="ulpt", inputs_length=None)
