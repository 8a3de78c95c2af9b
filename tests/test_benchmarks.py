"""The benchmark on a tiny T5: both sides agree, and its count of flops."""

import pathlib

import numpy as np
import pytest

from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model

REASON = "the peer needs PyTorch, transformers and peft (the test extra)"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("transformers", reason=REASON)
pytest.importorskip("peft", reason=REASON)

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"
ROWS = ("distill", "predict")


@pytest.fixture(autouse=True)
def path(monkeypatch):
  """The benchmark's modules are beside its command, not in a package."""
  monkeypatch.syspath_prepend(str(FOLDER))


def test_rows_from_end_to_end(capfd):
  """Each row compares the two sides' results before it times them."""
  import run

  run.main(
    f"--only {' '.join(ROWS)} --quick --model t5_tiny --sources mnli sst2"
    " --scale 0.1 --prompt_length 3 --batch_size 4 --pairs 1"
    " --predict_rows 5".split()
  )
  lines = capfd.readouterr().out.splitlines()
  lines = [line.split() for line in lines if line.startswith("ratio ")]
  assert [name for _, name, _ in lines] == list(ROWS)
  assert all(float(ratio) > 0 for *_, ratio in lines)


def test_sides_that_differ_are_named():
  import bench

  bench.check_equal("x", {"loss": 2.0}, {"loss": 2.001}, 1e-3)
  with pytest.raises(ValueError, match="distill: the two sides differ in 'kl'"):
    bench.check_equal("distill", {"kl": 2.0}, {"kl": 2.01}, 1e-3)
  with pytest.raises(ValueError, match="'loss'"):
    bench.check_equal("x", {"loss": float("nan")}, {"loss": 1.0}, 1e-3)


def tiny(num_layers, emb_dim=2, num_heads=1):
  return T5Config(
    vocab_size=5,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=3,
    mlp_dim=4,
    num_encoder_layers=num_layers,
    num_decoder_layers=num_layers,
  )


def test_flops_by_hand():
  """One layer each; 2 input tokens behind 1 prompt position, 2 target tokens.

  A projection of a position is 2·2·3 = 12, its feed-forward block 2·2·(2·4) =
  32, logits 2·2·5 = 20.
  """
  import flops

  encoder = 3 * (4 * 12 + 32) + 2 * (2 * 3 * 3 * 3)
  # Self-attention's and cross-attention's projections, without keys and values
  # of the 3 positions: in their place queries and outputs of 2 targets are
  # mapped, 2·12 each, and the products have D = 2 in the place of 3.
  decoder = 2 * (6 * 12 + 32) + 2 * (2 * 12)
  # Query 1 sees 1 position, query 2 sees 2; both see 3 of the encoder.
  decoder += 2 * (2 * 3 * (1 + 2)) + 2 * (2 * 2 * 2 * 3)
  assert flops.forward(tiny(1), 3, 2) == encoder + decoder + 2 * 20
  # Encoder: feed-forward and output of 3 positions, q, k, v of 1. In the
  # attention, of 3 dot products each: dQ of 1 query with 3 keys, dK and dV of
  # 1 key with 3 queries, dA of the 5 of 9 pairs that have the slot in them.
  encoder = 3 * (32 + 12) + 3 * 12 + 2 * 3 * (3 + 3 + 3 + 5)
  # Decoder: feed-forward and output of 2 positions, their outputs mapped back,
  # and three products of 2 targets with 3 positions; no gradient of queries.
  decoder = 2 * (32 + 12) + 2 * 12 + 3 * (2 * 2 * 2 * 3)
  assert flops.backward(tiny(1), 3, 2, 1) == encoder + decoder + 2 * 20
  example = {"inputs": [3, 1], "targets": [4, 1]}
  step = [
    flops.train_step(tiny(1), [example] * 2, 1, distill) for distill in (0, 1)
  ]
  assert step[1] - step[0] == 2 * flops.forward(tiny(1), 3, 2)


def test_flops_of_many_targets_against_pytorch(make_params):
  """Products that PyTorch counts in transformers' T5, one example, unpadded.

  With 7 targets of 3 positions, and more heads, keys and values are cheaper.
  """
  import flops
  import peft_peer
  from torch.utils.flop_counter import FlopCounterMode

  n, m = 3, 7

  def shape(num_layers):
    return tiny(num_layers, emb_dim=4, num_heads=2)

  def count(num_layers):
    config = shape(num_layers)
    params = make_params(Model(config, trainable="everything"))
    base = peft_peer.make_t5(config, params, "float32")
    base.set_attn_implementation("eager")
    embeds = torch.ones(1, n, 4, requires_grad=True)
    ids = torch.full((1, m), 2)
    with FlopCounterMode(display=False) as forward:
      logits = base(inputs_embeds=embeds, decoder_input_ids=ids).logits
    with FlopCounterMode(display=False) as backward:
      logits.sum().backward()
    return np.array([forward.get_total_flops(), backward.get_total_flops()])

  def ours_of(num_layers):
    return np.array(
      [
        flops.forward(shape(num_layers), n, m),
        flops.backward(shape(num_layers), n, m, n),
      ]
    )

  # PyTorch computes the decoder's masked half as well: 21 of 49 pairs, in two
  # products of 2·6 flops forward, four backward.
  masked = np.array([2, 4]) * 12 * 21
  one, two = count(1), count(2)
  assert (one - ours_of(1))[0] == masked[0]
  # The work that a further layer of each stack adds.
  np.testing.assert_array_equal(two - one, ours_of(2) - ours_of(1) + masked)


def test_mixture_of_lengths():
  import workload

  stream = workload.Workload(1000, seed=3)
  batches = [stream.sampled_batch(30) for _ in range(150)]
  lengths = [len(e["inputs"]) for batch in batches for e in batch]
  assert 90 < np.mean(lengths) < 110 and max(lengths) == 256
  tasks = {len({e["slot_id"] for e in batch}) for batch in batches}
  assert tasks == {2, 3, 4, 5, 6}
  again = workload.Workload(1000, seed=3).sampled_batch(30)
  for a, b in zip(batches[0], again, strict=True):
    np.testing.assert_array_equal(a["inputs"], b["inputs"])
