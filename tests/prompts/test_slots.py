"""Slots: their names, groups and rates."""

import pytest

from mpt_jax.prompts import slots as slots_module
from mpt_jax.prompts.slots import Slot, make_slots, optimizer_scales
from mpt_jax.prompts.slots import prompt_config as make_config


@pytest.mark.parametrize(
  ("fields", "name", "data_name"),
  [
    ({}, "qa", "qa_s0"),
    ({"shots": 16}, "qa_k16_s0", "qa_k16_s0"),
    ({"seed": 3}, "qa_s3", "qa_s3"),
    ({"label": "mpt"}, "qa_mpt", "qa_s0"),
    (
      {"shots": 4, "seed": 1, "label": "spot"},
      "qa_k4_s1_spot",
      "qa_k4_s1",
    ),
  ],
)
def test_names(fields, name, data_name):
  slot = Slot(task="qa", **fields)
  assert (slot.name, slot.data_name) == (name, data_name)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(task=""), "Slot.task must be a string that is not empty"),
    (dict(init=""), "Slot.init"),
    (dict(label=None), "Slot.label"),
    (dict(group=""), "Slot.group"),
    (dict(source=""), "Slot.source must be a path"),
    (dict(shots=0), "Slot.shots must be a whole number of at least 1"),
    (dict(shots=2.0), "Slot.shots"),
    (dict(seed=2**31), "Slot.seed"),
    (dict(train_factors=1), "Slot.train_factors must be True or False"),
    (dict(learning_rate_scale=-1), "Slot.learning_rate_scale"),
  ],
)
def test_values_that_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    Slot(**{"task": "qa", **fields})


def test_a_slot_for_each_combination():
  made = make_slots(("a", "b"), shots=(None, 4), seeds=(0, 1), init="random")
  assert [slot.name for slot in made] == [
    *("a", "b", "a_s1", "b_s1"),
    *("a_k4_s0", "b_k4_s0", "a_k4_s1", "b_k4_s1"),
  ]
  assert {(slot.init, slot.group, slot.source) for slot in made} == {
    ("random", None, None)
  }
  (alone,) = make_slots("ab", train_factors=False)
  assert alone == Slot(task="ab", train_factors=False)


@pytest.mark.parametrize(
  ("share", "groups"),
  [
    ("none", (0, 1, 2, 3)),
    ("all", (0, 0, 0, 0)),
    # The tasks of one seed.
    ("tasks", (0, 0, 1, 1)),
  ],
)
def test_who_shares(share, groups):
  made = make_slots(("a", "b"), seeds=(0, 1), share=share)
  config = make_config(made, prompt_length=3, rank=1)
  assert config.groups == groups
  assert (config.num_slots, config.prompt_length, config.rank) == (4, 3, 1)
  assert config.num_groups == max(groups) + 1


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (dict(tasks=()), "make_slots.tasks"),
    (dict(tasks=("",)), "make_slots.tasks"),
    (dict(shots=16), "make_slots.shots"),
    (dict(shots=(0,)), "make_slots.shots"),
    (dict(seeds=(0.5,)), "make_slots.seeds"),
    (dict(share="task"), "share must be one of none, all, tasks, .*tasks"),
  ],
)
def test_arguments_that_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    make_slots(**{"tasks": ("a",), **arguments})


def test_groups_are_numbered_as_they_come():
  slots = [
    Slot(task="a", group="x"),
    Slot(task="b"),
    Slot(task="c", group="y"),
    Slot(task="d", group="x"),
  ]
  assert make_config(slots, 3, 1).groups == (0, 1, 2, 0)


def test_slots_that_make_no_bank():
  twice = [Slot(task="a"), Slot(task="a"), Slot(task="b")]
  with pytest.raises(ValueError, match="the same name: a; give them labels"):
    make_config(twice, 3, 1)
  labelled = [Slot(task="a"), Slot(task="a", label="x")]
  assert make_config(labelled, 3, 1).num_slots == 2
  shared = make_slots(("a", "b"), share="all")
  with pytest.raises(ValueError, match="rank=0 has no task factors"):
    make_config(shared, 3, 0)


def test_scales_of_the_rates():
  slots = [
    Slot(task="a", group="x", learning_rate_scale=0.5),
    Slot(task="b", learning_rate_scale=2.0, train_factors=False),
    Slot(task="c", group="x", learning_rate_scale=0.5),
  ]
  # Factors that do not train have the scale 0; their P* trains.
  assert optimizer_scales(slots, (0, 1, 0)) == ((0.5, 2.0), (0.5, 0.0, 0.5))
  slots[2] = Slot(task="c", group="x")
  with pytest.raises(
    ValueError, match="'c' has learning_rate_scale 1.0, .*0.5"
  ):
    optimizer_scales(slots, (0, 1, 0))


def test_shares_are_those_of_the_documentation():
  for share in slots_module.SHARES:
    assert f'"{share}":' in make_slots.__doc__


def test_rates_come_with_the_tasks():
  slots = make_slots((("a", 9.0), "b", ("c", 2)), shots=(4, None))
  assert [(slot.task, slot.rate) for slot in slots] == [
    ("a", 9.0),
    ("b", 1.0),
    ("c", 2),
  ] * 2


@pytest.mark.parametrize(
  ("task", "message"),
  [
    (("a", 0), r"tasks\[0\], the rate of 'a', must be a number above 0"),
    (("a", "9"), "the rate of 'a', must be a number"),
    (("a",), r"must be the name of a task or \(name, rate\)"),
    (7, "must be a string"),
  ],
)
def test_rates_that_are_none(task, message):
  with pytest.raises(ValueError, match=message):
    make_slots([task])
