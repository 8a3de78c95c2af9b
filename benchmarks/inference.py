"""Rows of prediction: greedy generation and rank classification."""

import tempfile

import numpy as np
from bench import Row, pairs, timed
from steps import choose_settings
from workload import TARGETS_LENGTH

from mpt_jax.backbones import backbone as backbones
from mpt_jax.inference.predictor import Predictor, Prepared
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.text import vocabularies

# The batch sizes that the peer may choose from without --predict_batch_size.
BATCH_SIZES = (8, 16, 32, 64)

LABELS = {
  "mnli": ("entailment", "neutral", "contradiction"),
  "qnli": ("entailment", "not_entailment"),
  "qqp": ("not_duplicate", "duplicate"),
  "sst2": ("negative", "positive"),
}


class _Ours:
  """`inference.predictor.Predictor`, from token ids to texts or scores."""

  def __init__(self, bench, stage, folder, rank):
    vocabulary = vocabularies.default_vocabulary_path()
    backbone = backbones.save_backbone(
      folder, bench.config, bench.params, vocabulary, bench.args.dtype
    )
    sources = stage.workload.sources
    names = tuple(source.name for source in sources)
    bank = PromptBank(
      stage.prompts,
      names,
      (0,) * len(names),
      backbone.fingerprint,
      tuple(
        {"task": n, "label_names": LABELS.get(n), "template": None}
        for n in names
      ),
    )
    given = bench.args.predict_batch_size
    self._predictor = Predictor(
      bank,
      folder,
      method="rank" if rank else "decode",
      **({"batch_size": given} if given else {}),
      inputs_length=stage.workload.inputs_length,
      targets_length=TARGETS_LENGTH,
    )

  def run(self, examples):
    prepared = [Prepared({}, e["slot_id"], e["inputs"]) for e in examples]
    return self._predictor.run(prepared)


class _Peer:
  """The same in PyTorch; each batch is padded to its longest row.

  With `by_length`, rows of similar length share a batch here too.
  """

  def __init__(self, bench, stage, rank, by_length):
    self._by_length = by_length
    self.trainer = bench.peer_trainer(stage)
    self.batch_size = bench.args.predict_batch_size or BATCH_SIZES[1]
    tokenizer = vocabularies.Tokenizer(vocabularies.default_vocabulary_path())
    self._decode = tokenizer.decode
    self._candidates = None
    if rank:
      names = [source.name for source in stage.workload.sources]
      self._candidates = [
        [np.array([*tokenizer.encode(label), 1]) for label in LABELS[name]]
        for name in names
      ]

  def use(self, threads, attention):
    self.trainer.use(threads, attention)

  def run(self, examples):
    order = list(range(len(examples)))
    if self._by_length:
      order.sort(key=lambda i: len(examples[i]["inputs"]))
    results = [None] * len(examples)
    for start in range(0, len(order), self.batch_size):
      part = order[start : start + self.batch_size]
      batch = [examples[i] for i in part]
      if self._candidates is None:
        tokens = self.trainer.generate(batch, TARGETS_LENGTH)
        made = [{"prediction": self._decode(row)} for row in tokens]
      else:
        candidates = [self._candidates[e["slot_id"]] for e in batch]
        made = [{"scores": s} for s in self.trainer.score(batch, candidates)]
      for i, result in zip(part, made, strict=True):
        results[i] = result
    return results


def _check(mine, theirs, rank, tolerance):
  """Returns the share of equal rows; raises if the sides differ."""
  if rank:
    equal = [
      np.allclose(
        list(a["scores"].values()), b["scores"], rtol=tolerance, atol=tolerance
      )
      for a, b in zip(mine, theirs, strict=True)
    ]
    least = 1.0
  else:
    equal = [
      a["prediction"] == b["prediction"]
      for a, b in zip(mine, theirs, strict=True)
    ]
    # Random weights give near ties among 32,128 pieces, many of them in
    # bfloat16, and after a differing piece the rest differs too.
    least = 0.9 if tolerance < 1e-2 else 0.0
  share = float(np.mean(equal))
  if share < least:
    raise ValueError(f"only {share:.0%} of the predictions agree with PEFT's")
  return share


def _choose_batch_size(peer, sample, advance, clock):
  """Keeps the peer's fastest size of batches."""
  found = []
  for peer.batch_size in BATCH_SIZES:
    found.append((timed(peer.run, sample, clock=clock), peer.batch_size))
    advance()
  peer.batch_size = min(found)[1]


def _draw_rows(stage, count):
  rows = []
  while len(rows) < count:
    rows += stage.draw()
  return rows[:count]


def _row(bench, name, rank=False, by_length=True):
  stage = bench.stage("distill", labelled=rank)
  args = bench.args
  samples = [_draw_rows(stage, args.predict_rows) for _ in range(args.pairs)]
  with (
    tempfile.TemporaryDirectory() as folder,
    bench.task(f"{name}: warm-up") as advance,
  ):
    mine = _Ours(bench, stage, folder, rank)
    peer = _Peer(bench, stage, rank, by_length)
    agree = [
      _check(mine.run(sample), peer.run(sample), rank, bench.tolerance)
      for sample in samples
    ]
    advance()
    some = samples[0][: peer.batch_size]
    settings = choose_settings(peer, some, advance, bench.clock)
    if not args.predict_batch_size:
      _choose_batch_size(peer, samples[0], advance, bench.clock)
  with bench.task(f"{name}: pairs", len(samples)) as advance:
    a, b, _ = pairs(
      mine.run, peer.run, samples, advance, bench.clock, bench.rate
    )
  count = np.array([len(sample) for sample in samples])
  return Row(
    name,
    bench.model,
    float(np.median(count / a)),
    float(np.median(count / b)),
    "rows/s",
    list(b / a),
    f"{np.mean(agree):.0%} of the predictions agree; {settings}, batches of"
    f" {peer.batch_size}",
  )


def predict_row(bench, name):
  """Greedy generation of all TARGETS_LENGTH tokens against PEFT's generate.

  PEFT gets the rows in their given order. Random weights hardly ever end a
  sequence, so both sides generate to the end.
  """
  return _row(bench, name, by_length=False)


def predict_sorted_row(bench, name):
  """The same against a peer that sorts the rows by length as we do."""
  return _row(bench, name)


def rank_row(bench, name):
  """Scores of every label of the labelled sources' examples."""
  return _row(bench, name, rank=True)
