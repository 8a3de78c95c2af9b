"""The engine: results of plain passes, in any batches, within a bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from mpt_jax.backbones.backbone import load_backbone
from mpt_jax.data.batches import EOS_ID, make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import programs
from mpt_jax.inference.engine.decoding import Generation
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import Example, NotFiniteError
from mpt_jax.inference.engine.memory import MAX_BYTES
from mpt_jax.model import partitioning
from mpt_jax.model.network import T5
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig

P, T = 3, 5
# Longer than a packed row: longer examples are joined in one row.
INPUTS_LENGTH = 160


@pytest.fixture(scope="module")
def parts(make_config, make_params):
  """(config, the T5's parameters, two prompts [2, P, D])."""
  config = make_config("1.1", num_encoder_layers=1, num_decoder_layers=1)
  params = make_params(Model(config, trainable="everything"), seed=5)
  rng = np.random.default_rng(0)
  prompts = rng.normal(0.0, 1.0, (2, P, config.emb_dim)).astype(np.float32)
  return config, params, prompts


def _one_device():
  return jax.make_mesh(
    (1, 1),
    ("data", "model"),
    axis_types=(AxisType.Auto, AxisType.Auto),
    devices=jax.devices()[:1],
  )


@pytest.fixture(scope="module", params=["devices", "one device"])
def engine(request, parts):
  """Plain rows on eight devices, or packed and joined rows on one."""
  one = request.param == "one device"
  return Engine(
    *parts,
    mesh=_one_device() if one else partitioning.make_mesh(),
    inputs_length=INPUTS_LENGTH,
    targets_length=T,
    batch_size=8,
    joins=one,
  )


@pytest.fixture(scope="module")
def plain_logits(parts):
  """(inputs, prompt, decoder inputs) -> logits [T, V] of one whole pass."""
  config, params, prompts = parts
  network = T5(config, PromptConfig(num_slots=2, prompt_length=P, rank=0))
  variables = {"params": {**params, "prompt": {"shared_prompt": prompts}}}
  apply = jax.jit(lambda batch: network.apply(variables, batch).logits)

  def logits(inputs, prompt, tokens):
    example = {"inputs": inputs, "targets": np.full(32, 2), "slot_id": prompt}
    config = BatchLayout(
      inputs_length=INPUTS_LENGTH,
      targets_length=32,
      prompt_length=P,
      num_slots=2,
      pack=False,
      length_multiple=INPUTS_LENGTH,
    )
    batch = make_batch([example], config)[0]
    given = np.zeros_like(batch["decoder_input_tokens"])
    given[0, 1 : len(tokens) + 1] = tokens
    batch["decoder_input_tokens"] = given
    return np.asarray(apply(batch))[0]

  return logits


def _ids(rng, n):
  return np.append(rng.integers(3, 40, n - 1), EOS_ID).astype(np.int32)


def _examples(lengths, candidate_lengths, seed=1):
  """Examples of these lengths, each with candidates of lengths drawn anew."""
  rng = np.random.default_rng(seed)
  return [
    Example(
      _ids(rng, n),
      int(rng.integers(2)),
      [_ids(rng, int(k)) for k in rng.permutation(candidate_lengths)],
    )
    for n in lengths
  ]


def _plain_scores(plain_logits, example):
  scores = []
  for candidate in example.candidates:
    logits = plain_logits(example.inputs, example.prompt, candidate[:-1])
    log_probs = jax.nn.log_softmax(logits)[np.arange(len(candidate)), candidate]
    scores.append(float(log_probs.sum()))
  return scores


# Short ones are packed, long ones joined, on one device.
@pytest.mark.parametrize("lengths", [(9, 2, 30, 17, 2, 60), (150, 3, 40, 160)])
def test_scores_are_those_of_plain_passes(engine, plain_logits, lengths):
  # Candidates of very different lengths.
  examples = _examples(lengths, (2, 25, 3, 2))
  done = []
  made = engine.rank(examples, done.append)
  assert sum(done) == len(examples) == len(made)
  for example, scores in zip(examples, made, strict=True):
    expected = _plain_scores(plain_logits, example)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    # Alone, too.
    np.testing.assert_allclose(engine.rank([example])[0], expected, rtol=1e-4)


def test_examples_may_have_different_candidates(engine, plain_logits):
  examples = [
    *_examples((5, 9), (2,), seed=2),
    *_examples((7, 3), (3, 3, 2, 4), seed=3),
    *_examples((4,), (4,) * 70, seed=4),
  ]
  made = engine.rank(examples)
  assert [len(scores) for scores in made] == [1, 1, 4, 4, 70]
  for example, scores in zip(examples[:4], made, strict=False):
    expected = _plain_scores(plain_logits, example)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
  shown = examples[4]._replace(candidates=examples[4].candidates[60:])
  expected = _plain_scores(plain_logits, shown)
  np.testing.assert_allclose(made[4][60:], expected, rtol=1e-4)


class Counting(Engine):
  """Keeps the shapes that the encoder gets."""

  def encode(self, examples, shape):
    self.encoded.append(shape)
    return super().encode(examples, shape)


def test_many_candidates_share_one_pass_of_the_encoder(parts):
  engine = Counting(
    *parts, mesh=_one_device(), inputs_length=INPUTS_LENGTH, joins=True
  )
  engine.encoded = []
  # 280 tokens: three parts of at most 128.
  examples = _examples((9, 4), (4,) * 70)
  together = engine.rank(examples)
  assert len(engine.encoded) == 1
  for example, scores in zip(examples, together, strict=True):
    apart = [
      engine.rank([example._replace(candidates=[c])])[0][0]
      for c in example.candidates[::9]
    ]
    np.testing.assert_allclose(scores[::9], apart, rtol=1e-4)


def test_generated_tokens_are_those_of_plain_passes(engine, plain_logits):
  examples = _examples((9, 2, 150, 30, 17), (2,))
  made = engine.generate(examples)
  assert made.shape == (5, T) and made.dtype == np.int32
  assert len({tuple(row) for row in made}) > 1
  for example, row in zip(examples, made, strict=True):
    tokens = []
    while len(tokens) < T and EOS_ID not in tokens:
      logits = plain_logits(example.inputs, example.prompt, tokens)
      tokens.append(int(logits[len(tokens)].argmax()))
    assert row.tolist() == tokens + [0] * (T - len(tokens))


def test_a_row_is_drawn_by_its_id(parts):
  engine = Engine(
    *parts,
    mesh=_one_device(),
    inputs_length=INPUTS_LENGTH,
    targets_length=T,
    batch_size=2,
    generation=Generation(temperature=1.5, seed=3),
    joins=True,
  )
  examples = _examples((9, 2, 140, 30, 17), (2,))
  made = engine.generate(examples)
  np.testing.assert_array_equal(
    engine.generate(examples[::-1], [4, 3, 2, 1, 0]), made[::-1]
  )
  assert not np.array_equal(engine.generate(examples[::-1]), made[::-1])


def test_nothing_to_do(engine):
  assert engine.rank([]) == []
  assert engine.generate([]).shape == (0, T)


def test_an_input_longer_than_all_rows_is_cut(engine):
  long = _examples((INPUTS_LENGTH + 40,), (2, 3))[0]
  cut = long.inputs[:INPUTS_LENGTH].copy()
  cut[-1] = EOS_ID
  np.testing.assert_array_equal(
    engine.rank([long])[0], engine.rank([long._replace(inputs=cut)])[0]
  )


def test_what_does_not_fit_is_refused(engine):
  (example,) = _examples((5,), (2, 2))
  with pytest.raises(ValueError, match="example 1 has no candidates"):
    engine.rank([example, example._replace(candidates=[])])
  for prompt in (2, -1):
    wrong = example._replace(prompt=prompt)
    with pytest.raises(ValueError, match=r"example 0 must be in \[0, 2\), got"):
      engine.rank([wrong])
    with pytest.raises(ValueError, match="the prompt of example 0"):
      engine.generate([wrong])


def test_other_prompts_and_parameters(parts, engine):
  config, params, prompts = parts
  examples = _examples((9, 40), (2, 3))
  examples = [e._replace(prompt=0) for e in examples]
  first = np.stack(engine.rank(examples))
  swapped = engine.with_prompts(prompts[::-1])
  made = swapped.rank([e._replace(prompt=1) for e in examples])
  np.testing.assert_allclose(np.stack(made), first, rtol=1e-5)
  alone = engine.with_prompts(None)
  assert alone.num_prompts == 0
  assert not np.allclose(np.stack(alone.rank(examples)), first, rtol=1e-2)
  # Prompts of the embeddings of tokens are those tokens.
  tokens = np.array([7, 8, 9])
  embeddings = params["token_embedder"]["embedding"][tokens][None]
  spelt = [e._replace(inputs=np.append(tokens, e.inputs)) for e in examples]
  np.testing.assert_allclose(
    np.stack(engine.with_prompts(embeddings).rank(examples)),
    np.stack(alone.rank(spelt)),
    rtol=1e-4,
  )
  double = jax.tree.map(lambda x: 2 * x, params)
  changed = engine.with_params(double, prompts)
  assert not np.allclose(np.stack(changed.rank(examples)), first, rtol=1e-2)
  np.testing.assert_array_equal(np.stack(engine.rank(examples)), first)


def test_a_small_evaluation_has_few_shapes(parts):
  programs.make_programs.cache_clear()

  def make():
    return Engine(
      *parts, mesh=_one_device(), inputs_length=64, batch_size=16, joins=True
    )

  lengths = np.random.default_rng(0).integers(2, 60, 100)
  make().rank(_examples(lengths, (2, 2)))
  engine = make()
  engine.rank(_examples(lengths[::-1], (2, 2)))
  made = engine.programs()
  # Rows of four lengths; of each length few or many for the encoder.
  assert made.encode._cache_size() <= 8 and made.score._cache_size() <= 4


class Measuring(Engine):
  """Compiles an engine's programs and reports their memory."""

  def programs(self):
    made = super().programs()

    def measured(name, program):
      def call(*args, **kwargs):
        compiled = program.lower(*args, **kwargs).compile()
        analysis = compiled.memory_analysis()
        self.taken.append((name, analysis.temp_size_in_bytes))
        shapes = jax.eval_shape(lambda *a: program(*a, **kwargs), *args)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

      return call

    return programs.Programs(
      **{k: measured(k, v) for k, v in made._asdict().items()}
    )


@pytest.mark.parametrize(
  ("num_examples", "num_labels", "length"),
  [(64, 150, 60), (64, 2, 60), (40, 300, 500)],
)
def test_many_labels_are_ranked_within_the_bound(
  num_examples, num_labels, length
):
  backbone = load_backbone("default")
  prompts = np.zeros((1, 16, backbone.config.emb_dim), np.float32)
  engine = Measuring(
    backbone.config,
    backbone.params,
    prompts,
    mesh=_one_device(),
    inputs_length=length,
    joins=True,
  )
  engine.taken = []
  rng = np.random.default_rng(0)
  labels = [_ids(rng, 3) for _ in range(num_labels)]
  lengths = rng.integers(length // 2, length, num_examples)
  engine.rank([Example(_ids(rng, n), 0, labels) for n in lengths])
  assert {name for name, _ in engine.taken} == {"encode", "take", "score"}
  assert max(size for _, size in engine.taken) < MAX_BYTES
  if num_labels == 150:
    # Each group of rows takes the encoder's states once, and scores four parts
    # of 128 of the 450 tokens. The logits of a part are 16 · 128 · 8000 numbers
    # of 4 bytes, 66 MB.
    names = [name for name, _ in engine.taken]
    assert names[0] == "encode" and names.count("encode") <= 8
    assert names.count("score") == 4 * names.count("take")
    assert 65e6 < engine.taken[-1][1] < 140e6


@pytest.mark.parametrize(
  "generation",
  [
    Generation(),
    Generation(num_beams=2),
    Generation(temperature=1.0, seed=0),
    Generation(temperature=1.0, top_k=3, seed=0),
  ],
)
def test_scores_that_are_not_finite_are_refused(parts, generation):
  """The weights are finite, and their products overflow."""
  config, params, prompts = parts
  params = jax.tree.map(np.array, params)
  mlp = params["decoder"]["layers_0"]["mlp"]
  for name in ("wi_0", "wi_1", "wo"):
    mlp[name]["kernel"] *= 1e20
  made = Engine(
    config,
    params,
    prompts,
    mesh=_one_device(),
    inputs_length=INPUTS_LENGTH,
    targets_length=T,
    generation=generation,
  )
  examples = _examples((5, 9), (2, 3))
  with pytest.raises(NotFiniteError, match="example [01]: the scores"):
    made.rank(examples)
  with pytest.raises(NotFiniteError, match="example [01]: the scores"):
    made.generate(examples)
