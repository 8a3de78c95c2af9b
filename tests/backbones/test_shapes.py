"""The tensors of a T5, counted by hand, and errors about wrong tensors."""

import dataclasses

import pytest

from mpt_jax.backbones import shapes
from mpt_jax.model.config import T5Config

CONFIG = T5Config(
  vocab_size=10,
  emb_dim=4,
  num_heads=2,
  head_dim=3,
  mlp_dim=5,
  num_encoder_layers=1,
  num_decoder_layers=1,
  num_relpos_buckets=8,
)


def test_parameters_are_counted_as_by_hand():
  # Attention has four matrices of 4 · 6, the feed-forward block two of 4 · 5,
  # a norm 4, and each stack a table of 2 heads · 8 buckets.
  embedding = 10 * 4
  encoder = 4 * 24 + 2 * 20 + 3 * 4 + 16
  decoder = 8 * 24 + 2 * 20 + 4 * 4 + 16
  total = embedding + encoder + decoder
  assert shapes.num_backbone_parameters(CONFIG) == total
  found = shapes.parameter_shapes(CONFIG)
  assert list(found) == sorted(found)
  assert found["token_embedder/embedding"] == (10, 4)
  assert found["encoder/layers_0/mlp/wo/kernel"] == (5, 4)
  assert not any(name.startswith("prompt") for name in found)


def test_each_layer_may_have_a_table():
  config = dataclasses.replace(
    CONFIG, num_encoder_layers=3, num_decoder_layers=2, relpos_in_layers=True
  )
  found = shapes.parameter_shapes(config)
  tables = {name for name in found if "relpos_bias" in name}
  assert tables == {
    f"{stack}/layers_{i}/relpos_bias/rel_embedding"
    for stack, count in (("encoder", 3), ("decoder", 2))
    for i in range(count)
  }
  assert {found[name] for name in tables} == {(2, 8)}


def test_published_sizes():
  # Raffel et al. (2020), table 14 and section 2.1: about 60, 220 and 770
  # million.
  sizes = {"t5_small": 60, "t5_base": 220, "t5_large": 770}
  for name, millions in sizes.items():
    count = shapes.num_backbone_parameters(T5Config.preset(name))
    assert abs(count / 1e6 - millions) < 0.05 * millions


def test_what_fits_passes():
  shapes.check_tensors("x", {"a": (1,)}, {"a": (1,)})
  shapes.raise_problems("x", [])


def test_some_of_each_kind_of_problem_are_listed():
  expected = {f"m{i}": (1,) for i in range(9)} | {"s": (2, 3)}
  found = {f"u{i}": (1,) for i in range(9)} | {"s": (3, 2)}
  with pytest.raises(ValueError) as error:
    shapes.check_tensors("the file x", found, expected)
  text = str(error.value)
  assert text.startswith("the tensors of the file x do not fit its config: ")
  problems = text.partition("config: ")[2].split("; ")
  # Of 9 + 9 + 1 problems 18 are shown: 6 of each kind first, then the others.
  assert problems[:6] == [f"missing: m{i}" for i in range(6)]
  assert problems[6:12] == [f"unexpected: u{i}" for i in range(6)]
  assert problems[12] == "shape of s: expected (2, 3), got (3, 2)"
  assert problems[13:] == [
    *(f"missing: m{i}" for i in (6, 7, 8)),
    *(f"unexpected: u{i}" for i in (6, 7)),
    "and 1 more",
  ]
