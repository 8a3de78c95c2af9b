"""What a run reports: terminal, JSONL file and TensorBoard."""

import json
import os
import pathlib
import sys
import time

import rich.console
import rich.progress


class MetricsLog:
  """Writes scalars of a run and shows its progress.

  Args:
    model_dir: gets `metrics.jsonl` and TensorBoard's event files.
    num_steps: length of the run.
    first_step: steps done before, of a run that resumes. Lines of later steps
      are dropped from the file: those steps are run again.
    description: shown before the bar.
    tensorboard: write event files.
  """

  def __init__(
    self, model_dir, num_steps, first_step=0, description="", tensorboard=True
  ):
    self._path = pathlib.Path(model_dir) / "metrics.jsonl"
    self._keep_until(first_step)
    self._file = self._path.open("a", encoding="utf-8")
    self._writer = None
    if tensorboard:
      from clu import metric_writers

      self._writer = metric_writers.SummaryWriter(str(model_dir))
    self._console = rich.console.Console(stderr=True)
    self._bar = rich.progress.Progress(
      "{task.description}",
      rich.progress.BarColumn(bar_width=20),
      rich.progress.MofNCompleteColumn(),
      rich.progress.TimeRemainingColumn(),
      "{task.fields[shown]}",
      console=self._console,
      disable=not self._console.is_terminal,
    )
    self._task = self._bar.add_task(
      description, total=num_steps, completed=first_step, shown=""
    )
    self._description = description
    self._num_steps = num_steps
    self._start = time.monotonic()

  def _keep_until(self, step):
    if not self._path.exists():
      return
    lines = self._path.read_text(encoding="utf-8").splitlines()
    kept = []
    for line in lines:
      try:
        if json.loads(line)["step"] <= step:
          kept.append(line)
      except (json.JSONDecodeError, KeyError):
        continue  # A line that a killed run did not finish.
    temporary = self._path.with_name(self._path.name + ".tmp")
    temporary.write_text("".join(f"{k}\n" for k in kept), encoding="utf-8")
    os.replace(temporary, self._path)

  def __enter__(self):
    self._bar.start()
    return self

  def __exit__(self, *exception):
    self._bar.stop()
    self._file.close()
    if self._writer:
      self._writer.flush()
      self._writer.close()

  def advance(self, step):
    self._bar.update(self._task, completed=step)

  def note(self, text):
    """Prints a line above the bar."""
    if self._console.is_terminal:
      self._bar.console.print(text, highlight=False)
    else:
      print(text, file=sys.stderr, flush=True)

  def write(self, step, kind, scalars, shown=()):
    """Logs scalars.

    Args:
      step: steps done.
      kind: "train" or "eval".
      scalars: name -> float.
      shown: names to show in the terminal.
    """
    line = {
      "step": step,
      "kind": kind,
      "seconds": round(time.monotonic() - self._start, 3),
      **scalars,
    }
    self._file.write(json.dumps(line) + "\n")
    self._file.flush()
    if self._writer:
      self._writer.write_scalars(
        step, {f"{kind}/{k}": v for k, v in scalars.items()}
      )
    text = "  ".join(f"{k} {scalars[k]:.4g}" for k in shown if k in scalars)
    if self._console.is_terminal and kind == "train":
      self._bar.update(self._task, completed=step, shown=text)
    else:
      self.note(
        f"{self._description} {kind} step {step}/{self._num_steps}  {text}"
      )
