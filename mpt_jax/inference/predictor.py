"""Predicts texts with a bank of prompts, for rows of any of its tasks.

Nothing here imports TensorFlow or seqio.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json

import numpy as np

from mpt_jax.data import templates
from mpt_jax.data.batches import EOS_ID
from mpt_jax.data.labels import per_token
from mpt_jax.inference.engine.decoding import GREEDY, Generation
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import (
  METHODS,
  Example,
  NotFiniteError,
)
from mpt_jax.inference.loading import load
from mpt_jax.inference.texts import TaskTexts
from mpt_jax.io import checks
from mpt_jax.model import partitioning
from mpt_jax.text.vocabularies import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig:
  """Settings of a `Predictor`.

  Attributes:
    method: "rank" takes the likeliest of the task's labels, "rank_per_token"
      the one with the best score per token, "decode" generates, and "auto"
      ranks if the task has labels.
    batch_size: most rows of a batch. There are fewer if they would exceed the
      engine's bound on memory.
    raw: use a row's "text" as the finished input, without the template.
    inputs_length: longest input in tokens. Longer ones are cut and counted in
      `Predictor.num_truncated`. None uses the run's length, or 512.
    targets_length: longest generated text in tokens. None uses the run's
      length, or 64.
    num_beams: above 1 generates by beam search.
    temperature: above 0 generates by sampling; 0 takes the likeliest tokens.
    top_k: top-k sampling; 0 disables it.
    seed: seed of sampling, 0 by default. The samples of a row depend on its
      number and the seed, not on other rows.

  Raises:
    ValueError: a value is out of range, or settings exclude each other.
  """

  method: str = "auto"
  batch_size: int = 64
  raw: bool = False
  inputs_length: int | None = None
  targets_length: int | None = None
  num_beams: int = 1
  temperature: float = 0.0
  top_k: int = 0
  seed: int | None = None

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.choice, "method", choices=METHODS)
    check(checks.flag, "raw")
    check(checks.whole, "batch_size", low=1)
    lengths = ("inputs_length", "targets_length")
    check(checks.whole, *lengths, low=1, optional=True)
    # `Generation` checks its own settings.
    generation = self.generation
    if self.method.startswith("rank") and generation != GREEDY:
      raise ValueError(
        f"method={self.method!r} generates nothing: num_beams and temperature"
        " belong to method 'decode'"
      )

  @property
  def generation(self) -> Generation:
    return Generation(
      num_beams=self.num_beams,
      temperature=self.temperature,
      top_k=self.top_k,
      seed=self.seed,
    )


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A row that is ready for the network.

  Attributes:
    row: the original row.
    slot: the index of its prompt in the bank.
    ids: [L] int32 token ids with the end of sequence.
  """

  row: dict
  slot: int
  ids: np.ndarray


