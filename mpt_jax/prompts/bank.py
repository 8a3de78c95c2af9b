"""The slots of a bank: what each trains on, how it starts, and files of them.

A slot is one prompt with its task, examples and starting point. Slots of one
group share P* and train as one run; groups are independent of each other, so
all targets, numbers of shots, seeds, methods and learning rates of a sweep can
be slots of one bank.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from mpt_jax.io import files
from mpt_jax.prompts import parametrization
from mpt_jax.prompts.parametrization import PromptConfig

FORMAT = "mpt_jax.prompts"


@dataclasses.dataclass(frozen=True)
class Slot:
  """One prompt of a bank.

  Attributes:
    task: name of the seqio task.
    shots: training examples per class, None for all.
    seed: of the draw of the shots and of the prompt's random start.
    label: tells slots apart that differ in nothing else (a method's name).
    group: slots of the same group share P*; None is a group of its own.
    init: the start: "vocabulary", "random", "text:WORDS" or, from the bank
      `source`, "task:NAME" (that task's prompt: SPoT) or one of "mean_matrix",
      "mean_factors", "shared_only" (P* with factors from the source tasks').
    source: prompt file or run folder that `init` reads.
    train_factors: False keeps the factors at their start.
    learning_rate_scale: factor on this slot's learning rates.
  """

  task: str
  shots: int | None = None
  seed: int = 0
  label: str = ""
  group: str | None = None
  init: str = "vocabulary"
  source: str | None = None
  train_factors: bool = True
  learning_rate_scale: float = 1.0

  @property
  def data_name(self) -> str:
    """Names the slot's examples and their order: equal for equal data."""
    shots = "" if self.shots is None else f"_k{self.shots}"
    return f"{self.task}{shots}_s{self.seed}"

  @property
  def name(self) -> str:
    plain = self.shots is None and self.seed == 0
    name = self.task if plain else self.data_name
    return f"{name}_{self.label}" if self.label else name


def make_slots(
  tasks,
  shots=(None,),
  seeds=(0,),
  share="none",
  init="vocabulary",
  source=None,
  train_factors=True,
) -> tuple[Slot, ...]:
  """The product of tasks, shots and seeds as slots.

  Args:
    tasks: task names.
    shots: numbers of examples per class, None for all.
    seeds: draws of each.
    share: "none": each slot has its own P*; "all": one P* for all; "tasks":
      the tasks of one number of shots and one seed share P* (a group of
      targets).
    init: see `Slot.init`.
    source: see `Slot.source`.
    train_factors: see `Slot.train_factors`.

  Returns:
    The slots, tasks varying fastest.

  Raises:
    ValueError: an unknown `share`, or no tasks.
  """
  if isinstance(tasks, str):
    tasks = (tasks,)
  if not tasks:
    raise ValueError("a bank needs at least one task")
  if share not in ("none", "all", "tasks"):
    raise ValueError(f"share must be none, all or tasks, got {share!r}")
  for name, values in (("shots", shots), ("seeds", seeds)):
    if isinstance(values, str | int) or any(
      not (isinstance(v, int) or v is None and name == "shots") for v in values
    ):
      raise ValueError(
        f"{name} must be a tuple of whole numbers, as in (0, 1), got {values!r}"
      )
  group = lambda k, s: {"none": None, "all": "all"}.get(share, f"k{k}_s{s}")
  return tuple(
    Slot(
      t,
      k,
      s,
      group=group(k, s),
      init=init,
      source=source,
      train_factors=train_factors,
    )
    for k in shots
    for s in seeds
    for t in tasks
  )


def prompt_config(slots, prompt_length, rank) -> PromptConfig:
  """The shape of the bank of these slots.

  Raises:
    ValueError: two slots of one name, or slots that share a P* without
      factors to tell them apart.
  """
  names = [slot.name for slot in slots]
  if len(set(names)) != len(names):
    twice = sorted({n for n in names if names.count(n) > 1})
    raise ValueError(
      f"two slots have the same name: {', '.join(twice)}; give them labels"
    )
  numbers, groups = {}, []
  for i, slot in enumerate(slots):
    key = slot.group if slot.group is not None else i
    groups.append(numbers.setdefault(key, len(numbers)))
  if rank == 0 and len(numbers) < len(slots):
    raise ValueError("rank=0 has no task factors, so slots cannot share a P*")
  return PromptConfig(len(slots), prompt_length, rank, tuple(groups))


def optimizer_scales(slots, groups):
  """(group_scales, task_scales) of `OptimizerConfig` for these slots.

  Raises:
    ValueError: slots of one group differ in learning_rate_scale.
  """
  group_scales = {}
  for slot, group in zip(slots, groups, strict=True):
    scale = group_scales.setdefault(group, slot.learning_rate_scale)
    if scale != slot.learning_rate_scale:
      raise ValueError(
        f"slot {slot.name!r} has learning_rate_scale"
        f" {slot.learning_rate_scale}, another slot of its group {scale}; they"
        " train one P*, so the scales must be equal"
      )
  task_scales = [
    slot.learning_rate_scale if slot.train_factors else 0.0 for slot in slots
  ]
  scales = tuple(group_scales[g] for g in range(len(group_scales)))
  return scales, tuple(task_scales)


@dataclasses.dataclass(frozen=True)
class PromptBank:
  """Trained prompts, as they are kept in a file.

  Attributes:
    params: {"shared_prompt": [G, P, D]} and, for rank > 0, "task_columns"
      [N, P, R] and "task_rows" [N, R, D]; float32.
    names: the N slots' names.
    groups: the N slots' groups.
    backbone: fingerprint of the T5 that they were trained on.
    slots: for each slot a dict of what prediction needs: "task",
      "label_names" (or None), "template" (or None), and the metrics of the
      step that the prompt is from.
  """

  params: dict
  names: tuple[str, ...]
  groups: tuple[int, ...]
  backbone: str
  slots: tuple[dict, ...]

  @property
  def config(self) -> PromptConfig:
    rank = (
      self.params["task_columns"].shape[-1]
      if "task_columns" in self.params
      else 0
    )
    length = self.params["shared_prompt"].shape[1]
    return PromptConfig(len(self.names), length, rank, self.groups)

  @property
  def composed(self):
    """[N, P, D], each slot's prompt as a plain soft prompt."""
    return np.asarray(parametrization.compose_bank(self.params, self.groups))

  @property
  def listing(self) -> str:
    """How many prompts there are, and their names: "2 prompts: a, b"."""
    noun = "prompt" if len(self.names) == 1 else "prompts"
    return f"{len(self.names)} {noun}: {', '.join(self.names)}"

  @property
  def fields(self) -> dict:
    """All but the arrays, as JSON has it."""
    return {
      "names": list(self.names),
      "groups": list(self.groups),
      "backbone": self.backbone,
      "slots": list(self.slots),
    }

  @classmethod
  def from_fields(cls, params, fields, where) -> "PromptBank":
    """The bank of these arrays and `fields`.

    Raises:
      ValueError: one of them is missing; the message begins with `where`.
    """
    wanted = ("names", "groups", "backbone", "slots")
    fields = fields if isinstance(fields, dict) else {}
    missing = [name for name in wanted if name not in fields]
    missing += {"shared_prompt"} - set(params)
    if missing:
      raise ValueError(
        f"{where} does not describe prompts: no {', '.join(missing)}"
      )
    names, groups, backbone, slots = (fields[name] for name in wanted)
    return cls(params, tuple(names), tuple(groups), backbone, tuple(slots))

  def index(self, name: str) -> int:
    """The slot of a name, or of a task that has one slot only.

    Raises:
      ValueError: no such slot; the message lists those there are.
    """
    if name in self.names:
      return self.names.index(name)
    same_task = [i for i, s in enumerate(self.slots) if s.get("task") == name]
    if len(same_task) == 1:
      return same_task[0]
    raise ValueError(
      f"the bank has no prompt {name!r}; it has {', '.join(self.names)}"
    )

  def save(self, path):
    """Writes a safetensors file, in one move; to gs:// as well."""
    # One entry: the library writes several in any order, and equal banks
    # should be equal files.
    metadata = {FORMAT: json.dumps(self.fields)}
    tensors = {k: np.asarray(v, np.float32) for k, v in self.params.items()}
    # The library's own `save_file` lets no other user read.
    files.write_bytes(path, safetensors.numpy.save(tensors, metadata))


def load_bank(path, backbone: str | None = None) -> PromptBank:
  """Reads a prompt file, or that of a run folder: its best or last prompts.

  Args:
    path: a file of `PromptBank.save`, or a run's model_dir, on gs:// as well.
    backbone: fingerprint of the T5 that will use it, to be checked.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: not a prompt file, or prompts of another T5.
  """
  path = epath.Path(path)
  if path.is_dir():
    if not (path / "prompts").is_dir():
      raise FileNotFoundError(
        f"{path} holds no prompts: a run folder has prompts/best.safetensors"
        " once a checkpoint was written"
      )
    # t5x keeps no best step.
    best = path / "prompts" / "best.safetensors"
    path = best if best.is_file() else path / "prompts" / "last.safetensors"
  if not path.is_file():
    raise FileNotFoundError(
      f"no prompt file at {path}; give a .safetensors file or a run folder"
    )
  data = path.read_bytes()
  try:
    params = safetensors.numpy.load(data)
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path} is not a safetensors file: {error}") from error
  # The library reads metadata of local files alone. The header is JSON behind
  # its length in 8 bytes.
  header = data[8 : 8 + int.from_bytes(data[:8], "little")]
  metadata = json.loads(header).get("__metadata__", {})
  if FORMAT not in metadata:
    raise ValueError(
      f"{path} is a safetensors file, but not one of prompts: its metadata has"
      f" no {FORMAT!r}"
    )
  try:
    fields = json.loads(metadata[FORMAT])
  except ValueError as error:
    raise ValueError(f"{path}: {FORMAT} is not JSON: {error}") from error
  bank = PromptBank.from_fields(params, fields, path)
  if backbone is not None and bank.backbone != backbone:
    raise ValueError(
      f"the prompts of {path} were trained on another T5 (fingerprint"
      f" {bank.backbone}, this one is {backbone}); load the backbone they"
      " belong to"
    )
  return bank


def init_bank(slots, config, embedding, encode=None, backbone=None):
  """Starting values of a bank, each slot's by its own `init` and `seed`.

  A slot's values depend on its own fields alone, so they are the same in a
  bank of one and in a bank of many. Slots of one group take P* from the first
  of them.

  Args:
    slots: the N slots.
    config: their `PromptConfig`.
    embedding: [V, D], the T5's token embedding.
    encode: text -> token ids, for "text:...".
    backbone: fingerprint that the source banks must have.

  Returns:
    {"shared_prompt": [G, P, D]} and, for rank > 0, "task_columns" [N, P, R]
    and "task_rows" [N, R, D]; float32.

  Raises:
    ValueError: an init that does not exist or does not fit.
  """
  emb_dim = embedding.shape[1]
  sources = {}
  shared, columns, rows = {}, [], []
  for slot, group in zip(slots, config.groups, strict=True):
    if slot.source is not None and slot.source not in sources:
      sources[slot.source] = load_bank(slot.source, backbone)
    source = sources.get(slot.source)
    prompt, factors = _init_slot(slot, config, embedding, encode, source)
    if prompt.shape != (config.prompt_length, emb_dim):
      raise ValueError(
        f"slot {slot.name!r}: its start has shape {prompt.shape}, but"
        f" [prompt_length, emb_dim] = {(config.prompt_length, emb_dim)}"
      )
    shared.setdefault(group, prompt)
    columns.append(factors[0])
    rows.append(factors[1])
  params = {
    "shared_prompt": jnp.stack([shared[g] for g in range(config.num_groups)])
  }
  if config.rank > 0:
    params["task_columns"] = jnp.stack(columns)
    params["task_rows"] = jnp.stack(rows)
  return jax.tree.map(lambda x: x.astype(jnp.float32), params)


def _init_slot(slot, config, embedding, encode, source):
  """P* [P, D] and factors ([P, R], [R, D]) of one slot."""
  key = jax.random.key(slot.seed)
  length, emb_dim = config.prompt_length, embedding.shape[1]
  ones = parametrization.init_factors(length, max(1, config.rank), emb_dim)
  if source is None:
    if slot.init == "vocabulary":
      return parametrization.vocabulary_rows(key, embedding, length), ones
    if slot.init == "random":
      # The scale of the token embeddings, which is what the encoder expects.
      scale = jnp.sqrt(jnp.mean(jnp.square(jnp.asarray(embedding))))
      return parametrization.random_rows(key, length, emb_dim, scale), ones
    if slot.init.startswith("text:"):
      ids = encode(slot.init.removeprefix("text:"))
      return parametrization.text_rows(embedding, ids, length), ones
    raise ValueError(
      f"slot {slot.name!r}: init {slot.init!r} is not 'vocabulary', 'random'"
      " or 'text:...', and no source was given for any other"
    )
  if config.rank == 0 or source.config.rank == 0:
    if not slot.init.startswith("task:"):
      raise ValueError(
        f"slot {slot.name!r}: init {slot.init!r} needs factors in the source"
        " and in the bank; from plain prompts start with 'task:NAME'"
      )
    index = source.index(slot.init.removeprefix("task:"))
    return jnp.asarray(source.composed[index]), ones
  if source.config.num_groups > 1:
    raise ValueError(
      f"slot {slot.name!r}: the source has {source.config.num_groups} shared"
      " prompts; a target starts from one"
    )
  factors = parametrization.init_target_factors(
    source.params, slot.init, config.rank, emb_dim, source.names
  )
  return jnp.asarray(source.params["shared_prompt"][0]), factors
