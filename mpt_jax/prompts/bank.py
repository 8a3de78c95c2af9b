"""Banks of trained prompts: files, selection, merging, concatenation."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import json

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from mpt_jax.io import digests, files, paths
from mpt_jax.io.errors import one_line
from mpt_jax.io.finite import check_finite
from mpt_jax.prompts import bank_fields, run_settings
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import EMBED, GROUPS
from mpt_jax.prompts.kinds import compose_bank, expand_bank, read_sizes
from mpt_jax.prompts.plain import plain_params

FORMAT = "mpt_jax.prompts"


@dataclasses.dataclass(frozen=True)
class PromptBank:
  """Trained prompts, as a prompt file holds them.

  Attributes:
    params: the arrays of the bank's kind by name, float32; see
      `kinds.compose_bank`.
    names: the N slots' names.
    groups: the N slots' groups.
    backbone: fingerprint of the T5 that they were trained on.
    slots: for each slot a dict for prediction: "task", "label_names" (or
      None), "template" (or None), and "metrics", the metrics of the step whose
      prompt was kept.
  """

  params: dict
  names: tuple[str, ...]
  groups: tuple[int, ...]
  backbone: str
  slots: tuple[dict, ...]

  @functools.cached_property
  def config(self) -> PromptConfig:
    return PromptConfig.of_params(self.params, self.groups)

  @property
  def emb_dim(self) -> int:
    """D, the width of the prompts."""
    return read_sizes(self.params)[EMBED]

  @property
  def composed(self):
    """[N, P, D], each slot's prompt as a plain soft prompt."""
    return np.asarray(compose_bank(self.params, self.groups))

  @property
  def expanded(self):
    """[N, P + S, D], see `kinds.expand_bank`."""
    return np.asarray(expand_bank(self.params, self.groups))

  @property
  def listing(self) -> str:
    """How many prompts there are, and their names: "2 prompts: a, b"."""
    noun = "prompt" if len(self.names) == 1 else "prompts"
    return f"{len(self.names)} {noun}: {', '.join(self.names)}"

  @property
  def fields(self) -> dict:
    """All fields but the arrays, as JSON values."""
    return {
      "names": list(self.names),
      "groups": list(self.groups),
      "backbone": self.backbone,
      "slots": list(self.slots),
    }

  @classmethod
  def from_fields(cls, params, fields, where) -> "PromptBank":
    """Makes a bank from its arrays and its `fields`.

    Raises:
      ValueError: an array or a field is missing or does not fit the others, or
        a number is not finite; the message begins with `where`.
    """
    fields = bank_fields.checked(fields, where)
    lists = ("names", "groups", "slots")
    names, groups, slots = (tuple(fields[name]) for name in lists)
    bank = cls(params, names, groups, fields["backbone"], slots)
    bank.check_shapes(where)
    bank.check_finite(where)
    return bank

  def check_finite(self, where):
    """Raises ValueError if a prompt holds NaN or an infinite number.

    Args:
      where: the beginning of the message.
    """
    for name, array in self.params.items():
      check_finite(array, name, where)

  def check_shapes(self, where):
    """Raises ValueError if the arrays do not fit each other or the names.

    Args:
      where: the beginning of the message.
    """
    try:
      num_slots = self.config.num_slots
    except ValueError as error:
      raise ValueError(f"{where} holds no bank: {error}") from error
    if not num_slots == len(self.names) == len(self.slots):
      raise ValueError(
        f"{where} does not describe prompts: it has {len(self.names)} names"
        f" and {len(self.slots)} slots for {num_slots} prompts"
      )

  def index(self, name: str) -> int:
    """Finds a slot by its name, or by a task that has only one slot.

    Returns:
      The slot's number.

    Raises:
      ValueError: there is no such slot; the message lists the slots' names.
    """
    if name in self.names:
      return self.names.index(name)
    same_task = self.of_task(name)
    if len(same_task) == 1:
      return same_task[0]
    raise ValueError(
      f"the bank has no prompt {name!r}; it has {', '.join(self.names)}"
    )

  def of_task(self, task: str) -> list[int]:
    """Returns the numbers of the slots that were trained for a task."""
    return [i for i, s in enumerate(self.slots) if s.get("task") == task]

  def best_of(self, chosen) -> int:
    """Returns which of some slots has the highest main metric.

    Args:
      chosen: the numbers of the slots; the first of them wins a tie, or if they
        have no metric in common.
    """
    chosen = list(chosen)
    known = [self.slots[i].get("metrics") or {} for i in chosen]
    names = [n for n in known[0] if n not in ("step", "num_examples")]
    for name in names[:1]:
      values = [own.get(name) for own in known]
      if None not in values:
        return chosen[values.index(max(values))]
    return chosen[0]

  def save(self, path):
    """Writes a safetensors file in one move. The path may be on gs://.

    Raises:
      ValueError: a number is not finite.
    """
    with np.errstate(over="ignore"):  # `check_finite` finds infinities.
      tensors = {k: np.asarray(v, np.float32) for k, v in self.params.items()}
    for name, array in tensors.items():
      check_finite(array, name, f"the prompts for {path}")
    # One entry holds all fields: the library writes several entries in any
    # order, and equal banks should give equal files.
    fields = {digests.FIELD: _digest(tensors, self.fields), **self.fields}
    metadata = {FORMAT: json.dumps(fields, allow_nan=False)}
    # The library's own `save_file` writes files that no other user can read.
    files.write_bytes(path, safetensors.numpy.save(tensors, metadata))


