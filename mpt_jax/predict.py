"""Text in, text out: predictions with a bank of prompts, its tasks mixed.

Nothing here imports TensorFlow or seqio.
"""

import dataclasses
import functools
import json
import pathlib
import string

import jax
import numpy as np

from mpt_jax import decoding
from mpt_jax.backbones import check_vocabulary, load_backbone
from mpt_jax.bank import PromptBank, load_bank
from mpt_jax.batches import EOS_ID, BatchConfig, make_batch
from mpt_jax.evaluation import METHODS
from mpt_jax.network import T5
from mpt_jax.prompts import PromptConfig
from mpt_jax.vocabularies import Tokenizer

# Of prompts whose run folder is not at hand.
INPUTS_LENGTH, TARGETS_LENGTH = 512, 64


def run_settings(path) -> dict:
  """The experiment.json of the run that a prompt file or folder belongs to.

  Args:
    path: a run folder, or a file in its prompts/.

  Returns:
    The settings, empty where the file lies elsewhere.
  """
  path = pathlib.Path(path)
  for folder in (path, path.absolute().parent.parent):
    settings = folder / "experiment.json"
    if settings.is_file():
      return json.loads(settings.read_text(encoding="utf-8"))
  return {}


def run_backbone(settings) -> str:
  """The backbone that a run's settings name, "default" where none does."""
  name = settings.get("backbone", "default")
  return name if isinstance(name, str) else "default"


