"""What a contest takes and refuses, and which slots answer in which view."""

import types

import pytest

from mpt_jax.judgement.outcomes import Trial
from mpt_jax.prompts.slots import Slot
from mpt_jax.sweeps.contest import (
  MAIN,
  Contest,
  View,
  check_contest,
  check_run,
  trial,
)


def planned(name, *slots, steps=8, kept=(), uses=(), trainable="prompt"):
  """What a contest reads of a planned run."""
  experiment = types.SimpleNamespace(
    slots=slots, total_steps=steps, trainable=trainable
  )
  return types.SimpleNamespace(
    name=name,
    uses=uses,
    experiment=experiment,
    arguments={"prompt_steps": kept},
  )


def slots_of(*labels, task="mails", shots=4):
  return [Slot(task=task, shots=shots, label=label) for label in labels]


def found(contest, run):
  """{view: {steps: labels}}."""
  return {
    view.name: {
      steps: [slot.label for slot in slots]
      for steps, slots in contest.slots(view, run).items()
    }
    for view in contest.all_views
  }


def test_a_view_takes_its_methods_shots_and_steps():
  contest = Contest(
    targets=("mails",),
    views=(
      View(name="early", steps=3, methods=("mpt",)),
      View(name="many", shots=(16, None)),
      View(name="other", targets=("news",)),
      View(name="end", steps=8),
    ),
    tuned={"spot": {4: {"scale": 0.3, "steps": 5}}, "mpt": {16: {"steps": 5}}},
  )
  run = planned(
    "adapt",
    *slots_of("mpt", "spot", "plain"),
    *slots_of("mpt", shots=16),
    *slots_of("mpt", task="news"),
    # A teacher of the same task takes no part.
    Slot(task="mails"),
  )
  assert found(contest, run) == {
    MAIN: {None: ["mpt", "plain"], 5: ["spot", "mpt"]},
    "early": {3: ["mpt", "mpt"]},
    "many": {5: ["mpt"]},
    "other": {None: ["mpt"]},
    # All steps of this run are the end.
    "end": {None: ["mpt", "spot", "plain", "mpt"]},
  }


def test_fine_tuning_has_no_label_and_no_kept_steps():
  contest = Contest(targets=("mails",), views=(View(name="early", steps=3),))
  slot = Slot(task="mails", shots=4, seed=2)
  run = planned("finetune", slot, trainable="everything")
  assert found(contest, run) == {MAIN: {None: [""]}, "early": {}}
  assert trial(slot) == Trial("finetune", "mails", 4, 2)


def test_baselines_take_part_where_they_are_named():
  contest = Contest(targets=("mails",), baselines=("majority", "no_prompt"))
  assert contest.baselines_of(View(name="a")) == ["majority", "no_prompt"]
  some = View(name="a", methods=("mpt", "no_prompt", "tfidf_lr"))
  assert contest.baselines_of(some) == ["no_prompt"]
  assert contest.baselines_of(View(name="a", steps=3)) == []


def test_examples_of_a_view_are_the_contests_by_default():
  views = (View(name="a"), View(name="b", max_examples=5))
  contest = Contest(targets=("mails",), max_examples=9, views=views)
  assert [view.max_examples for view in contest.all_views] == [9, 9, 5]


WRONG = {
  "a step that is not kept": (
    dict(views=(View(name="early", steps=3),)),
    planned("adapt", *slots_of("mpt"), kept=(2,)),
    r"step 3 is asked for \(view 'early'.*prompt_steps=\(2,\).*has 8 steps",
  ),
  "a step to keep after the last one": (
    {},
    planned("adapt", *slots_of("mpt"), kept=(3, 9)),
    r"prompt_steps=\(3, 9\) has a step after the last one, 8",
  ),
  "a tuned step that is not kept": (
    dict(tuned={"mpt": {4: {"steps": 3}}}),
    planned("adapt", *slots_of("mpt")),
    "step 3 is asked for .view 'main', or Contest.tuned",
  ),
  "the same trial twice": (
    {},
    planned("adapt", *slots_of("mpt", "mpt")),
    "two slots are Trial.method='mpt'.*give them different labels",
  ),
  "nobody uses it": (
    {},
    planned("adapt", *slots_of("mpt", task="news")),
    "neither the contest nor another run.*'news_k4_s0_mpt'.*are mails",
  ),
  "a closed task": (
    dict(chooses=True, split="validation", closed=("news",)),
    planned("adapt", *slots_of("mpt"), *slots_of("mpt", task="news")),
    "the task 'news' must not be read by a contest that chooses",
  ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_contest_cannot_use_is_not_trained(what):
  changes, run, message = WRONG[what]
  contest = Contest(targets=("mails",), **changes)
  with pytest.raises(ValueError, match=message):
    check_run(contest, run, [run])


def test_a_run_that_others_use_needs_no_target():
  teach = planned("teach", Slot(task="films"))
  adapt = planned("adapt", *slots_of("mpt"), uses=("teach",))
  check_run(Contest(targets=("mails",)), teach, [teach, adapt])


def test_each_target_needs_a_run():
  run = planned("adapt", *slots_of("mpt"))
  check_contest(Contest(targets=("mails",)), [run])
  # A view may have targets of a run that is left out.
  views = (View(name="digits", targets=("digits",)),)
  check_contest(Contest(targets=("mails",), views=views), [run])
  teacher = planned("teach", Slot(task="news"))
  message = "no run trains a prompt with a label on 'news'"
  with pytest.raises(ValueError, match=message):
    check_contest(Contest(targets=("mails", "news")), [run, teacher])


def test_a_contest_that_chooses_reads_validation_alone():
  with pytest.raises(ValueError, match="reads the split 'validation' alone"):
    Contest(targets=("mails",), chooses=True)
  for name in (MAIN, "a"):
    views = (View(name="a"), View(name=name))
    with pytest.raises(ValueError, match=f"two views are called '{name}'"):
      Contest(targets=("mails",), views=views)
