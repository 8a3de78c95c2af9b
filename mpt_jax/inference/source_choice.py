"""The choice of the source prompt that a slot starts from."""

import dataclasses

import numpy as np

from mpt_jax.data import first_look
from mpt_jax.data.batches import truncate
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import Example
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.kind import start_names

# Training examples of a slot that choose its source.
NUM_EXAMPLES = 32


def choose_sources(slots, tasks, backbone, layout) -> list:
  """Replaces the init "best" of slots by the source task that it stands for.

  The best source is that under whose prompt the answers of the slot's own
  training examples are likeliest, in the mean over at most `NUM_EXAMPLES` of
  them. Nothing else of the task is read.

  Args:
    slots: the slots of a bank.
    tasks: the task of each slot.
    backbone: the `Backbone` of the prompts.
    layout: the `BatchLayout` of the run, whose lengths cut examples.

  Returns:
    The slots, with "task:NAME" in place of "best".

  Raises:
    ValueError: a slot names no source, or the T5's parameters are not here.
  """
  slots, questions = list(slots), {}
  for i, slot in enumerate(slots):
    if slot.init.partition(":")[0] == "best":
      if slot.source is None:
        raise ValueError(
          f"slot {slot.name!r}: init {slot.init!r} chooses among the prompts of"
          " Slot.source, which is not given"
        )
      # Slots of other methods have the same examples.
      key = (slot.source, slot.init, slot.data_name)
      questions.setdefault(key, (slot, tasks[i], []))[2].append(i)
  for source in dict.fromkeys(source for source, *_ in questions):
    asked = {k: v for k, v in questions.items() if k[0] == source}
    bank = load_bank(source, backbone.fingerprint)
    for chosen, members in _choose(bank, asked.values(), backbone, layout):
      for i in members:
        slots[i] = dataclasses.replace(slots[i], init=f"task:{chosen}")
  return slots


def _choose(bank, asked, backbone, layout):
  """Yields (the best prompt's name, indices of slots) for a source bank."""
  if backbone.params is None:
    raise ValueError(
      "init 'best' needs the T5's parameters to try the prompts of Slot.source;"
      " give Experiment.backbone a folder"
    )
  engine = Engine(
    backbone.config,
    backbone.params,
    bank.expanded,
    prompt_length=bank.config.prompt_length,
    mesh=partitioning.make_mesh(),
    inputs_length=layout.inputs_length,
    targets_length=layout.targets_length,
  )
  examples, choices = [], []
  for slot, task, members in asked:
    names = start_names(slot.init) or bank.names
    found = first_look.sample(task, f"slot {slot.name!r}")
    found = found[:: -(-len(found) // NUM_EXAMPLES)]
    for name in names:
      prompt = bank.index(name)
      for one in found:
        target = truncate(one["targets"], engine.targets_length)[0]
        examples.append(Example(one["inputs"], prompt, (target,)))
    choices.append((names, len(found), members))
  scores = np.concatenate(engine.rank(examples))
  start = 0
  for names, count, members in choices:
    own = scores[start : start + count * len(names)].reshape(len(names), count)
    start += own.size
    yield names[int(own.mean(axis=1).argmax())], members
