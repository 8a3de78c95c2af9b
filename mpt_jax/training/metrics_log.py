"""Reports the metrics of a run: terminal, JSONL file and TensorBoard."""

import contextlib
import dataclasses
import json
import math
import time

import jax
import numpy as np
import rich.box
import rich.console
import rich.table
from etils import epath
from rich.text import Text

from mpt_jax.data import batches
from mpt_jax.io import digests, errors, files
from mpt_jax.io.errors import TrainingDiverged
from mpt_jax.model.faults import describe_all, read_faults
from mpt_jax.process import progress, stderr


class MetricsLog:
  """Writes scalars of a run and shows its progress, on process 0 only.

  Args:
    model_dir: folder for `metrics.jsonl` and TensorBoard's event files.
    num_steps: length of the run.
    first_step: the step at which the run resumes, or 0. Lines of later steps
      are dropped from the file, because those steps run again. At 0 the event
      files of a run that ended before its first checkpoint are removed too.
    description: text before the progress bar.
    tensorboard: write event files.
    evaluates: the first step will be evaluated, so that line is dropped too.
  """

  def __init__(
    self,
    model_dir,
    num_steps,
    first_step=0,
    description="",
    tensorboard=True,
    evaluates=False,
  ):
    self._path = epath.Path(model_dir) / "metrics.jsonl"
    self._file = self._writer = None
    self._unread = 0
    self._is_primary = jax.process_index() == 0
    if self._is_primary:
      self._keep_until(first_step, evaluates)
      if not first_step:
        self._remove_events()
      self._file = self._path.open("a", encoding="utf-8")
    if self._is_primary and tensorboard:
      with _writing_events(model_dir):
        from clu import metric_writers

        self._writer = metric_writers.SummaryWriter(str(model_dir))
    self._console = rich.console.Console(stderr=True)
    # Without a total the bar moves, until the first step is compiled and done.
    self._bar = progress.Progress(
      description,
      None,
      first_step,
      console=self._console,
      show=self._is_primary,
    )
    self._description = description
    self._num_steps, self._step = num_steps, first_step
    self._scores = ()
    self._start = time.monotonic()

  def _keep_until(self, step, evaluates):
    if not self._path.exists():
      return
    kept, lines = [], self._path.read_bytes().splitlines()
    rows = digests.read_lines(self._path)
    for line, (_, found) in zip(lines, rows, strict=True):
      # The run was killed while it wrote such a line, or the line is damaged.
      if found is None or type(found.get("step")) is not int:
        self._unread += 1
        continue
      again = evaluates and (found["step"], found.get("kind")) == (step, "eval")
      if found["step"] <= step and not again:
        kept.append(line + b"\n")
    files.write_bytes(self._path, b"".join(kept))

  def _remove_events(self):
    for path in self._path.parent.iterdir():
      if path.name.startswith("events.out.tfevents."):
        path.unlink()

  def __enter__(self):
    self._bar.__enter__()
    if self._unread:
      self.note(f"dropped {self._unread} unreadable lines of {self._path}")
    return self

  def __exit__(self, *exception):
    self._bar.__exit__(*exception)
    if self._file:
      self._file.close()
    if self._writer:
      # After a full disk these files fail too, and that error says less.
      failed = exception[0] is not None
      with contextlib.suppress(*([OSError] if failed else [])):
        with _writing_events(self._path.parent):
          self._writer.flush()
          self._writer.close()

  def advance(self, step):
    self._step = step
    self._bar.update(step, self._num_steps)

  def score(self, value, best):
    """Takes the mean score of an evaluation, and that of the best prompts.

    They stand first beside the bar, so that they stay in a narrow terminal.
    """
    self._scores = (f"score {value:.4g}", f"best {best:.4g}")
    self._bar.update(self._step, values=self._scores)

  def note(self, text):
    """Prints a line above the progress bar, after the run's description."""
    if self._is_primary:
      self._bar.print(f"{self._description}: {text}")

  def fault(self, fault):
    """Reports a slot that is frozen, a `model.faults.Fault`."""
    self.note(fault.report)
    if self._is_primary:
      self._write_line(fault.step, "fault", fault._asdict())

  def faults(self, faults, num_slots):
    """Prints a table of the slots that are frozen.

    Args:
      faults: the `model.faults.Fault` of each of them.
      num_slots: all slots of the bank.
    """
    if self._is_primary:
      print_faults(self._description, faults, num_slots, self._console)

  def not_finite(self, step, slots, metrics, names):
    """Reports slots whose main metric cannot be compared.

    Args:
      step: steps done.
      slots: the slots of the bank.
      metrics: the metrics of each slot.
      names: the name of each slot's main metric.
    """
    each = zip(slots, metrics, names, strict=True)
    found = [
      f"{name} of {slot.name} is {own[name]}"
      for slot, own, name in each
      if not math.isfinite(own[name])
    ]
    if found:
      more = f", and of {len(found) - 3} more" if len(found) > 3 else ""
      self.note(
        f"step {step}: {', '.join(found[:3])}{more}; this step cannot be the"
        " best one there"
      )

  def _write_line(self, step, kind, values):
    seconds = round(time.monotonic() - self._start, 3)
    # JSON has no NaN, which a metric may be.
    values = {
      k: v if not isinstance(v, float) or math.isfinite(v) else None
      for k, v in values.items()
    }
    line = {"step": step, "kind": kind, "seconds": seconds, **values}
    with errors.writing(self._path):
      self._file.write(json.dumps(digests.seal(line)) + "\n")
      self._file.flush()

  def write(self, step, kind, scalars, shown=()):
    """Logs scalars.

    Args:
      step: steps done.
      kind: "train" or "eval".
      scalars: name -> float.
      shown: names to show in the terminal.
    """
    if not self._is_primary:
      return
    self._write_line(step, kind, scalars)
    if self._writer:
      with _writing_events(self._path.parent):
        self._writer.write_scalars(
          step, {f"{kind}/{k}": v for k, v in scalars.items()}
        )
    values = [f"{k} {scalars[k]:.4g}" for k in shown if k in scalars]
    if self._console.is_terminal and kind == "train":
      self._bar.update(step, values=(*self._scores, *values))
    else:
      self._bar.print(
        f"{self._description} {kind} step {step}/{self._num_steps}"
        f"  {'  '.join(values)}"
      )


