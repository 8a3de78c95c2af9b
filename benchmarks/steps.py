"""Rows of training steps: the stages against PEFT, and against padding."""

import os

import flops
import jax
import numpy as np
from bench import Row, check_equal, pairs, timed


def warm_up(trainer, batches, advance):
  """Runs a step for each shape; returns the number of shapes."""
  by_shape = {trainer.shape(batch): batch for batch in batches}
  for batch in by_shape.values():
    trainer.run([batch])
    advance()
  return len(by_shape)


def choose_settings(peer, sample, advance, clock):
  """Keeps the peer's fastest threads and attention; returns them as text."""
  import peft_peer
  import torch

  # The cores that this process may use: a container may have fewer.
  limit = os.cpu_count()
  if hasattr(os, "sched_getaffinity"):
    limit = len(os.sched_getaffinity(0))
  on_cpu = jax.default_backend() == "cpu"
  threads = {1, 2, limit // 2, limit, torch.get_num_threads()}
  threads &= set(range(1, limit + 1))
  found = []
  for attention in peft_peer.ATTENTIONS:
    for n in sorted(threads) if on_cpu else [limit]:
      peer.use(n, attention)
      peer.run(sample)
      found.append((timed(peer.run, sample, clock=clock), n, attention))
      advance()
  _, n, attention = min(found)
  peer.use(n, attention)
  rate = getattr(peer, "trainer", peer).product_rate(clock)
  return (
    f"peer: {attention}, {n} threads, its matrix product {rate / 1e9:.0f}"
    " Gflop/s"
  )


def _draw_samples(bench, draw):
  """Draws a list of batches for each pair; returns them and all batches."""
  args = bench.args
  samples = [[draw() for _ in range(args.steps)] for _ in range(args.pairs)]
  return samples, [batch for sample in samples for batch in sample]


def _measure(bench, name, mine, other, samples, notes):
  """Measures two trainers on the same batches; returns the row."""
  length = bench.args.prompt_length
  with bench.task(f"{name}: pairs", len(samples)) as advance:
    a, b, rates = pairs(
      mine.run, other.run, samples, advance, bench.clock, bench.rate
    )
  examples = np.array([sum(map(len, sample)) for sample in samples])
  work = np.array(
    [
      sum(
        flops.train_step(bench.config, batch, length, mine.distills)
        for batch in sample
      )
      for sample in samples
    ]
  )

  def used(seconds):
    return np.median(work / seconds / rates)

  padding = np.mean([mine.padding(b) for sample in samples for b in sample])
  return Row(
    name,
    bench.model,
    float(np.median(examples / a)),
    float(np.median(examples / b)),
    "examples/s",
    list(b / a),
    f"utilisation {used(a):.0%}, other {used(b):.0%}, of"
    f" {np.median(rates) / 1e9:.0f} Gflop/s; padding {padding:.0%}; {notes}",
  )


def step_row(bench, name):
  """Training steps of a stage against PEFT."""
  stage = bench.stage(name)
  mine, peer = bench.our_trainer(stage), bench.peer_trainer(stage)
  samples, batches = _draw_samples(bench, stage.draw)
  with bench.task(f"{name}: warm-up") as advance:
    batch = stage.draw()
    check_equal(name, mine.terms(batch), peer.terms(batch), bench.tolerance)
    shapes = warm_up(mine, batches, advance)
    settings = choose_settings(peer, batches[:1], advance, bench.clock)
    warm_up(peer, batches, advance)
  row = _measure(
    bench, name, mine, peer, samples, f"{settings}; {shapes} shapes"
  )
  if name == "distill":
    bench.distill_rate = row.ours
  return row


def padded_row(bench, name):
  """Our distill step against itself with all rows padded, like t5x."""
  stage = bench.stage("distill")
  mine = bench.our_trainer(stage)
  padded = bench.our_trainer(
    stage,
    row_each=True,
    pack=False,
    num_rows=bench.args.batch_size,  # All rows at the maximum.
    length_multiple=1,
  )
  samples, batches = _draw_samples(bench, stage.draw)
  with bench.task(f"{name}: warm-up") as advance:
    batch = stage.draw()
    check_equal(name, mine.terms(batch), padded.terms(batch), bench.tolerance)
    shapes = warm_up(mine, batches, advance)
    warm_up(padded, batches, advance)
  there = np.mean([padded.padding(batch) for batch in batches])
  notes = f"padding of the other {there:.0%}; {shapes} shapes"
  return _measure(bench, name, mine, padded, samples, notes)
