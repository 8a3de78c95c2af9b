"""What `mpt fit` prints: what it found, and the scores at the end."""

import shlex

import rich.box
import rich.console
import rich.table
from rich.text import Text

from mpt_jax.fitting.measuring import Scores
from mpt_jax.fitting.plan import Plan
from mpt_jax.fitting.problem import Problem, label_balance

# Most labels of a table on the terminal.
MOST_LABELS = 12
# A terminal of fewer columns does without the last column of a wide table.
WIDE = 70
KINDS = {
  "labels": "one of {count} labels",
  "number": "a number from {low} to {high}",
  "text": "a text to generate",
}
# Metrics in 0..100; the others are fractions.
PERCENT = ("bleu", "bleu_e2e", "bleu_webnlg")


class Printer:
  """Prints lines and tables that fit the terminal.

  Args:
    console: where to print; standard error by default.
  """

  def __init__(self, console: rich.console.Console | None = None):
    self.console = console or rich.console.Console(stderr=True)

  def line(self, text: str = "", style: str = ""):
    self.console.print(Text(text, style=style), highlight=False)

  def whole(self, text: str):
    """Prints a line that may be pasted, so that only the terminal wraps it."""
    self.console.print(Text(text), highlight=False, soft_wrap=True)

  def fields(self, title: str, pairs):
    """Prints a heading and pairs of a name and a text."""
    self.line(title, "bold")
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, text in pairs:
      grid.add_row(f"  {name}", Text(str(text)))
    self.console.print(grid)


def show_problem(printer: Printer, problem: Problem, lengths):
  """Prints what was found in the rows of a task."""
  task = problem.task
  words = {"count": len(task.label_names or ())}
  if task.kind == "number":
    words |= {"low": task.label_names[0], "high": task.label_names[-1]}
  counts = ", ".join(
    f"{len(rows):,} {split}" for split, rows in task.rows.items()
  )
  pairs = [
    ("rows", f"{counts} ({problem.held_out})"),
    ("input", task.template),
    ("target", f"{problem.label!r}: {KINDS[task.kind].format(**words)}"),
  ]
  if problem.dropped:
    rows = "row has" if problem.dropped == 1 else "rows have"
    pairs.insert(
      1, ("left out", f"{problem.dropped:,} {rows} no text or no target")
    )
  if task.kind == "labels":
    pairs.append(("labels", label_balance(problem)))
  cut = f"; {lengths.cut:.1%} are cut" if lengths.cut else ""
  pairs.append(("longest", f"{lengths.longest_inputs} tokens{cut}"))
  printer.fields(task.name, pairs)


def show_plan(printer: Printer, plan: Plan, tune: bool):
  """Prints what will be trained, and on which T5."""
  experiment, network = plan.experiment, plan.network
  name = experiment.backbone
  t5 = f"{name}, {plan.num_parameters / 1e6:,.1f} million parameters, frozen"
  start = experiment.slots[0].source
  prompt = f"{experiment.prompt_length} x {network.emb_dim} numbers"
  if experiment.rank:
    prompt += f", rank {experiment.rank}"
  if start is not None:
    prompt += f", from {start}"
  optimizer, batch = experiment.optimizer, experiment.mix.batch_size
  training = (
    f"at most {experiment.total_steps:,} steps of {batch} examples at learning"
    f" rate {optimizer.learning_rate:g}"
  )
  if tune:
    scales = dict.fromkeys(s.learning_rate_scale for s in experiment.slots)
    training += f", times {', '.join(f'{scale:g}' for scale in scales)}"
  pairs = [("T5", t5), ("prompt", prompt), ("training", training)]
  if plan.seconds is not None:
    pairs.append(("time", f"about {duration(plan.seconds)}, at most"))
  if name == "default":
    pairs.append(
      (
        "note",
        "this T5 is small and knows little, and is here to try things;"
        " --backbone google/flan-t5-base takes a real one",
      )
    )
  printer.fields("the run", pairs)


def duration(seconds: float) -> str:
  """Returns a length of time for people.

  >>> duration(8), duration(250), duration(9000)
  ('10 seconds', '4 minutes', '2.5 hours')
  """
  if seconds < 55:
    return f"{max(1, round(seconds / 5)) * 5} seconds"
  if seconds < 5400:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"
  return f"{seconds / 3600:.1f} hours"


