"""`mpt fit`: reads rows, trains a prompt, scores it and writes a report."""

import dataclasses
import html
import itertools
import json
import os
import pathlib
import time
import webbrowser
from collections.abc import Sequence

import mpt_jax as mpt
from mpt_jax.data.in_memory import task_files
from mpt_jax.fitting import gin_files, measuring, showing, sources
from mpt_jax.fitting.config import FitConfig
from mpt_jax.fitting.measuring import Scores
from mpt_jax.fitting.plan import make_plan
from mpt_jax.fitting.problem import Problem, make_problem
from mpt_jax.fitting.showing import Printer
from mpt_jax.io import digests, files, paths
from mpt_jax.process.progress import Progress
from mpt_jax.prompts.bank import load_bank
from mpt_jax.report import writing
from mpt_jax.report.readers.fits import NOTES, SCORES
from mpt_jax.training import loop, run_folder

# Names of files that say nothing about the task; the run's folder does.
GENERIC = ("train", "training", "data", "rows", "task")


@dataclasses.dataclass(frozen=True)
class FitRun:
  """A finished `fit`; a path-like object that stands for its folder.

  Attributes:
    folder: the run's folder.
    results: the `Scores` of each task by its name.
  """

  folder: str
  results: dict[str, Scores]

  def __fspath__(self) -> str:
    return self.folder

  @property
  def scores(self) -> dict:
    """score, interval, majority, tfidf, metric and examples of the only task.

    With several tasks, {task: these}.
    """
    made = {name: _short(scores) for name, scores in self.results.items()}
    return made if len(made) > 1 else next(iter(made.values()))

  @property
  def confusion(self):
    """The confusion matrix of the only task, or {task: matrix}.

    A matrix is {true label: {predicted label: rows}}, None without labels.
    """
    made = {k: _confusion(scores) for k, scores in self.results.items()}
    return made if len(made) > 1 else next(iter(made.values()))

  def report(self, show: bool = False) -> pathlib.Path:
    """Returns the path of the HTML page; with `show` a browser opens it."""
    path = pathlib.Path(self.folder, writing.FILE).absolute()
    if show:
      webbrowser.open(path.as_uri())
    return path

  def _repr_html_(self) -> str:
    names = ("task", "metric", "prompt", "interval", "tf-idf", "majority")
    head = "".join(f"<th>{name}</th>" for name in (*names, "rows"))
    rows = "".join(_html_row(*item) for item in self.results.items())
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _html_row(name: str, scores: Scores) -> str:
  """Returns the row of a task in the table that a notebook shows."""
  score, low, high, tfidf, majority = (
    showing.number(value, scores.metric)
    for value in (
      scores.score,
      *scores.interval,
      scores.tfidf,
      scores.majority,
    )
  )
  rows = f"{scores.examples:,} {scores.split}"
  cells = (scores.metric, score, f"{low} to {high}", tfidf, majority, rows)
  made = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
  return f"<tr><th>{html.escape(name)}</th>{made}</tr>"


def _short(scores: Scores) -> dict:
  names = ("score", "interval", "majority", "tfidf", "metric", "examples")
  return {name: getattr(scores, name) for name in (*names, "split", "method")}


def _confusion(scores):
  if scores.confusion is None:
    return None
  return {
    label: dict(zip(scores.labels, row, strict=True))
    for label, row in zip(scores.labels, scores.confusion, strict=True)
  }


def fit(
  *data,
  out,
  validation=None,
  test=None,
  name: str | Sequence[str] | None = None,
  printer: Printer | None = None,
  **settings,
) -> FitRun:
  """Trains a prompt on rows, and says how good it is.

  The same call resumes a run that was stopped, and returns a finished one.

  Args:
    *data: the training rows of a task: a path, a list of dicts, a dict of
      columns, a pandas.DataFrame or a datasets.Dataset. Several are several
      tasks, each with a prompt of its own.
    out: the folder of the run.
    validation: rows that choose the best step, in the same forms; by default a
      tenth of the training rows, of each label in proportion.
    test: rows for the score; by default another tenth, if there are 100 rows.
    name: the task's name, or the names of several tasks; by default that of
      the file, or of the folder `out`.
    printer: where to print; by default standard error.
    **settings: fields of `FitConfig`, such as text="question" and label="kind".

  Raises:
    FileNotFoundError: a file is missing.
    TypeError: the data has another type, or there is none.
    ValueError: the rows or the settings do not fit, or `out` holds another run.

  Example::

    run = fit(rows, text="question", label="kind", out="runs/trec")
    run.scores["score"], run.scores["interval"]
    # (0.83, (0.79, 0.86))
    mpt_jax.Predictor(run).predict(["Who wrote Ulysses?"])
  """
  config = FitConfig(**settings)
  if not data:
    raise TypeError("fit needs rows: a path, a list of dicts or a table")
  job = Fit(config, pathlib.Path(paths.expand(out)), printer or Printer())
  job.read(data, validation, test, name)
  return job.run()