def print_faults(description, faults, num_slots, console=None):
  """Prints a table of the slots that are frozen.

  Args:
    description: stands before the title.
    faults: the `model.faults.Fault` of each of them.
    num_slots: all slots of the bank.
    console: where to print; None for standard error.
  """
  drawn = rich.table.Table(
    title=f"{description}: {len(faults)} of {num_slots} slots diverged",
    title_justify="left",
    box=rich.box.SIMPLE_HEAD,
    show_edge=False,
  )
  drawn.add_column("slot", overflow="fold")
  drawn.add_column("frozen since", justify="right")
  drawn.add_column("first in")
  for fault in faults:
    drawn.add_row(Text(fault.slot), f"step {fault.step}", fault.term)
  (console or rich.console.Console(stderr=True)).print(drawn)


@contextlib.contextmanager
def _writing_events(folder):
  """Turns TensorFlow's errors over event files into one line.

  TensorFlow also prints them, before it raises them.
  """
  import tensorflow as tf

  import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before TensorFlow.

  try:
    with stderr.silenced():
      yield
  except tf.errors.OpError as error:
    # "FILE; No space left on device, and more lines"
    reason = " ".join(error.message.split())[:300]
    raise OSError(f"cannot write events to {folder}: {reason}") from error


class Window:
  """Sums the metrics of some steps, and finds slots that diverge.

  Args:
    slots: the slots of the bank.

  Attributes:
    report: called once with the `model.faults.Fault` of a slot.
  """

  def __init__(self, slots):
    self._names = [slot.name for slot in slots]
    self.report = lambda fault: None
    self._known = set()
    self._sums = {}
    self._stats = batches.BatchStats()
    self._norm = 0.0
    self._pending = None
    self.restart_clock()

  def restart_clock(self):
    self._start = time.monotonic()
    self._timed_tokens = 0

  def push(self, step, stats, metrics):
    """Takes a step's metrics, and reads those of the previous step.

    The device runs this step in the meantime.

    Args:
      step: steps done.
      stats: `BatchStats` of the step's batch.
      metrics: the metrics of `step.make_train_step`, on the device.

    Raises:
      TrainingDiverged: no slot is left to train after the previous step, or a
        T5 that trains had a loss or gradient that is not finite.
    """
    self.catch_up()
    self._pending = (step, stats, metrics)

  def catch_up(self):
    """Waits for the last step and reads its metrics."""
    if self._pending is not None:
      pending, self._pending = self._pending, None
      self._add(*pending)

  def _add(self, step, stats, metrics):
    metrics = jax.device_get(metrics)
    self._norm = float(metrics.pop("grad_norm"))
    if "faults" in metrics:
      self._see_faults(read_faults(metrics.pop("faults"), self._names))
    finite = np.ones(len(self._names), bool)
    for name, (total, count) in metrics.items():
      finite &= np.isfinite(total[: len(self._names)])
      old = self._sums.get(name, (0.0, 0.0))
      self._sums[name] = (old[0] + total, old[1] + count)
    if not (finite.all() and math.isfinite(self._norm)):
      where = [n for n, ok in zip(self._names, finite, strict=True) if not ok]
      advice = "Try a lower learning_rate"
      if step == 1:  # No update came before.
        advice = "Check the weights that it started from"
      raise TrainingDiverged(
        f"the loss is not finite at step {step}, on"
        f" {', '.join(where) or 'the gradient of all tasks'}; the run stopped"
        f" at its last checkpoint. {advice}"
      )
    self._stats += stats
    self._timed_tokens += stats.num_tokens

  def _see_faults(self, faults):
    """Reports new faults; stops the run if no slot is left."""
    for fault in faults:
      if fault.slot not in self._known:
        self.report(fault)
    self.know(faults)
    if len(self._known) == len(self._names):
      raise TrainingDiverged(describe_all(faults))

  def know(self, faults):
    """Takes faults that were reported before."""
    self._known |= {fault.slot for fault in faults}

  def pending(self) -> dict:
    """Returns what `flush` would report, for JSON; empty after `flush`.

    All floats are exact: JSON has enough digits for float32.
    """
    self.catch_up()
    if not self._sums:
      return {}
    sums = {
      name: [np.asarray(part, np.float32).tolist() for part in parts]
      for name, parts in self._sums.items()
    }
    stats = {k: int(v) for k, v in dataclasses.asdict(self._stats).items()}
    return {"sums": sums, "stats": stats, "norm": self._norm}

  def resume(self, pending):
    """Goes on from what `pending` returned in an earlier process."""
    if not pending:
      return
    self._norm = pending["norm"]
    self._stats = batches.BatchStats(**pending["stats"])
    for name, parts in pending["sums"].items():
      self._sums[name] = tuple(np.array(part, np.float32) for part in parts)

  def flush(self):
    """Returns the means over the window, over all tokens and for each slot."""
    self.catch_up()
    seconds = time.monotonic() - self._start
    scalars = {}
    for name, (total, count) in self._sums.items():
      scalars[name] = float(total.sum() / max(count.sum(), 1.0))
    total, count = self._sums["loss"]
    if len(self._names) > 1 and len(total) == len(self._names):
      for i, name in enumerate(self._names):
        if count[i]:
          scalars[f"loss/{name}"] = float(total[i] / count[i])
    scalars["grad_norm"] = self._norm
    scalars["tokens_per_second"] = self._timed_tokens / max(seconds, 1e-9)
    scalars["padding_fraction"] = self._stats.padding_fraction
    scalars["truncated_inputs"] = self._stats.num_truncated_inputs
    scalars["truncated_targets"] = self._stats.num_truncated_targets
    self._sums, self._stats = {}, batches.BatchStats()
    self.restart_clock()
    return scalars


def check_finite(trainable, slots, prompts, step):
  """Refuses to save prompts that are not finite.

  Args:
    trainable: the trainable parameters.
    slots: the slots of the bank.
    prompts: the bank's `PromptConfig`; None for a T5 without prompts.
    step: steps done.

  Raises:
    TrainingDiverged: a parameter of a prompt is not finite.
  """
  bad = set()
  for name, value in trainable.get("prompt", {}).items():
    finite = np.isfinite(np.asarray(value).reshape(len(value), -1)).all(axis=1)
    finite = finite[prompts.rows(name)]
    bad |= {s.name for s, ok in zip(slots, finite, strict=True) if not ok}
  if bad:
    raise TrainingDiverged(
      f"the prompts are not finite after step {step}, on"
      f" {', '.join(sorted(bad))}; the run stopped at its last checkpoint. Try"
      " a lower learning_rate"
    )