def number(value: float, metric: str) -> str:
  """Returns a score for people: a share in percent, else as it is.

  >>> number(0.7134, "accuracy"), number(31.25, "bleu"), number(0.5, "pearson")
  ('71.3 %', '31.2', '0.500')
  """
  if metric in PERCENT:
    return f"{value:.1f}"
  if metric in ("pearson", "spearman", "matthews"):
    return f"{value:.3f}"
  return f"{100 * value:.1f} %"


def verdict(scores: Scores) -> str:
  """Says in a sentence how the prompt compares with the baselines."""
  low, high = scores.interval
  others = {"majority": scores.majority, "tf-idf": scores.tfidf}
  name, best = max(others.items(), key=lambda pair: pair[1])
  if low > best:
    return f"The prompt is better than {name}, the better baseline."
  if high < best:
    return f"The prompt is worse than {name}: use that, or a larger T5."
  return f"The prompt and {name} cannot be told apart on these rows."


def show_scores(printer: Printer, scores: Scores):
  """Prints the scores of a task, and what is behind them."""
  metric = scores.metric
  low, high = (number(x, metric) for x in scores.interval)
  printer.line(
    f"{scores.task}: {metric.replace('_', ' ')} on {scores.examples:,}"
    f" {scores.split} rows",
    "bold",
  )
  table = _table("", "score", "95 % interval")
  table.add_row(
    "this prompt",
    Text(number(scores.score, metric), style="bold"),
    f"{low} to {high} ({scores.method})",
  )
  table.add_row("tf-idf", number(scores.tfidf, metric), "")
  table.add_row("majority", number(scores.majority, metric), "")
  printer.console.print(table)
  printer.line(verdict(scores))
  if scores.split == "validation":
    printer.line(
      "These rows chose the best step too, so the score is a little too good."
    )
  if scores.per_class:
    printer.line()
    _show_classes(printer, scores)
  if scores.mistakes:
    printer.line()
    _show_mistakes(printer, scores.mistakes)


def _table(*headings):
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False)
  for i, heading in enumerate(headings):
    table.add_column(heading, justify="right" if i else "left", overflow="fold")
  return table


def _show_classes(printer, scores):
  shown = list(scores.per_class.items())
  shown.sort(key=lambda pair: -pair[1]["rows"])
  headings = ["label", "precision", "recall", "F1", "rows", "taken for"]
  if printer.console.width < WIDE:
    headings.pop()
  table = _table(*headings)
  for label, own in shown[:MOST_LABELS]:
    row = scores.confusion[scores.labels.index(label)]
    wrong = {
      other: count
      for other, count in zip(scores.labels, row, strict=True)
      if count and other != label
    }
    most = max(wrong, key=wrong.get, default=None)
    cells = [
      Text(label),
      *(f"{100 * own[name]:.0f}" for name in ("precision", "recall", "f1")),
      f"{own['rows']:,}",
      Text(f"{most} {wrong[most]}" if most else ""),
    ]
    table.add_row(*cells[: len(headings)])
  printer.console.print(table)
  if len(shown) > MOST_LABELS:
    printer.line(f"{len(shown) - MOST_LABELS} more labels are in the report.")


def _show_mistakes(printer, mistakes):
  printer.line("the most confident mistakes", "bold")
  for made in mistakes[:3]:
    sure = f" ({made['probability']:.0%})" if "probability" in made else ""
    text = " ".join(made["input"].split())
    width = max(20, printer.console.width - 4)
    shown = text if len(text) <= width else text[: width - 1] + "…"
    printer.line(f"  {shown}", "dim")
    printer.line(f"    {made['prediction']}{sure}, in truth {made['target']}")


def next_commands(out, template_fields, names, split) -> list[str]:
  """Returns commands to paste: predict, evaluate, export.

  Args:
    out: the run's folder.
    template_fields: the fields of a row.
    names: the tasks.
    split: the split of the scores.
  """
  folder = shlex.quote(str(out))
  task = f" --task {shlex.quote(names[0])}" if len(names) > 1 else ""
  example = ", ".join(f'"{field}": "..."' for field in template_fields)
  line = shlex.quote(f"{{{example}}}")
  return [
    f"echo {line} | mpt predict --prompts {folder}{task}",
    f"mpt eval --run {folder} --split {split}",
    f"mpt export {folder} --out {shlex.quote(f'{out}_peft')} --to peft" + task,
  ]