def run_lengths(settings) -> tuple[int, int]:
  """(inputs_length, targets_length) of a run's settings, or the defaults."""
  batch = settings.get("batch", {})
  return (
    batch.get("inputs_length", INPUTS_LENGTH),
    batch.get("targets_length", TARGETS_LENGTH),
  )


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A row that is ready for the network.

  Attributes:
    row: the row as it was given.
    slot: its prompt's place in the bank.
    ids: [L] int32 token ids, end of sequence included.
  """

  row: dict
  slot: int
  ids: np.ndarray


class Predictor:
  """Predicts with the prompts of a bank over their frozen T5.

  Args:
    prompts: a prompt file, a run folder, or a loaded `PromptBank`.
    backbone: "default", or a folder with a T5. None: the one that the run
      names, "default" where that is not known.
    method: "rank" takes the likeliest of the task's labels, "decode"
      generates; "auto" ranks where the task has labels.
    batch_size: rows of a batch.
    raw: take a row's "text" as the finished input, past the template.
    inputs_length: longest input in tokens; longer ones are cut and counted in
      `num_truncated`. None: the run's, or 512.
    targets_length: longest generated text in tokens. None: the run's, or 64.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: files that do not fit each other, or an unknown method.
  """

  def __init__(
    self,
    prompts,
    backbone: str | None = None,
    *,
    method: str = "auto",
    batch_size: int = 32,
    raw: bool = False,
    inputs_length: int | None = None,
    targets_length: int | None = None,
  ):
    if method not in METHODS:
      raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if batch_size < 1:
      raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    settings = {}
    if not isinstance(prompts, PromptBank):
      settings = run_settings(prompts)
      # Before the T5, which takes longer to load.
      load_bank(prompts)
    loaded = load_backbone(backbone or run_backbone(settings))
    check_vocabulary(loaded)
    if isinstance(prompts, PromptBank):
      bank = check_backbone(prompts, loaded.fingerprint)
    else:
      bank = load_bank(prompts, loaded.fingerprint)
    self.bank, self.num_truncated = bank, 0
    self._method, self._raw, self._batch_size = method, raw, batch_size
    self._tokenizer = Tokenizer(loaded.vocabulary_path)
    lengths = run_lengths(settings)
    self._config = BatchConfig(
      inputs_length=inputs_length or lengths[0],
      targets_length=targets_length or lengths[1],
      prompt_length=bank.config.prompt_length,
      num_tasks=len(bank.names),
      pack=False,
    )
    self._labels = [slot.get("label_names") for slot in bank.slots]
    self._candidates = [
      labels and [self._with_eos(label) for label in labels]
      for labels in self._labels
    ]
    network = T5(
      loaded.config, PromptConfig(len(bank.names), bank.config.prompt_length, 0)
    )
    self._params = jax.device_put(
      {**loaded.params, "prompt": {"shared_prompt": bank.composed}}
    )
    self._score = jax.jit(
      functools.partial(decoding.score_candidates, network),
      static_argnames="num_candidates",
    )
    self._decode = jax.jit(
      functools.partial(decoding.greedy_decode, network),
      static_argnames="max_length",
    )

  @property
  def inputs_length(self) -> int:
    return self._config.inputs_length

  def _with_eos(self, text):
    return np.array([*self._tokenizer.encode(text), EOS_ID], np.int32)

  def prepare(self, row: dict) -> Prepared:
    """Finds a row's prompt, fills the template and tokenises.

    Raises:
      TypeError: the row is not a dict.
      ValueError: no such task, or a field that the template needs is missing.
    """
    if not isinstance(row, dict):
      raise TypeError(
        'a row must be an object like {"text": ..., "task": ...}, got'
        f" {type(row).__name__}"
      )
    slot = self._slot(row.get("task"))
    if self._method == "rank" and not self._labels[slot]:
      raise ValueError(
        f"the prompt {self.bank.names[slot]!r} has no label names to rank; use"
        " method 'decode'"
      )
    return Prepared(row, slot, self._with_eos(self._input_text(row, slot)))

  def _slot(self, name):
    if name is not None:
      return self.bank.index(str(name))
    if len(self.bank.names) > 1:
      raise ValueError(
        "no 'task' is given and the bank has several prompts:"
        f" {', '.join(self.bank.names)}"
      )
    return 0

  def _input_text(self, row, slot):
    template = self.bank.slots[slot].get("template")
    if self._raw or not template:
      if row.get("text") is None:
        raise ValueError(f"no field 'text'; the row has {', '.join(row)}")
      return str(row["text"])
    fields = [f for _, f, _, _ in string.Formatter().parse(template) if f]
    # True and False are the classes 1 and 0, as in the tasks.
    row = {k: int(v) if isinstance(v, bool) else v for k, v in row.items()}
    if len(set(fields)) == 1 and "text" in row:
      row.setdefault(fields[0], row["text"])
    missing = [f for f in dict.fromkeys(fields) if row.get(f) is None]
    if missing:
      raise ValueError(
        f"no field {', '.join(map(repr, missing))} for the template"
        f" {template!r} of {self.bank.names[slot]!r}; the row has"
        f" {', '.join(row)}"
      )
    return template.format(**row)

  def predict(self, rows) -> list[dict]:
    """Predicts for rows of any of the bank's tasks.

    Args:
      rows: dicts with "task" (a prompt's name, or a task that has one prompt
        only; may be left out where the bank has one prompt) and the fields of
        the task's template, or "text".

    Returns:
      For each row, in order, a copy of it with "prediction" and, where labels
      were ranked, "scores": the log-probability of each.

    Raises:
      TypeError, ValueError: a row does not fit; the message has its number.
    """
    prepared = []
    for number, row in enumerate(rows):
      try:
        prepared.append(self.prepare(row))
      except (TypeError, ValueError) as error:
        raise type(error)(f"row {number}: {error}") from error
    return self.run(prepared)

  def run(self, prepared) -> list[dict]:
    """`predict` for rows that were prepared before."""
    results = [None] * len(prepared)
    self.num_truncated += sum(
      len(p.ids) > self._config.inputs_length for p in prepared
    )
    ranked, decoded = [], []
    # Rows of like length share a batch.
    for i in sorted(range(len(prepared)), key=lambda i: len(prepared[i].ids)):
      labels = self._labels[prepared[i].slot]
      rank = self._method == "rank" or (self._method == "auto" and labels)
      (ranked if rank else decoded).append(i)
    for chosen, run in ((ranked, self._rank), (decoded, self._generate)):
      # A power of two, so that the last batch is not of any size.
      num_rows = 1 << max(0, len(chosen) - 1).bit_length()
      num_rows = min(self._batch_size, num_rows)
      for start in range(0, len(chosen), num_rows):
        part = chosen[start : start + num_rows]
        made = run([prepared[i] for i in part], num_rows)
        for i, result in zip(part, made, strict=True):
          results[i] = {**prepared[i].row, **result}
    return results

  def _batch(self, part, targets, num_rows):
    examples = [
      {"inputs": p.ids, "targets": t, "task_id": p.slot}
      for p, t in zip(part, targets, strict=True)
    ]
    # A few lengths only: each is compiled once.
    c = self._config
    longest = min(max(len(p.ids) for p in part), c.inputs_length)
    length = c.prompt_length + longest
    bucket = 32
    while bucket < length:
      bucket *= 2
    targets_length = max(len(x) for t in targets for x in t)
    config = dataclasses.replace(
      c, length_multiple=bucket, targets_length=targets_length
    )
    return make_batch(examples, config, num_rows)[0]

  def _rank(self, part, num_rows):
    candidates = [self._candidates[p.slot] for p in part]
    most = max(len(c) for c in self._candidates if c)
    scores = np.asarray(
      self._score(
        self._params,
        self._batch(part, candidates, num_rows),
        num_candidates=num_rows * most,
      )
    )
    start = 0
    for p, c in zip(part, candidates, strict=True):
      labels, own = self._labels[p.slot], scores[start : start + len(c)]
      start += len(c)
      yield {
        "prediction": labels[int(own.argmax())],
        "scores": dict(zip(labels, map(float, own), strict=True)),
      }

  def _generate(self, part, num_rows):
    # The targets are not looked at: any token stands for them.
    targets = [[np.array([2, EOS_ID])]] * len(part)
    tokens = self._decode(
      self._params,
      self._batch(part, targets, num_rows),
      max_length=self._config.targets_length,
    )
    for _, row in zip(part, np.asarray(tokens), strict=False):
      yield {"prediction": self._tokenizer.decode(row)}


def check_backbone(bank: PromptBank, fingerprint: str) -> PromptBank:
  """Returns the bank; ValueError where it belongs to another T5."""
  if bank.backbone != fingerprint:
    raise ValueError(
      "the prompts were trained on another T5 (fingerprint"
      f" {bank.backbone}, this one is {fingerprint}); load the backbone they"
      " belong to"
    )
  return bank
