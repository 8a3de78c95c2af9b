"""The engine: ranks candidates and generates, with prompts and a frozen T5.

Evaluation during training, `mpt eval`, `mpt predict`, the quickstart and sweeps
all use it, so the same prompts give the same answers everywhere. The engine
takes token ids and returns scores or token ids. The evaluator handles tasks and
metrics, the predictor handles templates and texts.

Axis letters: B batch, L length, T target_length, P prompt_length, D emb_dim,
N prompts, S tokens whose embeddings are added to.
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
from mpt_jax.inference.division import Division
from mpt_jax.model import choice, partitioning
from mpt_jax.model.config import T5Config
from mpt_jax.model.network import T5
from mpt_jax.model.plan import DENSE, Dense
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.config import PromptConfig

METHODS = ("auto", "rank", "decode")


class Example(NamedTuple):
  """An input of the engine.

  Attributes:
    inputs: [L] int token ids with the end of sequence, without the prompt.
    prompt: index in [0, N) of the prompt before it.
    candidates: for ranking, the token ids of each candidate with the end of
      sequence.
  """

  inputs: np.ndarray
  prompt: int = 0
  candidates: Sequence[np.ndarray] = ()


class NotFiniteError(ValueError):
  """The T5 gave scores that are not finite numbers.

  Attributes:
    index: the index of the example.
  """

  def __init__(self, index: int, name: str | None = None):
    """Makes the error.

    Args:
      index: the index of the example.
      name: what the user calls the example.
    """
    super().__init__(
      f"{name or f'example {index}'}: the scores are not finite numbers. The T5"
      " and the prompts are finite, but their products are too large; try dtype"
      " float32 (--dtype float32), or prompts of an earlier step"
    )
    self.index = index


class Engine:
  """Ranks and generates with prompts and one T5.

  Examples are sorted by length and divided into batches of few shapes, within a
  bound on memory (`batching.Memory`). Engines with equal networks share their
  compiled programs.

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
    self._set_params(params)
    self._set_prompts(prompts)

  def with_params(self, params, prompts=None) -> "Engine":
    """Returns a copy of this engine with other parameters and prompts."""
    other = copy.copy(self)
    other._set_params(params)
    other._set_prompts(prompts)
    return other

  def with_prompts(self, prompts) -> "Engine":
    """Returns a copy with other prompts of the same length, or None."""
    other = copy.copy(self)
    other._set_prompts(prompts)
    return other

  def _set_params(self, params):
    self._params = partitioning.put_params(self.mesh, T5(self.config), params)

  def _set_prompts(self, prompts):
    self._prompts, self.num_prompts, self._prompt_length = None, 0, 0
    if prompts is None:
      return
    prompts = partitioning.fetch(prompts)
    self.num_prompts = len(prompts)
    self._prompt_length = self._given_length or prompts.shape[1]
    # Round up N: it is part of a compiled shape, and there should be few.
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
          if not np.isfinite(scores).all():
            raise NotFiniteError(i)
          results[i] = scores
        advance(len(members))
    return results

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
    row_ids = np.arange(len(examples)) if row_ids is None else row_ids
    for members, batch in self._batches(examples, range(len(examples))):
      ids = np.zeros(batch.num_rows, np.int32)
      ids[: len(members)] = [row_ids[i] for i in members]
      # The targets are not used; any token will do.
      rows = [(examples[i], np.array([2, EOS_ID])) for i in members]
      encoded = self._encode(self._rows(rows, batch, 2), batch)
      tokens = self.programs(batch.plan).generate(
        self._params,
        encoded,
        partitioning.put_batch(self.mesh, ids),
        max_length=self.targets_length,
      )
      results[members] = np.asarray(tokens)[: len(members)]
      broken = [i for i in members if results[i, 0] == decoding.NOT_FINITE]
      if broken:
        raise NotFiniteError(broken[0])
      advance(len(members))
    return results

  def _batches(self, examples, chosen, target_length=None):
    """Yields (indices of examples, `batching.Batch`).

    Args:
      examples: all examples.
      chosen: indices of the examples to divide into batches.
      target_length: T for ranking, None for generation.
    """
    chosen = list(chosen)
    length = self._prompt_length
    for i in chosen:
      if not 0 <= examples[i].prompt < max(1, self.num_prompts):
        raise ValueError(
          f"the prompt of example {i} must be in"
          f" [0, {max(1, self.num_prompts)}), got {examples[i].prompt}"
        )
    sizes = [
      length + min(len(examples[i].inputs), self.inputs_length) for i in chosen
    ]
    if not sizes:
      return
    for batch in self.division().batches(sizes, target_length):
      yield [chosen[i] for i in batch.members], batch

  def division(self) -> Division:
    """Returns what decides the batches, besides the examples."""
    leaves = jax.tree.leaves(self._params)
    return Division(
      config=self.config,
      num_parameters=sum(x.size for x in leaves),
      parameter_bytes=sum(x.nbytes for x in leaves) // self.mesh.shape["model"],
      prompt_length=self._prompt_length,
      inputs_length=self.inputs_length,
      targets_length=self.targets_length,
      batch_size=self.batch_size,
      num_beams=self.generation.num_beams,
      devices=self.mesh.shape["data"],
      joins=self._joins,
    )

  def programs(self, plan: Dense = DENSE) -> "Programs":
    """Returns the compiled functions for a plan of attention."""
    return make_programs(
      self.config, self._prompt_length, plan, self.mesh, self.generation
    )

  def _rows(self, rows, batch, target_length):
    """Makes the arrays of plain rows from (example, targets) pairs."""
    layout = BatchLayout(
      inputs_length=batch.row_length - self._prompt_length,
      targets_length=target_length,
      prompt_length=self._prompt_length,
      num_slots=max(1, self.num_prompts),
      pack=False,
      length_multiple=1,
      num_rows=batch.num_rows,
    )
    examples = [
      {"inputs": e.inputs, "targets": targets, "slot_id": e.prompt}
      for e, targets in rows
    ]
    return make_batch(examples, layout)[0]

  def _encode(self, rows, batch):
    """Returns the encoder's states of plain rows, and their segment ids."""
    programs = self.programs(batch.plan)
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
    """Scores a batch; the encoder runs once for all parts of the candidates."""
    parts = [batching.cut_candidates(e.candidates, target_length) for e in part]
    scores = [[] for _ in part]
    encoded = None
    for k in range(max(map(len, parts))):
      now = [own[k] if k < len(own) else [] for own in parts]
      rows = self._rows(zip(part, now, strict=True), batch, target_length)
      if encoded is None:
        encoded = self._encode(rows, batch)
      targets = {k: v for k, v in rows.items() if k.startswith("decoder_")}
      made = self.programs(batch.plan).score(
        self._params,
        {**encoded, **partitioning.put_batch(self.mesh, targets)},
        # A candidate has at least one token.
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
    take: (states [R, F, D], places [B, L]) -> states [B, L, D], which undoes
      `batching.join_rows`.
    score: see `decoding.score_candidates`.
    generate: see `decoding.make_decoder`.
  """

  encode: Callable
  take: Callable
  score: Callable
  generate: Callable


@functools.lru_cache(maxsize=16)
def make_programs(config, prompt_length, plan, mesh, generation) -> Programs:
  """Returns the programs of a network, cached within the process."""
  prompt_config = (
    PromptConfig(num_slots=1, prompt_length=prompt_length, rank=0)
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