def _digest(params, fields) -> str:
  """The SHA-256 of a bank's arrays, sorted by name, and then of its fields."""
  digest = hashlib.sha256()
  for name in sorted(params):
    digests.update(digest, name, params[name])
  digest.update(digests.canonical(fields))
  return digest.hexdigest()


def check_backbone(
  bank: PromptBank, fingerprint: str, prompts="the prompts", backbone="this one"
):
  """Refuses prompts that were trained on another T5.

  Args:
    bank: the prompts.
    fingerprint: the fingerprint of the T5 that will use them.
    prompts: the name of the prompts in the message.
    backbone: the name of the T5 in the message.

  Raises:
    ValueError: it is another T5.
  """
  if bank.backbone != fingerprint:
    raise ValueError(
      f"{prompts} were trained on another T5 (fingerprint {bank.backbone},"
      f" {backbone} is {fingerprint}); load the backbone they belong to"
    )


def has_digest(fields) -> bool:
  """Whether a file's fields have a digest; released versions wrote none."""
  return isinstance(fields, dict) and digests.FIELD in fields


def find_prompt_file(path) -> epath.Path:
  """The prompt file that a path stands for; see `load_bank`.

  Raises:
    FileNotFoundError: there is none.
  """
  path = epath.Path(paths.expand(path))
  if path.is_dir():
    if not (path / "prompts").is_dir():
      raise FileNotFoundError(
        f"{path} holds no prompts: a run folder has prompts/best.safetensors"
        " once a checkpoint was written"
      )
    best = path / "prompts" / "best.safetensors"
    last = path / "prompts" / "last.safetensors"
    if not best.is_file() and last.is_file():
      # A run under t5x may have no best step.
      if run_settings.read(path).get("launcher") == "mpt_jax":
        raise FileNotFoundError(
          f"{best} is missing; copy the run again, let its command run again,"
          f" or name {last.name} to take the prompts of the last step"
        )
    path = best if best.is_file() else last
  if not path.is_file():
    raise FileNotFoundError(
      f"no prompt file at {path}; give a .safetensors file or a run folder"
    )
  return path


def read_file(path):
  """Reads the arrays and the fields of a prompt file, without any check.

  Returns:
    (arrays by name, fields).

  Raises:
    ValueError: it is not a prompt file.
  """
  data = path.read_bytes()
  try:
    params = safetensors.numpy.load(data)
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path} is not a safetensors file: {one_line(error)}"
    ) from error
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{path} holds numbers of a type that NumPy does not know: {error}"
    ) from error
  # The library reads the metadata of local files only, so read it here. The
  # first 8 bytes are the length of the header, which follows them as JSON.
  header = data[8 : 8 + int.from_bytes(data[:8], "little")]
  metadata = json.loads(header).get("__metadata__", {})
  if FORMAT not in metadata:
    raise ValueError(
      f"{path} is a safetensors file, but not one of prompts: its metadata has"
      f" no {FORMAT!r}"
    )
  for name, array in params.items():
    if array.dtype != np.float32:
      raise ValueError(f"{path}: {name} must hold float32, got {array.dtype}")
  try:
    # Earlier versions wrote a metric that was not a number as NaN.
    return params, json.loads(metadata[FORMAT], parse_constant=lambda _: None)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: {FORMAT} is not JSON: {error}") from error


