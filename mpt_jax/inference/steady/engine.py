"""The steady engine: an answer depends on its own example alone, to the bit.

A float32 product is rounded in another order if its shape changes. So an
example gets the same shapes whatever shares its batch: one of a few row
lengths, which its own length decides; one of a few target lengths; and fixed
numbers of rows. On a CPU the encoder still gets examples without padding
between them, because its products give each position the same bits in any
number of positions that is not very small, see `shapes.FEWEST_ROWS`. `mpt
predict` and `mpt serve` use this engine.

Axis letters: B rows, L length, T target_length, P prompt_length, D emb_dim,
R prompts of a batch, F positions, S tokens whose embeddings are added to.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax.data.batches import EOS_ID
from mpt_jax.inference import batching
from mpt_jax.inference.engine import Engine, Example, NotFiniteError
from mpt_jax.inference.steady import offline, ragged
from mpt_jax.inference.steady.shapes import Shapes, target_length
from mpt_jax.model import choice, partitioning
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.network import T5
from mpt_jax.model.plan import DENSE
from mpt_jax.prompts.config import PromptConfig

_ARRAYS = ("input_tokens", "segment_ids", "prompt_positions", "slot_ids")


class Encoded(NamedTuple):
  """What the encoder made of some examples.

  Attributes:
    states: [B, L, D] on the devices.
    starts: for each example its first position in [B·L, D].
    sizes: for each example its number of positions.
  """

  states: Any
  starts: list[int]
  sizes: list[int]


class SteadyEngine(Engine):
  """An `Engine` whose answers do not depend on what shares a batch.

  The prompt of an `Example` is its index, or the prompt itself, [P + S, D]
  float32.

  Attributes:
    shapes: the `Shapes` that examples get.
    plan: the plan of attention.
  """

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    self._prepare()

  def _prepare(self):
    """Derives the shapes from the settings and the prompts."""
    longest = self._prompt_length + self.inputs_length
    joined = self._joins and longest > choice.SHORT_ROW
    self.plan = DENSE
    if joined:
      self.plan = BySegments(longest, self._prompt_length + 1)
    leaves = jax.tree.leaves(self._params)
    taken = sum(x.nbytes for x in leaves) // self.mesh.shape["model"]
    self.shapes = Shapes(
      prompt_length=self._prompt_length,
      inputs_length=self.inputs_length,
      targets_length=self.targets_length,
      batch_size=self.batch_size,
      num_beams=self.generation.num_beams,
      devices=self.mesh.shape["data"],
      joined=joined,
      memory=batching.Memory(self.config, max(batching.MAX_BYTES, taken)),
    )

  def _set_prompts(self, prompts):
    super()._set_prompts(None)
    if prompts is not None:
      self._prompts = partitioning.fetch(prompts)
      self.num_prompts, length = self._prompts.shape[:2]
      self._prompt_length = self._given_length or length
    if hasattr(self, "shapes"):
      self._prepare()

  # ----------------------------------------------------------------- encode

  def size(self, example: Example) -> int:
    """Encoder positions of an example, prompt included."""
    return self._prompt_length + min(len(example.inputs), self.inputs_length)

  def encode(self, examples: Sequence[Example], shape) -> Encoded:
    """Runs the encoder once.

    Args:
      examples: the examples, which fit the shape; see `Shapes.take_batch`.
      shape: (rows, positions of a row).
    """
    arrays = {name: np.zeros(shape, np.int32) for name in _ARRAYS}
    flat = {name: array.reshape(-1) for name, array in arrays.items()}
    starts, sizes, numbers, prompts = [], [], {}, []
    length, start = self._prompt_length, 0
    for i, example in enumerate(examples):
      if not self.shapes.joined:
        start = i * shape[1]
      size = self.size(example)
      tokens, end = start + length, start + size
      ids = flat["input_tokens"][tokens:end]
      ids[:] = example.inputs[: self.inputs_length]
      if len(example.inputs) > self.inputs_length:
        ids[-1] = EOS_ID
      flat["segment_ids"][start:end] = i + 1 if self.shapes.joined else 1
      if length:
        # Examples of one prompt share its copy.
        prompt = example.prompt
        key = id(prompt) if isinstance(prompt, np.ndarray) else int(prompt)
        if numbers.setdefault(key, len(prompts)) == len(prompts):
          prompts.append(self._find_prompt(prompt))
        flat["slot_ids"][start:end] = numbers[key]
        flat["prompt_positions"][start:tokens] = np.arange(1, length + 1)
      starts.append(start)
      sizes.append(size)
      start = end
    arrays = {f"encoder_{name}": array for name, array in arrays.items()}
    return Encoded(self._run_encoder(arrays, prompts), starts, sizes)

  def _find_prompt(self, prompt):
    if isinstance(prompt, np.ndarray):
      return prompt
    return self._prompts[prompt]

  def _run_encoder(self, arrays, prompts):
    rows, length = arrays["encoder_input_tokens"].shape
    inputs = partitioning.put_batch(self.mesh, arrays)
    if self._prompt_length:
      most = rows
      if self.shapes.joined:
        most = length // (self._prompt_length + 1)
      table = np.zeros((most, *self._prompts.shape[1:]), np.float32)
      for i, prompt in enumerate(prompts):
        table[i] = prompt
      inputs["prompts"] = partitioning.put(
        table, partitioning.replicated(self.mesh)
      )
    return self.programs(self.plan).encode(self._params, inputs)

  def rows(self, encoded: Encoded, chosen, num_rows: int) -> dict:
    """Takes the states of some examples, of one row length, as plain rows.

    Args:
      encoded: the states.
      chosen: which of its examples, at most `num_rows`.
      num_rows: B.

    Returns:
      "encoded" [B, L, D], which is 0 at padding, and "encoder_segment_ids"
      [B, L].
    """
    sizes = [encoded.sizes[i] for i in chosen]
    length = self.shapes.row_length(max(sizes))
    places = np.zeros((num_rows, length), np.int32)
    present = np.zeros((num_rows, length), np.int32)
    for row, i in enumerate(chosen):
      size = encoded.sizes[i]
      places[row, :size] = np.arange(
        encoded.starts[i], encoded.starts[i] + size
      )
      present[row, :size] = 1
    put = partitioning.put_batch(self.mesh, (places, present))
    return {
      "encoded": _take(encoded.states, *put),
      "encoder_segment_ids": put[1],
    }

  @property
  def prompt_length(self) -> int:
    """P, 0 for the T5 alone."""
    return self._prompt_length

  @property
  def params(self):
    """The parameters of the T5 on the devices."""
    return self._params

  # ------------------------------------------------------------------- rank

  def score(self, encoded: Encoded, examples, chosen) -> list[np.ndarray]:
    """Scores the candidates of some encoded examples.

    Args:
      encoded: the states.
      examples: the examples that were encoded.
      chosen: which of them: of one row length and one target length, and at
        most `Shapes.score_rows`.

    Returns:
      For each chosen example, [candidates] float32 log-probabilities in nats.
    """
    part = [examples[i] for i in chosen]
    targets = target_length(part[0].candidates)
    length = self.shapes.row_length(encoded.sizes[chosen[0]])
    num_rows = self.shapes.score_rows(length, targets)
    states = self.rows(encoded, chosen, num_rows)
    parts = [batching.cut_candidates(e.candidates, targets) for e in part]
    scores = [[] for _ in part]
    for k in range(max(map(len, parts))):
      now = [own[k] if k < len(own) else [] for own in parts]
      arrays = self._targets(now, num_rows, targets)
      made = self.programs(self.plan).score(
        self._params,
        {**states, **partitioning.put_batch(self.mesh, arrays)},
        num_candidates=num_rows * targets,
      )
      made, start = np.asarray(made), 0
      for own, candidates in zip(scores, now, strict=True):
        own.append(made[start : start + len(candidates)])
        start += len(candidates)
    return [np.concatenate(own) for own in scores]

  def _targets(self, candidates, num_rows, targets):
    """The decoder's arrays of lists of candidates, see `batches.make_batch`."""
    batch = batching.Batch([], num_rows, self._prompt_length + 1)
    ids = np.array([EOS_ID], np.int32)
    rows = [(Example(ids), own) for own in candidates]
    made = self._rows(rows, batch, targets)
    return {k: v for k, v in made.items() if k.startswith("decoder_")}

  def divide(self, examples, chosen) -> list[list[int]]:
    """Groups encoded examples that are scored together, see `score`."""
    groups = {}
    for i in chosen:
      length = self.shapes.row_length(self.size(examples[i]))
      targets = target_length(examples[i].candidates)
      groups.setdefault((length, targets), []).append(i)
    return [
      own[start : start + count]
      for shape, own in groups.items()
      for count in (self.shapes.score_rows(*shape),)
      for start in range(0, len(own), count)
    ]

  def rank(self, examples, advance=lambda count: None):
    results = [None] * len(examples)
    for i, example in enumerate(examples):
      if not len(example.candidates):
        raise ValueError(f"example {i} has no candidates to rank")
    for members in self._encoder_batches(examples):
      part = [examples[i] for i in members]
      _, shape = self.shapes.take_batch([self.size(e) for e in part])
      encoded = self.encode(part, shape)
      for chosen in self.divide(part, range(len(part))):
        made = self.score(encoded, part, chosen)
        for k, scores in zip(chosen, made, strict=True):
          if not np.isfinite(scores).all():
            raise NotFiniteError(members[k])
          results[members[k]] = scores
      advance(len(members))
    return results

  def _encoder_batches(self, examples):
    """Yields lists of examples, the longest first, as the encoder gets them."""
    for i, example in enumerate(examples):
      prompt = example.prompt
      if isinstance(prompt, np.ndarray):
        continue
      if not 0 <= prompt < max(1, self.num_prompts):
        raise ValueError(
          f"the prompt of example {i} must be in"
          f" [0, {max(1, self.num_prompts)}), got {prompt}"
        )
    rest = sorted(range(len(examples)), key=lambda i: -self.size(examples[i]))
    while rest:
      chosen, _ = self.shapes.take_batch([self.size(examples[i]) for i in rest])
      yield [rest[k] for k in chosen]
      taken = set(chosen)
      rest = [i for k, i in enumerate(rest) if k not in taken]

  # --------------------------------------------------------------- generate

  def table_programs(self) -> ragged.Programs:
    """Returns the compiled functions of tables of decoding."""
    return make_table_programs(
      self.config,
      self._prompt_length,
      self.plan,
      self.mesh,
      self.targets_length,
      self.generation.top_k,
    )

  def start_table(self, length: int) -> dict:
    """Makes a table of free rows for decoding, see `ragged`."""
    return self.table_programs().start(
      self._params, num_rows=self.shapes.num_rows(length), length=length
    )

  def admit(self, table, encoded, chosen, rows, temperatures, keys) -> dict:
    """Puts encoded examples of one row length into a table.

    Args:
      table: the table, which must not be used again.
      encoded: the states.
      chosen: which of its examples, at most `Shapes.score_rows`.
      rows: the row of each in the table.
      temperatures: the temperature of each; 0 is greedy.
      keys: [chosen, 2] uint32, see `ragged.row_keys`.
    """
    count = self.shapes.admit_rows
    spare = count - len(chosen)
    return self.table_programs().admit(
      self._params,
      table,
      *self.rows(encoded, chosen, count).values(),
      np.array([*rows, *[1 << 30] * spare], np.int32),
      np.array([*temperatures, *[0.0] * spare], np.float32),
      np.concatenate([keys, np.zeros((spare, 2), np.uint32)]).astype(np.uint32),
    )

  def run_table(self, table, steps: int, enough: int) -> dict:
    """Decodes in a table; see `ragged.Programs`."""
    return self.table_programs().run(
      self._params, table, np.int32(steps), np.int32(enough)
    )

  def generate(self, examples, row_ids=None, advance=lambda count: None):
    results = np.zeros((len(examples), self.targets_length), np.int32)
    row_ids = range(len(examples)) if row_ids is None else row_ids
    row_ids = np.asarray(list(row_ids), np.int32)
    decode = offline.decode
    if self.generation.num_beams > 1:
      decode = offline.search
    groups = {}
    for members in self._encoder_batches(examples):
      for i in members:
        length = self.shapes.row_length(self.size(examples[i]))
        groups.setdefault(length, []).append(i)
    for length, members in groups.items():
      decode(self, examples, length, members, row_ids, results, advance)
    return results


@jax.jit
def _take(states, places, present):
  rows = states.reshape(-1, states.shape[-1])[places]
  return jnp.where(present[..., None] > 0, rows, 0)


@functools.lru_cache(maxsize=16)
def make_table_programs(
  config, prompt_length, plan, mesh, targets_length, top_k
):
  """Returns the programs of tables, cached within the process."""
  prompts = None
  if prompt_length:
    prompts = PromptConfig(num_slots=1, prompt_length=prompt_length, rank=0)
  return ragged.make_programs(
    T5(config, prompts, plan),
    targets_length,
    top_k,
    partitioning.replicated(mesh),
  )
