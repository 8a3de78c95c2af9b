"""Ranks candidates and generates, with prompts and a frozen T5.

Evaluation during training, `mpt eval`, `mpt predict`, `mpt serve`, the
quickstart and sweeps all use this engine, so one question has one answer
everywhere. An answer depends on its own example alone, to the bit. A float32
product is rounded in another order if its shape changes, so an example gets the
same shapes whatever shares its batch: one of a few row lengths, which its own
length decides; one of a few target lengths; and fixed numbers of rows. On a CPU
the encoder still gets examples without padding between them, because its
products give each position the same bits in any number of positions that is not
very small, see `shapes.FEWEST_ROWS`.

The engine takes token ids and returns scores or token ids. The evaluator
handles tasks and metrics, the predictor handles templates and texts.

Axis letters: B rows, L length, T target_length, P prompt_length, D emb_dim,
N prompts, R prompts of a batch, F positions, S tokens whose embeddings are
added to.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh

from mpt_jax.inference.engine import memory, offline, programs, ragged, rows
from mpt_jax.inference.engine.decoding import GREEDY, Generation
from mpt_jax.inference.engine.example import Example, NotFiniteError
from mpt_jax.inference.engine.rows import Encoded
from mpt_jax.inference.engine.shapes import Shapes, target_length
from mpt_jax.model import choice, partitioning
from mpt_jax.model.config import T5Config
from mpt_jax.model.network import T5
from mpt_jax.prompts import run_settings


class Engine:
  """Ranks and generates with prompts and one T5.

  Examples are divided into batches of few shapes, within a bound on memory
  (`memory.Memory`). Engines with equal networks share their compiled programs.

  Args:
    config: the shape of the T5.
    params: its parameters, with t5x's names.
    prompts: [N, P + S, D] of `kinds.expand_bank`, or None for the T5 alone.
    prompt_length: P; None if S is 0.
    mesh: the devices.
    inputs_length: longest input in tokens; longer ones are cut.
    targets_length: longest output of `generate` in tokens.
    batch_size: most rows of a batch.
    generation: settings of `generate`.
    joins: whether the encoder gets the examples of a batch without padding
      between them. None does so on a single CPU only.

  Attributes:
    num_prompts: N, 0 for the T5 alone.
    prompt_length: P, 0 for the T5 alone.
    params: the parameters of the T5 on the devices.
    shapes: the `Shapes` that examples get.
    plan: the plan of attention.

  Example::

    engine = Engine(
      backbone.config, backbone.params, bank.expanded,
      mesh=partitioning.make_mesh(), inputs_length=256,
    )
    engine.rank([Example([71, 19, 1], 0, ([5, 1], [6, 1]))])
    # [array([-0.21, -1.64], dtype=float32)]
  """

  def __init__(
    self,
    config: T5Config,
    params,
    prompts=None,
    *,
    prompt_length: int | None = None,
    mesh: Mesh,
    inputs_length: int,
    targets_length: int = run_settings.TARGETS_LENGTH,
    batch_size: int = 64,
    generation: Generation = GREEDY,
    joins: bool | None = None,
  ):
    self.config, self.mesh = config, mesh
    self.inputs_length, self.targets_length = inputs_length, targets_length
    self.batch_size, self.generation = batch_size, generation
    self._joins = choice.is_one_cpu(mesh) if joins is None else joins
    self._given_length = prompt_length
    self._set(params, prompts)

  def with_params(self, params, prompts=None) -> "Engine":
    """Returns a copy of this engine with other parameters and prompts."""
    other = copy.copy(self)
    other._set(params, prompts)
    return other

  def with_prompts(self, prompts) -> "Engine":
    """Returns a copy with other prompts of the same length, or None."""
    other = copy.copy(self)
    other._set_prompts(prompts)
    return other

  def _set(self, params, prompts):
    self.params = partitioning.put_params(self.mesh, T5(self.config), params)
    self._set_prompts(prompts)

  def _set_prompts(self, prompts):
    self._prompts, self.num_prompts, self.prompt_length = None, 0, 0
    if prompts is not None:
      # A batch has few prompts of many, so they stay on the host.
      self._prompts = partitioning.fetch(prompts)
      self.num_prompts, length = self._prompts.shape[:2]
      self.prompt_length = self._given_length or length
    self.shapes = Shapes.of_engine(
      self.config,
      self.params,
      self.mesh,
      joins=self._joins,
      prompt_length=self.prompt_length,
      inputs_length=self.inputs_length,
      targets_length=self.targets_length,
      batch_size=self.batch_size,
      num_beams=self.generation.num_beams,
    )
    self.plan = self.shapes.plan

  def programs(self) -> programs.Programs:
    """Returns the compiled functions that take the rows of a batch."""
    return programs.make_programs(
      *(self.config, self.prompt_length, self.plan, self.mesh, self.generation)
    )

  def table_programs(self) -> ragged.Programs:
    """Returns the compiled functions of tables of decoding."""
    return programs.make_table_programs(
      *(self.config, self.prompt_length, self.plan, self.mesh),
      self.targets_length,
      self.generation.top_k,
    )

  # ----------------------------------------------------------------- encode

  def size(self, example: Example) -> int:
    """Encoder positions of an example, prompt included."""
    return self.shapes.size(example)

  def encode(self, examples: Sequence[Example], shape) -> Encoded:
    """Runs the encoder once.

    Args:
      examples: the examples, which fit the shape; see `Shapes.take_batch`.
      shape: (rows, positions of a row).
    """
    placed = rows.place(examples, shape, self.shapes)
    inputs = partitioning.put_batch(self.mesh, placed.arrays)
    if self.prompt_length:
      most = self.shapes.most_prompts(shape)
      table = np.zeros((most, *self._prompts.shape[1:]), np.float32)
      for i, prompt in enumerate(placed.prompts):
        given = isinstance(prompt, np.ndarray)
        table[i] = prompt if given else self._prompts[prompt]
      replicated = partitioning.replicated(self.mesh)
      inputs["prompts"] = partitioning.put(table, replicated)
    states = self.programs().encode(self.params, inputs)
    return Encoded(states, placed.starts, placed.sizes)

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
    length = self.shapes.row_length(max(encoded.sizes[i] for i in chosen))
    found = rows.find_places(encoded, chosen, (num_rows, length))
    put = partitioning.put_batch(self.mesh, found)
    return {
      "encoded": self.programs().take(encoded.states, *put),
      "encoder_segment_ids": put[1],
    }

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
    parts = [memory.cut_candidates(e.candidates, targets) for e in part]
    scores = [[] for _ in part]
    for k in range(max(map(len, parts))):
      now = [own[k] if k < len(own) else [] for own in parts]
      arrays = rows.target_arrays(now, num_rows, targets)
      made = self.programs().score(
        self.params,
        {**states, **partitioning.put_batch(self.mesh, arrays)},
        num_candidates=num_rows * targets,
      )
      made, start = np.asarray(made), 0
      for own, candidates in zip(scores, now, strict=True):
        own.append(made[start : start + len(candidates)])
        start += len(candidates)
    return [np.concatenate(own) for own in scores]

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

  def rank(
    self,
    examples: Sequence[Example],
    advance: Callable[[int], None] = lambda count: None,
  ) -> list[np.ndarray]:
    """Scores the candidates of each example.

    Args:
      examples: examples with candidates, which may differ between examples.
      advance: called after each batch with its number of examples.

    Returns:
      A [candidates] float32 array for each example, in order. It holds each
      candidate's log-probability in nats: Σ log p over its tokens, with the end
      of sequence.

    Raises:
      ValueError: an example has no candidates, a candidate has no tokens, or a
        prompt does not exist.
      NotFiniteError: a score is NaN or infinite.
    """
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

  def start_table(self, length: int) -> dict:
    """Makes a table of free rows for decoding, see `ragged`."""
    return self.table_programs().start(
      self.params, num_rows=self.shapes.num_rows(length), length=length
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
      self.params,
      table,
      *self.rows(encoded, chosen, count).values(),
      np.array([*rows, *[1 << 30] * spare], np.int32),
      np.array([*temperatures, *[0.0] * spare], np.float32),
      np.concatenate([keys, np.zeros((spare, 2), np.uint32)]).astype(np.uint32),
    )

  def run_table(self, table, steps: int, enough: int) -> dict:
    """Decodes in a table; see `ragged.Programs`."""
    return self.table_programs().run(
      self.params, table, np.int32(steps), np.int32(enough)
    )

  def generate(
    self,
    examples: Sequence[Example],
    row_ids: Sequence[int] | None = None,
    advance: Callable[[int], None] = lambda count: None,
  ) -> np.ndarray:
    """Generates an output for each example.

    Args:
      examples: the examples; their candidates are ignored.
      row_ids: a number for each example that determines its samples, together
        with the seed; by default its index.
      advance: called after each batch with its number of examples.

    Returns:
      [examples, targets_length] int32, in order: tokens, the end of sequence
      (1), then zeros.

    Raises:
      ValueError: a prompt does not exist.
      NotFiniteError: a score of a token is NaN or infinite.
    """
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
