"""Tasks: a name, the way from texts to ids and back, and a row of the table."""

import dataclasses
import pathlib

import numpy as np

from mpt_jax.export import peft, prompt_files
from mpt_jax.inference.engine.memory import LONG_TARGETS
from mpt_jax.inference.texts import TaskTexts
from mpt_jax.prompts.bank import PromptBank, load_bank, select
from mpt_jax.serve.table import Entry, Table

# Limits on a task that a client adds.
LONGEST_NAME = 200
MOST_LABELS = 1000
LONGEST_TEMPLATE = 20_000


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """A task as it is served. A request keeps the task that it came for.

  Attributes:
    name: its name.
    slot: the fields of its slot, see `PromptBank.slots`.
    texts: the way from texts to ids and back.
    entry: its row of the table.
    table: the table.
  """

  name: str
  slot: dict
  texts: TaskTexts
  entry: Entry
  table: Table

  def prompt(self) -> np.ndarray:
    """Returns the prompt, [P, D] float32."""
    return self.table.prompt(self.entry)

  def describe(self) -> dict:
    """Returns what `/v1/tasks` says about it, as JSON values."""
    return {
      "name": self.name,
      "task": self.slot.get("task"),
      "label_names": list(self.texts.labels) or None,
      "template": self.texts.template,
    }


def make_task(name, bank, slot, composed, table, tokenizer, ranks) -> Task:
  """Makes a task of a slot of a bank, and writes its row.

  Args:
    name: its name here.
    bank: a `PromptBank`.
    slot: the slot's index.
    composed: [N, P, D], the bank's composed prompts.
    table: the table.
    tokenizer: the `Tokenizer` of the T5.
    ranks: whether labels are ranked.

  Raises:
    ValueError: the task exceeds a limit, or does not fit the table.
  """
  fields = bank.slots[slot]
  _check_limits(name, fields)
  texts = TaskTexts.read(name, fields, tokenizer, ranks)
  longest = max(map(len, texts.candidates), default=0)
  if ranks and longest > LONG_TARGETS:
    raise ValueError(
      f"a label of {name!r} has {longest} tokens; the longest may have"
      f" {LONG_TARGETS}"
    )
  entry = table.add(bank, slot, composed)
  return Task(name, fields, texts, entry, table)


def _check_limits(name, fields):
  if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
    raise ValueError(
      f"a task's name must have 1 to {LONGEST_NAME} printable characters, got"
      f" {name!r:.80}"
    )
  labels = fields.get("label_names") or ()
  if len(labels) > MOST_LABELS:
    raise ValueError(
      f"{name!r} has {len(labels)} labels; there may be {MOST_LABELS}"
    )
  template = fields.get("template") or ""
  if isinstance(template, str) and len(template) > LONGEST_TEMPLATE:
    raise ValueError(
      f"the template of {name!r} has {len(template)} characters; there may be"
      f" {LONGEST_TEMPLATE}"
    )


def read_bank(path, backbone) -> PromptBank:
  """Reads a prompt file, a run folder, or a folder of PEFT's.

  Args:
    path: the file or folder.
    backbone: "default" or the folder of the T5.

  Raises:
    FileNotFoundError: there is nothing at the path.
    ValueError: it holds no prompts, or those of another T5.
  """
  path = pathlib.Path(path)
  if _is_peft(path):
    return prompt_files.import_prompts([path], "peft", backbone=backbone)
  return load_bank(path)


def _is_peft(path) -> bool:
  if not path.is_dir() or (path / "prompts").is_dir():
    return False
  return peft.is_adapter(path) or any(map(peft.is_adapter, path.iterdir()))


def one_slot(bank: PromptBank, index: int, name: str, changes) -> PromptBank:
  """Returns a bank of one slot under another name.

  Args:
    bank: the bank.
    index: the slot's index.
    name: the new name.
    changes: fields of the slot that are replaced: "label_names", "template".
  """
  bank = select(bank, [bank.names[index]])
  fields = {
    **bank.fields,
    "names": [name],
    "slots": [{**bank.slots[0], **changes}],
  }
  return PromptBank.from_fields(bank.params, fields, f"the task {name!r}")
