"""The engine: ranks candidates and generates, with prompts over a frozen T5.

Evaluation while training, `mpt eval`, `mpt predict`, the quickstart and sweeps
all use it, so the same prompts give the same answers everywhere. It takes token
ids and gives scores or token ids: tasks and metrics are the evaluator's,
templates and texts the predictor's.

Axis letters: B batch, L length, T target_length, P prompt_length, D emb_dim,
N prompts.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mpt_jax.data.batches import EOS_ID, make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference import batching, decoding
from mpt_jax.inference.decoding import GREEDY, Generation
from mpt_jax.io import run_settings
from mpt_jax.model import partitioning
from mpt_jax.model.config import T5Config
from mpt_jax.model.cpu import strategy
from mpt_jax.model.network import T5
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.parametrization import PromptConfig

# Up to this length attention over packed rows is as fast as going by segments,
# and it compiles in a third of the time.
SHORT_ROW = 128


METHODS = ("auto", "rank", "decode")


class Example(NamedTuple):
  """What the engine answers for.

  Attributes:
    inputs: [L] int token ids, end of sequence included, the prompt not.
    prompt: which of the N prompts stands before it.
    candidates: for ranking, the token ids of each candidate, end of sequence
      included.
  """

  inputs: np.ndarray
  prompt: int = 0
  candidates: Sequence[np.ndarray] = ()


class Engine:
  """Ranks and generates with prompts over one T5.

  Examples are sorted by length and cut into batches of few shapes, within one
  bound on memory (`batching.Memory`). The programs of equal networks are
  compiled once in a process, whichever engine uses them.

  Args:
    config: the shape of the T5.
    params: its parameters, with t5x's names.
    prompts: [N, P, D] composed prompts, or None for the T5 alone.
    mesh: where to run.
    inputs_length: longest input in tokens; longer ones are cut.
    targets_length: longest output of `generate` in tokens.
    batch_size: rows of a batch at most.
    generation: how `generate` chooses tokens.
    joins: let the encoder get the examples of a batch without padding between
      them. None: if this is one CPU.

  Attributes:
    num_prompts: N, 0 for the T5 alone.

  Example::

    engine = Engine(
      backbone.config, backbone.params, bank.composed,
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
    self._joins = strategy.suits_devices() if joins is None else joins
    self._set_params(params)
    self._set_prompts(prompts)

  def with_params(self, params, prompts=None) -> "Engine":
    """An engine like this one with other parameters and prompts."""
    other = copy.copy(self)
    other._set_params(params)
    other._set_prompts(prompts)
    return other

  def with_prompts(self, prompts) -> "Engine":
    """An engine like this one with other prompts, [N, P, D] or None."""
    other = copy.copy(self)
    other._set_prompts(prompts)
    return other

  def _set_params(self, params):
    self._params = partitioning.put_params(self.mesh, T5(self.config), params)
    leaves = jax.tree.leaves(self._params)
    self._num_parameters = sum(x.size for x in leaves)
    taken = sum(x.nbytes for x in leaves) // self.mesh.shape["model"]
    self._memory = batching.Memory(self.config, max(batching.MAX_BYTES, taken))

  def _set_prompts(self, prompts):
    self._prompts, self.num_prompts, self._prompt_length = None, 0, 0
    if prompts is None:
      return
    prompts = partitioning.fetch(prompts)
    self.num_prompts, self._prompt_length = prompts.shape[:2]
    # The number of prompts is part of a program's shape: use few of them.
    spare = batching.next_count(len(prompts)) - len(prompts)
    self._prompts = partitioning.put(
      np.pad(prompts, ((0, spare), (0, 0), (0, 0))),
      partitioning.replicated(self.mesh),
    )

  def rank(
    self,
    examples: Sequence[Example],
    advance: Callable[[int], None] = lambda count: None,
  ) -> list[np.ndarray]:
    """Scores the candidates of each example.

    Args:
      examples: with candidates, which may differ between them.
      advance: called with the number of examples of each batch that is done.

    Returns:
      For each example, in order, [candidates] float32: the log-probability of
      each in nats, Σ log p over its tokens, end of sequence included.

    Raises:
      ValueError: an example without candidates, a candidate without tokens, or
        a prompt that does not exist.
    """
    groups = {}
    for i, example in enumerate(examples):
      if not len(example.candidates):
        raise ValueError(f"example {i} has no candidates to rank")
      length = batching.target_length(example.candidates)
      groups.setdefault(length, []).append(i)
    results = [None] * len(examples)
    for length, chosen in groups.items():
      for members, batch in self._batches(examples, chosen, length):
        part = [examples[i] for i in members]
        made = self._rank_batch(part, batch, length)
        for i, scores in zip(members, made, strict=True):
          results[i] = scores
        advance(len(members))
    return results

  def generate(
    self,
    examples: Sequence[Example],
    row_ids: Sequence[int] | None = None,
    advance: Callable[[int], None] = lambda count: None,
  ) -> np.ndarray:
    """Generates for each example.

    Args:
      examples: candidates are ignored.
      row_ids: what each example samples by, besides the seed; its place among
        the examples by default.
      advance: called with the number of examples of each batch that is done.

    Returns:
      [examples, targets_length] int32, in order: tokens, the end of sequence
      (1), then zeros.

    Raises:
      ValueError: a prompt that does not exist.
    """
    results = np.zeros((len(examples), self.targets_length), np.int32)
    row_ids = np.arange(len(examples)) if row_ids is None else row_ids
    for members, batch in self._batches(examples, range(len(examples))):
      ids = np.zeros(batch.num_rows, np.int32)
      ids[: len(members)] = [row_ids[i] for i in members]
      # No one looks at the targets: any token stands for them.
      rows = [(examples[i], np.array([2, EOS_ID])) for i in members]
      encoded = self._encode(self._rows(rows, batch, 2), batch)
      tokens = self.programs(batch.by_segments).generate(
        self._params,
        encoded,
        partitioning.put_batch(self.mesh, ids),
        max_length=self.targets_length,
      )
      results[members] = np.asarray(tokens)[: len(members)]
      advance(len(members))
    return results

  def _batches(self, examples, chosen, target_length=None):
    """Yields (indices of examples, `batching.Batch`).

    Args:
      examples: all examples.
      chosen: indices of those to cut into batches.
      target_length: T of ranking, None to generate.
    """
    chosen = list(chosen)
    length, memory = self._prompt_length, self._memory
    for i in chosen:
      if not 0 <= examples[i].prompt < max(1, self.num_prompts):
        raise ValueError(
          f"the prompt of example {i} must be in [0, {max(1, self.num_prompts)}), got"
          f" {examples[i].prompt}"
        )
    sizes = [
      length + min(len(examples[i].inputs), self.inputs_length) for i in chosen
    ]
    if not sizes:
      return
    devices = self.mesh.shape["data"]

    def fitting(row_length):
      if target_length is not None:
        rows = memory.ranking_rows(row_length, target_length)
      else:
        rows = memory.generating_rows(
          row_length, self.targets_length, self.generation.num_beams
        )
      return min(self.batch_size, devices * rows)

    shapes = sizes, batching.row_lengths(length, self.inputs_length), fitting
    worth = batching.COMPILING / self._num_parameters
    if not self._joins:
      batches = batching.plain_batches(*shapes, worth, devices)
    elif max(sizes) <= SHORT_ROW:
      batches = batching.packed_batches(*shapes)
    else:
      batches = batching.joined_batches(*shapes, worth)
    for batch in batches:
      yield [chosen[i] for i in batch.members], batch

  def programs(self, by_segments: bool) -> "Programs":
    """The compiled functions; see `batching.Batch.by_segments`."""
    # Every example has its prompt and the end of sequence.
    shortest = self._prompt_length + 1
    longest = self._prompt_length + self.inputs_length
    # The one place that chooses how the T5 attends.
    plan = strategy.BySegments(longest, shortest) if by_segments else Dense()
    return make_programs(
      self.config, self._prompt_length, plan, self.mesh, self.generation
    )

  def _rows(self, rows, batch, target_length):
    """The arrays of plain rows: (example, its targets) each."""
    layout = BatchLayout(
      inputs_length=batch.row_length - self._prompt_length,
      targets_length=target_length,
      prompt_length=self._prompt_length,
      num_tasks=max(1, self.num_prompts),
      pack=False,
      length_multiple=1,
      num_rows=batch.num_rows,
    )
    examples = [
      {"inputs": e.inputs, "targets": targets, "task_id": e.prompt}
      for e, targets in rows
    ]
    return make_batch(examples, layout)[0]

  def _encode(self, rows, batch):
    """The encoder's states of plain rows, and which positions are real."""
    programs = self.programs(batch.by_segments)
    inputs = {k: v for k, v in rows.items() if k.startswith("encoder_")}
    if batch.joined:
      inputs, places = batching.join_rows(inputs, batch.joined)
    inputs = partitioning.put_batch(self.mesh, inputs)
    if self._prompts is not None:
      inputs["prompts"] = self._prompts
    states = programs.encode(self._params, inputs)
    if batch.joined:
      states = programs.take(states, places)
    segment_ids = rows["encoder_segment_ids"]
    return {
      "encoded": states,
      **partitioning.put_batch(self.mesh, {"encoder_segment_ids": segment_ids}),
    }

  def _rank_batch(self, part, batch, target_length):
    """Scores of a batch's examples; the encoder runs once for all parts."""
    parts = [batching.cut_candidates(e.candidates, target_length) for e in part]
    scores = [[] for _ in part]
    encoded = None
    for k in range(max(map(len, parts))):
      now = [own[k] if k < len(own) else [] for own in parts]
      rows = self._rows(zip(part, now, strict=True), batch, target_length)
      if encoded is None:
        encoded = self._encode(rows, batch)
      targets = {k: v for k, v in rows.items() if k.startswith("decoder_")}
      made = self.programs(batch.by_segments).score(
        self._params,
        {**encoded, **partitioning.put_batch(self.mesh, targets)},
        # A candidate has a token at least.
        num_candidates=batch.num_rows * target_length,
      )
      made, start = np.asarray(made), 0
      for own, candidates in zip(scores, now, strict=True):
        own.append(made[start : start + len(candidates)])
        start += len(candidates)
    return [np.concatenate(own) for own in scores]


class Programs(NamedTuple):
  """The compiled functions of one network.

  Attributes:
    encode: (params, encoder arrays) -> states [B, L, D].
    take: (states [R, F, D], places [B, L]) -> states [B, L, D].
    score: `decoding.score_candidates`.
    generate: of `decoding.make_decoder`.
  """

  encode: Callable
  take: Callable
  score: Callable
  generate: Callable


@functools.lru_cache(maxsize=16)
def make_programs(config, prompt_length, plan, mesh, generation) -> Programs:
  """The programs of a network, made once in a process."""
  prompt_config = (
    PromptConfig(num_tasks=1, prompt_length=prompt_length, rank=0)
    if prompt_length
    else None
  )
  network = T5(config, prompt_config, plan)
  replicated = partitioning.replicated(mesh)
  return Programs(
    encode=jax.jit(
      functools.partial(decoding.encode, network),
      out_shardings=NamedSharding(mesh, PartitionSpec("data")),
    ),
    take=jax.jit(_take),
    score=jax.jit(
      functools.partial(decoding.score_candidates, network),
      static_argnames="num_candidates",
      out_shardings=replicated,
    ),
    generate=jax.jit(
      decoding.make_decoder(network, generation),
      static_argnames="max_length",
      out_shardings=replicated,
    ),
  )


def _take(states, places):
  return states.reshape(-1, states.shape[-1])[places]