class Predictor:
  """Predicts with the prompts of a bank and their frozen T5.

  Args:
    prompts: a prompt file, a run folder, or a loaded `PromptBank`.
    backbone: "default" or a folder with a T5. None uses the run's backbone, or
      "default" if the run is unknown.
    dtype: "float32" or "bfloat16", for the T5 and the computation. None uses
      the run's dtype, or that of the T5's folder.
    num_model_partitions: devices that share one copy of the T5. Batches are
      split over such groups of devices.
    **settings: fields of `PredictConfig`.

  Attributes:
    bank: the prompts.
    config: the `PredictConfig`, with the lengths filled in.
    num_truncated: number of inputs that were cut so far.
    num_unfinished: number of generated texts so far that reached
      targets_length without an end.
    num_tokens: tokens read and generated so far, without prompts and padding.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the files or settings do not fit each other.

  Example::

    predictor = Predictor("runs/adapt", batch_size=32)
    predictor.predict([{"text": "a fine film", "task": "rotten_tomatoes"}])
    # [{"text": "a fine film", "task": "rotten_tomatoes",
    #   "prediction": "good", "scores": {"bad": -2.31, "good": -0.14}}]
  """

  def __init__(
    self,
    prompts,
    backbone: str | None = None,
    *,
    dtype: str | None = None,
    num_model_partitions: int = 1,
    **settings,
  ):
    config = PredictConfig(**settings)
    mesh = partitioning.make_mesh(num_model_partitions)
    loaded = load(prompts, backbone, dtype)
    self.bank, self.num_truncated, self.num_tokens = loaded.bank, 0, 0
    self.num_unfinished = 0
    self._replaced, self._chosen = set(), {}
    self.config = dataclasses.replace(
      config,
      inputs_length=loaded.choose_inputs_length(config.inputs_length),
      targets_length=config.targets_length or loaded.targets_length,
    )
    self._dtype = loaded.backbone.config.dtype
    self._tokenizer = Tokenizer(loaded.backbone.vocabulary_path)
    self._texts = [
      TaskTexts.read(name, slot, self._tokenizer, config.method != "decode")
      for name, slot in zip(self.bank.names, self.bank.slots, strict=True)
    ]
    self.engine = Engine(
      loaded.backbone.config,
      loaded.backbone.params,
      self.bank.expanded,
      prompt_length=self.bank.config.prompt_length,
      mesh=mesh,
      inputs_length=self.config.inputs_length,
      targets_length=self.config.targets_length,
      batch_size=self.config.batch_size,
      generation=self.config.generation,
    )

  def fingerprint(self) -> dict:
    """Returns JSON values that identify the prompts, T5 and settings."""
    digest = hashlib.sha256(np.ascontiguousarray(self.bank.expanded).tobytes())
    digest.update(json.dumps([self.bank.names, self.bank.slots]).encode())
    return {
      "prompts": digest.hexdigest(),
      "backbone": self.bank.backbone,
      "dtype": self._dtype,
      **dataclasses.asdict(self.config),
    }

  def prepare(self, row: dict) -> Prepared:
    """Finds a row's prompt, fills the template and tokenises.

    Raises:
      TypeError: the row is not a dict.
      ValueError: the task is unknown, or a field of the template is missing
        or neither a text nor a number.
    """
    if isinstance(row, str):
      row = {"text": row}
    if not isinstance(row, dict):
      raise TypeError(
        'a row must be an object like {"text": ..., "task": ...}, got'
        f" {type(row).__name__}"
      )
    slot = self._slot(row.get("task"))
    texts = self._texts[slot]
    if self.config.method.startswith("rank") and not texts.labels:
      raise ValueError(
        f"the prompt {self.bank.names[slot]!r} has no label names to rank; use"
        " method 'decode'"
      )
    return Prepared(row, slot, texts.input_ids(row, self.config.raw))

  def _slot(self, name):
    fields = templates.fields(self.bank.slots[0].get("template") or "")
    if len(self.bank.names) == 1 and "task" in fields and not self.config.raw:
      return 0  # "task" is a field of the template.
    if name is not None:
      return self._named(str(name))
    if len(self.bank.names) > 1:
      raise ValueError(
        "no 'task' is given and the bank has several prompts:"
        f" {', '.join(self.bank.names)}"
      )
    return 0

  def _named(self, task) -> int:
    """Returns a prompt, or the best one of a task, which `notes` names."""
    found = self.bank.of_task(task)
    scored = all(self.bank.slots[i].get("metrics") for i in found)
    if task in self.bank.names or len(found) < 2 or not scored:
      return self.bank.index(task)
    best = self.bank.best_of(found)
    name, value = next(iter(self.bank.slots[best]["metrics"].items()))
    self._chosen[task] = (
      f"{task!r} has {len(found)} prompts; the answers are by the best of them,"
      f" {self.bank.names[best]!r} ({name} {value:.3f})"
    )
    return best

  def notes(self) -> list[str]:
    """Says in a line each what was cut or replaced so far."""
    notes = list(self._chosen.values())
    if self._replaced:
      names = " and ".join(map(repr, sorted(self._replaced)))
      notes.append(
        f"rows had fields {names} already; the output has the new values"
      )
    if count := self.num_truncated:
      notes.append(
        f"{count} {'input was' if count == 1 else 'inputs were'} longer than"
        f" {self.config.inputs_length} tokens and cut"
      )
    if count := self.num_unfinished:
      notes.append(
        f"{count} generated {'text' if count == 1 else 'texts'} reached"
        f" {self.config.targets_length} tokens without an end;"
        " --max-target-length allows more"
      )
    return notes

  def predict(self, rows) -> list[dict]:
    """Predicts for rows of any of the bank's tasks.

    Args:
      rows: dicts with "task" and with the fields of the task's template, or
        "text"; a text alone stands for such a dict. "task" is the name of a
        prompt or of a task, whose best prompt answers. It is optional if the
        bank has one prompt.

    Returns:
      A copy of each row, in order, with "prediction". If labels were ranked, it
      also has "scores", the log-probability of each label (per token, if the
      method is "rank_per_token"), and "probabilities", which sum to one over
      the labels.

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

  def run(
    self, prepared, first_row: int = 0, advance=lambda count: None
  ) -> list[dict]:
    """Predicts for prepared rows; see `predict`.

    Args:
      prepared: list of `Prepared`.
      first_row: number of the first row, on which sampling depends.
      advance: called after each batch with its number of rows.

    Raises:
      NotFiniteError: the scores of a row are NaN or infinite.
    """
    lengths = [len(p.ids) for p in prepared]
    longest = self.config.inputs_length
    self.num_truncated += sum(length > longest for length in lengths)
    self.num_tokens += sum(min(length, longest) for length in lengths)
    examples = [Example(p.ids, p.slot, self._ranked(p.slot)) for p in prepared]
    ranked = [i for i, e in enumerate(examples) if e.candidates]
    free = [i for i, e in enumerate(examples) if not e.candidates]
    results = [None] * len(prepared)
    with _numbered(ranked, first_row):
      made = self.engine.rank([examples[i] for i in ranked], advance)
    for i, scores in zip(ranked, made, strict=True):
      if self.config.method == "rank_per_token":
        scores = per_token(scores, examples[i].candidates)
      answer = self._texts[prepared[i].slot].ranked(scores)
      self._replaced |= answer.keys() & prepared[i].row.keys()
      results[i] = {**prepared[i].row, **answer}
    with _numbered(free, first_row):
      tokens = self.engine.generate(
        [examples[i] for i in free], [first_row + i for i in free], advance
      )
    self.num_tokens += int(np.count_nonzero(tokens))
    self.num_unfinished += int(np.sum(~np.any(tokens == EOS_ID, axis=1)))
    for i, row in zip(free, tokens, strict=True):
      answer = self._texts[prepared[i].slot].generated(row)
      self._replaced |= {"prediction"} & prepared[i].row.keys()
      results[i] = {**prepared[i].row, **answer}
    return results

  def _ranked(self, slot):
    """Returns the candidates of a slot, or none if it generates."""
    if self.config.method == "decode":
      return ()
    return self._texts[slot].candidates


@contextlib.contextmanager
def _numbered(rows, first_row):
  """Gives the number of the row in an error of the engine."""
  try:
    yield
  except NotFiniteError as error:
    number = first_row + rows[error.index] + 1
    raise NotFiniteError(error.index, f"row {number}") from None
