"""Text in, text out: predictions with a bank of prompts, its tasks mixed.

Nothing here imports TensorFlow or seqio.
"""

import dataclasses
import functools
import hashlib
import json
import string

import jax
import numpy as np

from mpt_jax.backbones.backbone import check_vocabulary, load_backbone
from mpt_jax.data.batches import EOS_ID, BatchConfig, join_rows, make_batch
from mpt_jax.data.row_lengths import next_size, row_lengths
from mpt_jax.data.vocabularies import Tokenizer
from mpt_jax.inference import decoding
from mpt_jax.inference.evaluator import METHODS
from mpt_jax.io import run_settings
from mpt_jax.model import partitioning
from mpt_jax.model.cpu import strategy
from mpt_jax.model.network import T5
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.bank import PromptBank, check_backbone, load_bank
from mpt_jax.prompts.parametrization import PromptConfig
from mpt_jax.prompts.plain import plain_params

# Positions that the encoder gets at once where rows are joined, or that the
# longest row has.
LONG_ROW = 8192


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
    batch_size: rows of a batch at most; fewer where there are fewer, or where
      they are long and one CPU encodes them (see `batches.join_rows`).
    raw: take a row's "text" as the finished input, past the template.
    inputs_length: longest input in tokens; longer ones are cut and counted in
      `num_truncated`. None: the run's, or 512.
    targets_length: longest generated text in tokens. None: the run's, or 64.
    num_beams: above 1 generates by beam search.
    temperature: above 0 generates by sampling; 0 takes the likeliest tokens.
    top_k: sample from the so many likeliest tokens only; 0 is from all.
    seed: of sampling, 0 by default. Row and seed decide what is drawn, not the
      rows beside it.
    dtype: "float32" or "bfloat16", of the T5 and of the computation. None: the
      run's, or what the T5's folder says.
    num_model_partitions: devices that share one copy of the T5; the rest
      share the batches.

  Attributes:
    num_truncated: inputs that were cut so far.
    num_tokens: tokens read and generated so far, without prompts and padding.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: files or settings that do not fit each other.
  """

  def __init__(
    self,
    prompts,
    backbone: str | None = None,
    *,
    method: str = "auto",
    batch_size: int = 64,
    raw: bool = False,
    inputs_length: int | None = None,
    targets_length: int | None = None,
    num_beams: int = 1,
    temperature: float = 0.0,
    top_k: int = 0,
    seed: int | None = None,
    dtype: str | None = None,
    num_model_partitions: int = 1,
  ):
    if method not in METHODS:
      raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    for name, value in (
      ("batch_size", batch_size),
      ("num_beams", num_beams),
      ("inputs_length", inputs_length),
      ("targets_length", targets_length),
    ):
      if value is None and name.endswith("length"):
        continue
      if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(
          f"{name} must be a whole number of at least 1, got {value!r}"
        )
    settings = {}
    if not isinstance(prompts, PromptBank):
      settings = run_settings.read(prompts)
      # Before the T5, which takes longer to load.
      load_bank(prompts)
    self._mesh = partitioning.make_mesh(num_model_partitions)
    loaded = load_backbone(
      backbone or run_settings.backbone(settings),
      dtype or settings.get("dtype"),
      settings.get("vocabulary_path"),
    )
    check_vocabulary(loaded)
    if isinstance(prompts, PromptBank):
      bank = prompts
      check_backbone(bank, loaded.fingerprint)
    else:
      bank = load_bank(prompts, loaded.fingerprint)
    self.bank, self.num_truncated, self.num_tokens = bank, 0, 0
    self.batch_size = batch_size
    self._method, self._raw = method, raw
    self._tokenizer = Tokenizer(loaded.vocabulary_path)
    lengths = run_settings.lengths(settings)
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
    plan = Dense()
    if strategy.suits_devices():
      plan = strategy.BySegments.for_batches(self._config)
    self._joins_rows = plan.joins_rows
    network = T5(
      loaded.config,
      PromptConfig(len(bank.names), bank.config.prompt_length, 0),
      plan,
    )
    self._params = partitioning.put_params(
      self._mesh,
      network,
      {**loaded.params, "prompt": plain_params(bank.composed)},
    )
    self._score = jax.jit(
      functools.partial(decoding.score_candidates, network),
      static_argnames="num_candidates",
    )
    generation = dict(
      num_beams=num_beams, temperature=temperature, top_k=top_k, seed=seed
    )
    self._decode = decoding.make_decoder(network, **generation)
    self._encode = jax.jit(functools.partial(decoding.encode, network))
    # The decoder takes up rows as they were before they were joined.
    self._take = jax.jit(lambda states, positions: states[positions])
    if method == "rank" and (num_beams > 1 or temperature):
      raise ValueError(
        "method='rank' generates nothing: num_beams and temperature are of"
        " method 'decode'"
      )
    self._row_lengths = row_lengths(
      self._config.prompt_length, self._config.inputs_length
    )
    if self._joins_rows:
      # The encoder, most of the work, does not see this padding.
      self._row_lengths = self._row_lengths[::2]
    self.settings = {
      "method": method,
      "raw": raw,
      "batch_size": batch_size,
      "inputs_length": self._config.inputs_length,
      "targets_length": self._config.targets_length,
      "dtype": loaded.config.dtype,
      **generation,
    }

  @property
  def inputs_length(self) -> int:
    return self._config.inputs_length

  def fingerprint(self) -> dict:
    """What predictions depend on but for the rows, for JSON."""
    digest = hashlib.sha256(np.ascontiguousarray(self.bank.composed).tobytes())
    digest.update(json.dumps([self.bank.names, self.bank.slots]).encode())
    return {
      "prompts": digest.hexdigest(),
      "backbone": self.bank.backbone,
      **self.settings,
    }

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
    fields = _fields(self.bank.slots[0].get("template") or "")
    if len(self.bank.names) == 1 and "task" in fields and not self._raw:
      return 0  # It is a field of the text.
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
        raise ValueError(_lacks(["text"], row))
      return str(row["text"])
    fields = _fields(template)
    # True and False are the classes 1 and 0, as in the tasks.
    values = {k: int(v) if isinstance(v, bool) else v for k, v in row.items()}
    if len(set(fields)) == 1 and "text" in row:
      values.setdefault(fields[0], row["text"])
    missing = [f for f in dict.fromkeys(fields) if values.get(f) is None]
    if missing:
      of = f" for the template {template!r} of {self.bank.names[slot]!r}"
      raise ValueError(_lacks(missing, row, of))
    return template.format(**values)

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

  def run(self, prepared, first_row: int = 0, advance=None) -> list[dict]:
    """`predict` for rows that were prepared before.

    Args:
      prepared: list of `Prepared`.
      first_row: number of the first row, which sampling depends on.
      advance: called with the number of rows of each batch that is done.
    """
    results = [None] * len(prepared)
    c = self._config
    lengths = [min(len(p.ids), c.inputs_length) for p in prepared]
    self.num_truncated += sum(len(p.ids) > c.inputs_length for p in prepared)
    self.num_tokens += sum(lengths)
    groups = {}
    # Rows of like length share a batch.
    for i in sorted(range(len(prepared)), key=lambda i: -lengths[i]):
      groups.setdefault(self._target_length(prepared[i].slot), []).append(i)
    for target_length, chosen in groups.items():
      while chosen:
        sizes = [c.prompt_length + lengths[i] for i in chosen]
        count, row_length, num_rows, positions = self._shape(sizes)
        part, chosen = chosen[:count], chosen[count:]
        config = dataclasses.replace(
          c,
          inputs_length=row_length - c.prompt_length,
          targets_length=target_length or 2,
          length_multiple=1,
          num_rows=num_rows,
        )
        if target_length:
          made = self._rank([prepared[i] for i in part], config, positions)
        else:
          row_ids = np.zeros(num_rows, np.int32)
          row_ids[: len(part)] = first_row + np.array(part)
          made = self._generate(
            [prepared[i] for i in part], config, positions, row_ids
          )
        for i, result in zip(part, made, strict=True):
          results[i] = {**prepared[i].row, **result}
        if advance:
          advance(len(part))
    return results

  def _target_length(self, slot):
    """Decoder positions for the slot's labels, 0 where it generates."""
    if self._method == "decode" or not self._labels[slot]:
      return 0
    # Powers of two: tasks with about as many labels share their batches.
    size = sum(map(len, self._candidates[slot]))
    return max(8, 1 << (size - 1).bit_length())

  def _shape(self, sizes):
    """The next batch of rows that have so many positions, the longest first.

    Returns:
      How many of the rows it takes, its row length and number of rows, and the
      positions of the row in which the encoder gets them joined.
    """
    row_length = min(n for n in self._row_lengths if n >= sizes[0])
    num_rows, most = self.batch_size, sum(sizes)
    if self._joins_rows:
      most = max(LONG_ROW, sizes[0])
      # With some to spare for those that are shorter than the first.
      num_rows = min(num_rows, -(-most * 5 // (4 * row_length)))
    # Batches of about as many rows: a small last one costs as much time.
    num_batches = max(-(-len(sizes) // num_rows), -(-sum(sizes) // most))
    total = np.cumsum(sizes)
    fitting = lambda positions: int(np.searchsorted(total, positions, "right"))
    count = min(-(-len(sizes) // num_batches), fitting(most), num_rows)
    positions = min(next_size(int(total[count - 1])), most)
    if self._joins_rows:
      count = min(fitting(positions), num_rows)
    while -(-num_rows // 2) >= count and num_rows > 1:
      num_rows = -(-num_rows // 2)
    devices = self._mesh.shape["data"]
    return count, row_length, -(-num_rows // devices) * devices, positions

  def _batch(self, part, targets, config, positions):
    examples = [
      {"inputs": p.ids, "targets": t, "task_id": p.slot}
      for p, t in zip(part, targets, strict=True)
    ]
    batch = make_batch(examples, config)[0]
    if not self._joins_rows:
      return partitioning.put_batch(self._mesh, batch)
    joined, places = join_rows(batch, positions)
    states = self._encode(self._params, joined)[0]
    return {
      "encoded": self._take(states, places),
      "encoder_segment_ids": batch["encoder_segment_ids"],
      **{name: batch[name] for name in batch if name.startswith("decoder_")},
    }

  def _rank(self, part, config, positions):
    candidates = [self._candidates[p.slot] for p in part]
    scores = np.asarray(
      self._score(
        self._params,
        self._batch(part, candidates, config, positions),
        # A candidate has a token at least.
        num_candidates=config.num_rows * config.targets_length,
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

  def _generate(self, part, config, positions, row_ids):
    # The targets are not looked at: any token stands for them.
    targets = [np.array([2, EOS_ID])] * len(part)
    tokens = np.asarray(
      self._decode(
        self._params,
        self._batch(part, targets, config, positions),
        partitioning.put_batch(self._mesh, row_ids),
        max_length=self._config.targets_length,
      )
    )[: len(part)]
    self.num_tokens += int(np.count_nonzero(tokens))
    for row in tokens:
      yield {"prediction": self._tokenizer.decode(row)}


def _fields(template: str) -> list[str]:
  """The names of a template's fields."""
  return [f for _, f, _, _ in string.Formatter().parse(template) if f]


def _lacks(missing, row, of="") -> str:
  """What is wrong with a row that lacks these fields, or has null in them."""
  null = [name for name, value in row.items() if value is None]
  return (
    f"no field {', '.join(map(repr, missing))}{of}; the row has"
    f" {', '.join(row) or 'none'}"
    + (f", of which {', '.join(null)} null" if null else "")
  )