def load_bank(path, backbone: str | None = None) -> PromptBank:
  """Reads a prompt file, or the best prompts of a run folder.

  Args:
    path: a file of `PromptBank.save`, or a run's model_dir. Either may be on
      gs://. If a run evaluated nothing, its last prompts count as the best.
    backbone: fingerprint of the T5 that will use the prompts, to be checked;
      None for no check.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is not a prompt file or is damaged, holds NaN or
      infinite numbers, or its prompts belong to another T5.
  """
  path = find_prompt_file(path)
  params, fields = read_file(path)
  if has_digest(fields):
    expected = fields.pop(digests.FIELD)
    if _digest(params, fields) != expected:
      raise ValueError(
        f"{path} is damaged: its prompts differ from the digest in its header;"
        " copy the file again. A run writes it again at its next checkpoint"
      )
  bank = PromptBank.from_fields(params, fields, path)
  if backbone is not None:
    check_backbone(bank, backbone, f"the prompts of {path}")
  return bank


def select(bank: PromptBank, names) -> PromptBank:
  """Makes a bank of some of the slots.

  Args:
    bank: the bank.
    names: the slots in their new order; see `PromptBank.index`.

  Raises:
    ValueError: there is no such slot, or one is named twice.
  """
  chosen = [bank.index(name) for name in names]
  if len(set(chosen)) < len(chosen):
    raise ValueError(f"a prompt is named twice in {', '.join(names)}")
  old = [bank.groups[i] for i in chosen]
  kept = list(dict.fromkeys(old))
  params = {
    name: array[kept if bank.config.leaves[name].axes[0] == GROUPS else chosen]
    for name, array in bank.params.items()
  }
  return PromptBank(
    params,
    tuple(bank.names[i] for i in chosen),
    tuple(kept.index(g) for g in old),
    bank.backbone,
    tuple(bank.slots[i] for i in chosen),
  )


def merge(bank: PromptBank) -> PromptBank:
  """Makes a bank of plain prompts: the composed prompt of each slot."""
  return PromptBank(
    plain_params(bank.composed),
    bank.names,
    tuple(range(len(bank.names))),
    bank.backbone,
    bank.slots,
  )


def concatenate(banks) -> PromptBank:
  """Puts the slots of several banks one after the other.

  Slots of one bank that share arrays still share them. Slots of different banks
  share none.

  Raises:
    ValueError: the prompts have different shapes or belong to different T5s,
      or two have the same name.
  """
  first, *others = banks
  for bank in others:
    check_backbone(
      bank,
      first.backbone,
      f"the prompts with {bank.names[0]!r}",
      f"that of {first.names[0]!r}",
    )
    shapes = [
      {k: v.shape[1:] for k, v in b.params.items()} for b in (first, bank)
    ]
    if shapes[0] != shapes[1]:
      raise ValueError(
        "prompts of one file must have one length, width and rank:"
        f" {first.names[0]!r} has {shapes[0]}, {bank.names[0]!r} {shapes[1]}."
        " Import them one by one"
      )
  groups, next_group = [], 0
  for bank in banks:
    groups += [next_group + g for g in bank.groups]
    next_group += bank.config.num_groups
  names = tuple(itertools.chain.from_iterable(b.names for b in banks))
  twice = [n for n, count in collections.Counter(names).items() if count > 1]
  if twice:
    raise ValueError(
      f"several prompts are called {', '.join(twice)}; name them all with"
      " --task"
    )
  return PromptBank(
    {
      k: np.concatenate([np.asarray(b.params[k]) for b in banks])
      for k in first.params
    },
    names,
    tuple(groups),
    first.backbone,
    tuple(itertools.chain.from_iterable(b.slots for b in banks)),
  )
