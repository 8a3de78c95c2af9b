"""Methods become slots of one bank."""

import pytest

from mpt_jax.prompts import methods
from mpt_jax.prompts.slots import prompt_config


def test_tuned_factors_take_the_place_of_candidates():
  known = (
    methods.Method(name="mpt", source="s", learning_rate_scales=(0.1, 1.0)),
    methods.Method(name="plain"),
  )
  tuned = {"mpt": {4: {"scale": 0.3, "steps": 10}}}
  slots = methods.method_slots(
    ("mpt", "plain"), known, ("x",), (4, None), (0,), tuned
  )
  assert [(s.label, s.shots, s.learning_rate_scale) for s in slots] == [
    ("mpt", 4, 0.3),
    ("mpt-lr_x0.1", None, 0.1),
    ("mpt-lr_x1", None, 1.0),
    ("plain", 4, 1.0),
    ("plain", None, 1.0),
  ]
  for wrong in ({"mpt": {4: 0.3}}, {"mpt": {4: {"steps": 3}}}):
    with pytest.raises(ValueError, match="method_slots.tuned|scales"):
      methods.method_slots(("mpt",), known, ("x",), (4,), (0,), wrong)


def test_methods_are_slots_of_one_bank():
  known = (
    methods.Method(name="mpt", source="s"),
    methods.Method(name="group", source="s", share="tasks"),
    methods.Method(
      name="spot", init=("task:a", "task:b"), source="t", train_factors=False
    ),
    methods.Method(name="none"),
  )
  slots = methods.method_slots(
    ("mpt", "group", "spot"), known, ("x", "y"), seeds=(0, 1)
  )
  # 2 tasks × 2 seeds × (1 + 1 + 2) settings.
  assert len(slots) == 16
  groups = prompt_config(slots, 3, 1).groups
  # mpt: 4 prompts of their own; group: one for each seed; spot: 8.
  assert len(set(groups)) == 4 + 2 + 8
  of_group = [s for s in slots if s.label == "group"]
  assert {s.group for s in of_group} == {"group_kNone_s0", "group_kNone_s1"}
  spot = [s for s in slots if s.label.startswith("spot")]
  assert {(s.label, s.init) for s in spot} == {
    ("spot-from_a", "task:a"),
    ("spot-from_b", "task:b"),
  }
  assert not any(s.train_factors for s in spot)
  with pytest.raises(ValueError, match="must be one of mpt, group.*got 'mtp'"):
    methods.method_slots("mtp", known, ("x",))