class Fit:
  """One call of `fit`: what it knows so far.

  Args:
    config: the settings.
    out: the folder of the run.
    printer: where to print.

  Attributes:
    problems: the tasks; `read` makes them.
  """

  def __init__(self, config: FitConfig, out: pathlib.Path, printer: Printer):
    self.config, self.out, self.printer = config, out, printer
    self.problems: list[Problem] = []
    self.start = time.monotonic()

  def read(self, data, validation, test, name):
    """Reads all rows and makes the tasks."""
    if len(data) > 1 and (validation is not None or test is not None):
      raise ValueError(
        "validation and test rows belong to one task; several tasks have theirs"
        " drawn"
      )
    names = [name] if name is None or isinstance(name, str) else list(name)
    if name is not None and len(names) != len(data):
      raise ValueError(f"name={name!r}: {len(data)} tasks need as many names")
    for item, name in itertools.zip_longest(data, names):
      shown = item if isinstance(item, str | os.PathLike) else "the rows"
      self.printer.line(f"reading {shown}", "dim")
      source = sources.read_source(item, name)
      if len(data) == 1 and name is None and source.name in GENERIC:
        source = source._replace(name=sources.task_name(self.out))
      others = [
        None if other is None else sources.read_source(other)
        for other in (validation, test)
      ]
      self.problems.append(make_problem(source, self.config, *others))
    names = [problem.task.name for problem in self.problems]
    for twice in {n for n in names if names.count(n) > 1}:
      raise ValueError(
        f"two files make a task named {twice!r}; rename one of them"
      )

  def run(self) -> FitRun:
    done = self._find_done()
    if done is not None:
      return done
    self.plan = make_plan(self.problems, self.config)
    for problem, lengths in zip(self.problems, self.plan.lengths, strict=True):
      showing.show_problem(self.printer, problem, lengths)
    showing.show_plan(self.printer, self.plan, self.config.tune)
    self.printer.line("loading the T5 and compiling the first step", "dim")
    experiment = self.plan.experiment
    loop.train(
      experiment,
      model_dir=self.out,
      checkpoint_period=max(50, experiment.eval.period),
      log_period=10,
      tensorboard=False,
      description="fit",
      tasks={problem.task.name: problem.task for problem in self.problems},
      prepare=self._write_inputs,
    )
    return self._finish()

  def _notes(self) -> dict:
    """Returns what must be equal for a run to be the same."""
    settings = json.loads(json.dumps(dataclasses.asdict(self.config)))
    rows = {p.task.name: p.task.digest() for p in self.problems}
    return {"settings": settings, "rows": rows}

  def _find_done(self) -> FitRun | None:
    """Returns the finished run of the folder; None if there is none.

    Raises:
      ValueError: the folder holds a run with other settings or rows.
    """
    path = self.out / NOTES
    if not path.is_file() or not run_folder.has_trained(self.out):
      return None
    old, new = digests.read_sealed(path, "the settings of a fit"), self._notes()
    differ = [
      f"{key} (was {old['settings'].get(key)!r}, now {value!r})"
      for key, value in new["settings"].items()
      if old["settings"].get(key) != value
    ]
    if old["rows"] != new["rows"]:
      differ.append("the rows")
    if differ:
      raise ValueError(
        f"{self.out} holds a run with other settings: {', '.join(differ):.400};"
        " name another folder with --out"
      )
    if not (self.out / SCORES).is_file():
      self.printer.line(f"going on in {self.out}", "dim")
      return None
    saved = digests.read_sealed(self.out / SCORES, "the scores of a fit")
    results = {
      name: Scores.from_json(fields) for name, fields in saved["tasks"].items()
    }
    if not (self.out / writing.FILE).is_file():
      writing.write_report([self.out])
    self.printer.line(f"{self.out} is done already; its scores were:")
    self._show(results)
    return FitRun(str(self.out), results)

  def _write_inputs(self, folder):
    """Writes what the run was made of, before its first step."""
    task_files.save_tasks(folder, [p.task for p in self.problems])
    module = folder / f"{gin_files.MODULE}.py"
    files.write_text(module, gin_files.module_text(self.problems))
    text = gin_files.gin_text(self.plan.experiment, self.config.share)
    files.write_text(folder / gin_files.GIN, text)
    notes = json.dumps(digests.seal(self._notes()), indent=2) + "\n"
    files.write_text(folder / NOTES, notes)

  def _finish(self) -> FitRun:
    """Scores the best prompts and writes the numbers and the page."""
    bank = load_bank(self.out)
    chosen = {
      p.task.name: bank.best_of(bank.of_task(p.task.name))
      for p in self.problems
    }
    if self.config.tune:
      for task, slot in chosen.items():
        self.printer.line(f"best learning rate for {task}: {bank.names[slot]}")
    self.printer.line("scoring the best prompt and the baselines", "dim")
    predictor = mpt.Predictor(self.out)
    results = {}
    for problem in self.problems:
      task = problem.task
      # A bank of one prompt may have a column that is called task.
      own = (
        {"task": bank.names[chosen[task.name]]} if len(bank.names) > 1 else {}
      )
      rows = [{**row, **own} for row in task.rows[problem.scored]]
      with Progress("score", len(rows), transient=True) as bar:
        made = predictor.run(
          [predictor.prepare(row) for row in rows], advance=bar.advance
        )
      results[task.name] = measuring.measure(task, problem.scored, made)
    self._write_results(results, bank, chosen)
    self._show(results)
    return FitRun(str(self.out), results)

  def _write_results(self, results, bank, chosen):
    first = next(iter(results.values()))
    best_steps = {
      name: bank.slots[chosen[name]]["metrics"].get("step", 0)
      for name in results
    }
    fields = {
      **(_short(first) if len(results) == 1 else {}),
      "tasks": {name: scores.to_json() for name, scores in results.items()},
      "verdicts": {k: showing.verdict(scores) for k, scores in results.items()},
      "best_steps": best_steps,
      "facts": self._facts(best_steps),
      "commands": self._next(),
    }
    text = json.dumps(digests.seal(json.loads(json.dumps(fields))), indent=2)
    files.write_text(self.out / SCORES, text + "\n")
    writing.write_report([self.out])

  def _facts(self, best_steps) -> dict[str, object]:
    """Returns what the report says about the data and the run."""
    made = {}
    for problem, lengths in zip(self.problems, self.plan.lengths, strict=True):
      task = problem.task
      counts = ", ".join(f"{len(r):,} {s}" for s, r in task.rows.items())
      made[f"rows of {task.name}"] = (
        f"{counts} rows ({problem.held_out}); input {task.template}; longest"
        f" {lengths.longest_inputs} tokens, {lengths.cut:.1%} cut"
      )
    return {
      **made,
      "T5 parameters": self.plan.num_parameters,
      "parameters of a task": self.plan.per_task,
      "best step": list(best_steps.values()),
      "seconds": round(time.monotonic() - self.start),
      "prompts": str(self.out / "prompts" / "best.safetensors"),
    }

  def _next(self):
    fields = self.problems[0].texts
    names = [problem.task.name for problem in self.problems]
    split = self.problems[0].scored
    return showing.next_commands(self.out, fields, names, split)

  def _show(self, results):
    for scores in results.values():
      self.printer.line()
      showing.show_scores(self.printer, scores)
    prompt = self.out / "prompts" / "best.safetensors"
    self.printer.line()
    size = prompt.stat().st_size / 1e3
    self.printer.whole(f"prompt: {prompt} ({size:,.1f} kB)")
    self.printer.whole(f"report: {self.out / writing.FILE}")
    self.printer.line("go on with:", "bold")
    for command in self._next():
      self.printer.whole(f"  {command}")
