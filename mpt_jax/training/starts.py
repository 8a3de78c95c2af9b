"""The prompts before the first step, and the choice of the best source."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from mpt_jax.data import first_look
from mpt_jax.data.batches import truncate
from mpt_jax.inference.engine import Engine, Example
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.initialization import init_bank
from mpt_jax.prompts.kind import start_names

# Training examples of a slot that choose its source.
NUM_EXAMPLES = 32


def starting_prompts(parts, embedding) -> dict:
  """Makes the prompts before the first step; see `initialization.init_bank`.

  Args:
    parts: the `assembly.Assembly`.
    embedding: [V, D] token embedding of the backbone.

  Raises:
    ValueError: a start does not fit, is not finite, or cannot be chosen.
  """
  vocabulary = parts.tasks[0].output_features["inputs"].vocabulary
  slots, model = choose_sources(parts), parts.model
  prompt = init_bank(
    slots,
    model.prompt_config,
    np.asarray(embedding, np.float32),
    encode=vocabulary.encode,
    backbone=parts.backbone.fingerprint,
  )
  sound = model.find_sound(prompt)
  for slot, is_sound in zip(slots, np.asarray(sound), strict=True):
    if not is_sound:
      source = "the embedding of the T5" if slot.source is None else slot.source
      raise ValueError(
        f"slot {slot.name!r}: the prompt that it starts from is not finite in"
        f" {model.config.dtype} (init {slot.init!r} from {source}); choose"
        " another init or source"
      )
  return prompt


def choose_sources(parts) -> list:
  """Replaces the init "best" of slots by the source task that it stands for.

  The best source is that under whose prompt the answers of the slot's own
  training examples are likeliest, in the mean over at most `NUM_EXAMPLES` of
  them. Nothing else of the task is read.

  Args:
    parts: the `assembly.Assembly`.

  Returns:
    The slots, with "task:NAME" in place of "best".

  Raises:
    ValueError: a slot names no source, or the T5's parameters are not here.
  """
  slots, questions = list(parts.experiment.slots), {}
  for i, slot in enumerate(slots):
    if slot.init.partition(":")[0] == "best":
      if slot.source is None:
        raise ValueError(
          f"slot {slot.name!r}: init {slot.init!r} chooses among the prompts of"
          " Slot.source, which is not given"
        )
      # Slots of other methods have the same examples.
      key = (slot.source, slot.init, slot.data_name)
      questions.setdefault(key, []).append(i)
  for source in dict.fromkeys(source for source, *_ in questions):
    asked = {k: v for k, v in questions.items() if k[0] == source}
    for chosen, members in _choose(parts, source, asked):
      for i in members:
        slots[i] = dataclasses.replace(slots[i], init=f"task:{chosen}")
  return slots


def _choose(parts, source, asked):
  """Yields (the best prompt's name, indices of slots) for a source bank."""
  bank = load_bank(source, parts.backbone.fingerprint)
  if parts.backbone.params is None:
    raise ValueError(
      f"init 'best' needs the T5's parameters to try the prompts of {source};"
      " give Experiment.backbone a folder"
    )
  engine = Engine(
    parts.backbone.config,
    parts.backbone.params,
    jnp.asarray(bank.composed),
    mesh=partitioning.make_mesh(),
    inputs_length=parts.layout.inputs_length,
    targets_length=parts.layout.targets_length,
  )
  examples, choices = [], []
  for (_, init, _), members in asked.items():
    slot, task = parts.experiment.slots[members[0]], parts.tasks[members[0]]
    names = start_names(init) or bank.names
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
