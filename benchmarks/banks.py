"""Rows of banks: many prompts in one program against a run for each."""

import tempfile
import time

import jax
import numpy as np
import ours
from bench import Row, check_equal
from jax.experimental.compilation_cache import compilation_cache


class _Runs:
  """The same slots as one bank and as runs of their own.

  Args:
    bench: the shared settings.
    num_slots: prompts; slot i draws from source i modulo their number.
    rank: 0 for teachers, 1 for targets.
  """

  def __init__(self, bench, num_slots, rank):
    self._bench, self._rank = bench, rank
    self.num_slots = num_slots
    workload = bench.workload()
    num_sources = len(workload.sources)
    self.steps = [
      [
        {**workload.example(slot % num_sources), "slot_id": slot}
        for slot in range(num_slots)
        for _ in range(bench.args.slot_examples)
      ]
      for _ in range(bench.args.bank_steps)
    ]
    self._prompts = bench.prompts(num_slots, rank, num_groups=num_slots)
    self._workload = workload

  def run(self, slots):
    """Trains these slots in one bank, with an empty compilation cache.

    Returns:
      Seconds in all, seconds of the fastest step, and for the first and the
      last step the loss of each slot.
    """
    jax.clear_caches()
    start = time.perf_counter()
    number = {slot: i for i, slot in enumerate(slots)}
    config = ours.batch_config(
      self._workload,
      self._bench.args.prompt_length,
      len(slots),
      **self._bench.layout,
    )
    trainer = ours.Trainer(
      self._bench.config,
      self._bench.params,
      {k: v[list(slots)] for k, v in self._prompts.items()},
      config,
      groups=tuple(range(len(slots))),
    )
    seconds, losses = [], []
    for examples in self.steps:
      step_start = time.perf_counter()
      metrics = trainer.run(
        [
          [
            {**e, "slot_id": number[e["slot_id"]]}
            for e in examples
            if e["slot_id"] in number
          ]
        ]
      )
      seconds.append(time.perf_counter() - step_start)
      sums, counts = map(np.asarray, metrics["loss"])
      losses.append(dict(zip(slots, (sums / counts).tolist(), strict=True)))
    return time.perf_counter() - start, min(seconds), losses

  def cached_seconds(self, slot):
    """Seconds of a slot's run whose compiled programs are on the disk.

    `mpt_jax.train` finds them there after another run with the same shapes.
    """
    before = jax.config.jax_compilation_cache_dir
    with tempfile.TemporaryDirectory() as folder:
      jax.config.update("jax_compilation_cache_dir", folder)
      try:
        self.run([slot])
        return self.run([slot])[0]
      finally:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()


def _bank_row(bench, name, runs, measured):
  """Measures the row of a bank.

  Args:
    bench: the shared settings.
    name: the row's name.
    runs: the runs of the slots.
    measured: for each pair the slots that run alone; their time represents that
      of all slots.
  """
  times, checked = [], 0
  num = runs.num_slots
  with bench.task(name, sum(map(len, measured)) + len(measured) + 1) as advance:
    for i, slots in enumerate(measured):
      alone = []
      bank = runs.run(range(num)) if i % 2 == 0 else None
      for slot in slots:
        alone.append(runs.run([slot]))
        advance()
      bank = bank or runs.run(range(num))
      advance()
      for slot, (_, _, losses) in zip(slots, alone, strict=True):
        # Adam turns the sign of a tiny gradient into a whole step, so rounding
        # differences grow from step to step.
        for step, tolerance in ((0, bench.tolerance), (-1, 1e-2)):
          ours_loss = {"loss": bank[2][step][slot]}
          other = {"loss": losses[step][slot]}
          check_equal(f"{name}, slot {slot}", ours_loss, other, tolerance)
        checked += 1
      whole, step = np.mean([run[:2] for run in alone], axis=0)
      times.append((bank[0], num * whole, bank[1], step))
    cached = runs.cached_seconds(measured[0][0])
    advance()
  total, alone, step, alone_step = np.median(times, axis=0)
  with_cache = (alone / num + (num - 1) * cached) / total
  distinct = len({slot for slots in measured for slot in slots})
  how = "each run" if distinct == num else f"{distinct} run, times {num}"
  return Row(
    name,
    bench.model,
    float(total),
    float(alone),
    "seconds",
    [b / a for a, b, *_ in times],
    f"{num} slots, {len(runs.steps)} steps of {bench.args.slot_examples}"
    f" examples a slot; fastest step {step:.2f} s against {num} ×"
    f" {alone_step:.3f} s, the rest is compilation; alone: {how}; {checked}"
    f" losses agree; {with_cache:.2f} where each run but the first takes"
    f" {cached:.1f} s, its programs read from the disk",
  )


def teachers_row(bench, name):
  """One bank with a teacher for each source against a run for each."""
  runs = _Runs(bench, len(bench.args.sources), rank=0)
  slots = list(range(runs.num_slots))
  if bench.args.quick:
    measured = [[i % runs.num_slots] for i in range(bench.args.pairs)]
  else:
    measured = [slots] * bench.args.pairs
  return _bank_row(bench, name, runs, measured)


def sweep_row(bench, name):
  """One bank of few-shot targets against a run for each.

  The runs are shared out over the pairs, so that each runs once.
  """
  runs = _Runs(bench, bench.args.slots, rank=1)
  pairs = bench.args.pairs
  measured = [
    list(range(i, runs.num_slots, pairs))
    for i in range(min(pairs, runs.num_slots))
  ]
  if bench.args.quick:
    measured = [slots[:1] for slots in measured]
  return _bank_row(bench, name, runs, measured)
