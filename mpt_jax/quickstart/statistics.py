"""The quickstart's results: means over seeds, paired differences, tables.

A row of results is a dict {"stage": "teach" | "distill" | "adapt", "method",
"task", "shots": int or None for all examples, "seed": int or None, "metric",
"value", "num_examples"}.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mpt_jax.report.names import NAMES as METHODS

METRIC = "balanced_accuracy"
NARROW = {
  "majority": "major-\nity",
  "tf-idf + LR": "tf-idf\n+ LR",
  "examples per class": "exam-\nples\nper\nclass",
  "test examples": "test\nexam-\nples",
}
PROMPT_METHODS = ("prompt_tuning", "spot", "mpt")
# These do not use a target's examples, so one value holds for all numbers of
# shots and all seeds.
UNTRAINED = ("majority", "no_prompt", "native_prefix")


class Summary(NamedTuple):
  """A method on a task, over seeds; `std` is None if there is one seed."""

  mean: float
  std: float | None
  num_seeds: int
  num_examples: int


class Difference(NamedTuple):
  """Paired difference of two methods, in the unit of the metric.

  Attributes:
    mean: mean over the pairs.
    standard_error: standard error of that mean; None for one pair.
    num_pairs: number of common (task, shots, seed).
    ahead: number of (task, shots) whose mean difference is above zero.
    total: number of (task, shots) compared.
    num_tasks: number of tasks compared.
  """

  mean: float
  standard_error: float | None
  num_pairs: int
  ahead: int
  total: int
  num_tasks: int

  @property
  def interval(self) -> tuple[float, float] | None:
    """Student's 95 % confidence interval of the mean, None for one pair."""
    if self.standard_error is None:
      return None
    from scipy import stats

    margin = stats.t.ppf(0.975, self.num_pairs - 1) * self.standard_error
    return self.mean - margin, self.mean + margin


class Table(NamedTuple):
  """A table for terminal and page: rows of (text, is_bold) cells."""

  title: str
  headers: list[str]
  rows: list[list[tuple[str, bool]]]
  notes: list[str]


def _std(values) -> float | None:
  return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _values(rows: Sequence[dict], metric: str) -> dict:
  """{(stage, task, shots): {method: {seed: (value, num_examples)}}}."""
  found = {}
  for row in rows:
    if row["metric"] != metric:
      continue
    where = (row["stage"], row["task"], row.get("shots"))
    seeds = found.setdefault(where, {}).setdefault(row["method"], {})
    if row.get("seed") in seeds:
      raise ValueError(
        f"results have two rows of stage, task, shots {where}, method"
        f" {row['method']!r} and seed {row.get('seed')}: each may occur once"
      )
    seeds[row.get("seed")] = (float(row["value"]), row.get("num_examples", 0))
  return found


def _summary(seeds: dict) -> Summary:
  values = [value for value, _ in seeds.values()]
  smallest = min(count for _, count in seeds.values())
  return Summary(float(np.mean(values)), _std(values), len(values), smallest)


def summarize(rows: Sequence[dict], metric: str = METRIC) -> dict:
  """Means and sample standard deviations over seeds.

  >>> row = dict(stage="adapt", task="sms", shots=16, method="mpt",
  ...            metric="balanced_accuracy", num_examples=400)
  >>> rows = [row | dict(seed=0, value=0.5), row | dict(seed=1, value=1.0)]
  >>> summary = summarize(rows)["adapt", "sms", 16]["mpt"]
  >>> summary.mean, round(summary.std, 4), summary.num_seeds
  (0.75, 0.3536, 2)

  Args:
    rows: see the module's docstring.
    metric: rows of other metrics are left out.

  Returns:
    {(stage, task, shots): {method: Summary}}, in the order of the rows.

  Raises:
    ValueError: two rows for the same stage, task, shots, method and seed.
  """
  return {
    where: {method: _summary(seeds) for method, seeds in methods.items()}
    for where, methods in _values(rows, metric).items()
  }


def paired_difference(
  rows: Sequence[dict], method: str, baseline: str, metric: str = METRIC
) -> Difference | None:
  """`method` minus `baseline` over the (task, shots, seed) that both have.

  The standard error is the sample standard deviation of the differences over
  the root of their number. It measures these tasks, seeds and test examples;
  it says nothing about other tasks.

  Returns:
    The difference in stage adapt, or None where the two have nothing in
    common.
  """
  by_row = {}
  for (stage, task, shots), methods in _values(rows, metric).items():
    ours, theirs = methods.get(method, {}), methods.get(baseline, {})
    pairs = [ours[s][0] - theirs[s][0] for s in ours if s in theirs]
    if stage == "adapt" and pairs:
      by_row[task, shots] = pairs
  if not by_row:
    return None
  pairs = [d for differences in by_row.values() for d in differences]
  std = _std(pairs)
  return Difference(
    mean=float(np.mean(pairs)),
    standard_error=None if std is None else std / math.sqrt(len(pairs)),
    num_pairs=len(pairs),
    ahead=sum(np.mean(differences) > 0 for differences in by_row.values()),
    total=len(by_row),
    num_tasks=len({task for task, _ in by_row}),
  )


def verdict(
  rows: Sequence[dict], baseline: str = "prompt_tuning", metric: str = METRIC
) -> str:
  """One sentence on MPT against a baseline, no stronger than the numbers."""
  name = METHODS.get(baseline, baseline)
  found = paired_difference(rows, "mpt", baseline, metric)
  if found is None:
    return f"MPT and {name} have no runs in common: nothing to compare."
  of = "targets"
  if found.total != found.num_tasks:
    of = "rows (targets and numbers of examples)"
  start = (
    f"MPT is ahead of {name} on {found.ahead} of {found.total} {of}; the mean"
    f" difference is {100 * found.mean:+.1f} points"
  )
  if found.interval is None:
    return f"{start} from a single pair of runs: no conclusion."
  low, high = found.interval
  start += (
    f", standard error {100 * found.standard_error:.1f} over"
    f" {found.num_pairs} pairs of runs (95 % interval {100 * low:+.1f} to"
    f" {100 * high:+.1f})"
  )
  if low > 0:
    return f"{start}: MPT is better here."
  if high < 0:
    return f"{start}: MPT does not win, {name} is better here."
  return f"{start}: MPT does not win, the two are not distinguishable."


def verdicts(rows: Sequence[dict], metric: str = METRIC) -> list[str]:
  """One sentence on MPT against each baseline that was measured."""
  methods = {row["method"] for row in rows if row["stage"] == "adapt"}
  others = [m for m in ("prompt_tuning", "spot", "tfidf_lr") if m in methods]
  return [verdict(rows, m, metric) for m in others if "mpt" in methods]


def _leader(rows, metric) -> str | None:
  """Returns the prompt method ahead of all others by over a standard error."""
  for method in PROMPT_METHODS:
    differences = [
      found
      for other in PROMPT_METHODS
      if other != method
      and (found := paired_difference(rows, method, other, metric)) is not None
    ]
    if differences and all(
      d.standard_error is not None and d.mean > max(0.0, d.standard_error)
      for d in differences
    ):
      return method
  return None


def _shown(summary: Summary | None, method: str, with_std: bool) -> str:
  if summary is None:
    return "–"
  text = f"{100 * summary.mean:.1f}"
  if method in UNTRAINED or (summary.std is None and not with_std):
    return text
  std = "–" if summary.std is None else f"{100 * summary.std:.1f}"
  return f"{text} ± {std}"


def _columns(summaries, left_out=()) -> list[str]:
  found = {m for methods in summaries for m in methods}.difference(left_out)
  return [m for m in METHODS if m in found] + sorted(found - METHODS.keys())


def source_table(rows: Sequence[dict], metric: str = METRIC) -> Table | None:
  """Teachers and students of the source tasks; None without such rows."""
  tasks = {}
  for (stage, task, _), methods in summarize(rows, metric).items():
    if stage in ("teach", "distill"):
      tasks.setdefault(task, {}).update(methods)
  if not tasks:
    return None
  columns = _columns(tasks.values())
  body = []
  for task, methods in tasks.items():
    size = min(summary.num_examples for summary in methods.values())
    cells = [_shown(methods.get(m), m, with_std=False) for m in columns]
    body.append([(text, False) for text in (task, *cells, str(size))])
  means = {
    m: float(np.mean([methods[m].mean for methods in tasks.values()]))
    for m in columns
    if all(m in methods for methods in tasks.values())
  }
  if len(tasks) > 1:
    cells = [f"{100 * means[m]:.1f}" if m in means else "–" for m in columns]
    body.append([(text, False) for text in ("mean", *cells, "")])
  labels = [METHODS.get(m, m) for m in columns]
  title = f"Source tasks: {metric.replace('_', ' ')} in percent"
  headers = ["task", *labels, "test examples"]
  return Table(title, headers, body, _recovered(means))


def _recovered(means) -> list[str]:
  """Says how much of the native prefix's gain the prompts recover."""
  if not {"no_prompt", "native_prefix", "teacher", "student"} <= means.keys():
    return []
  gap = means["native_prefix"] - means["no_prompt"]
  if gap <= 0:
    return ["The native prefix is no better than no prompt."]
  share = {m: (means[m] - means["no_prompt"]) / gap for m in means}
  return [
    "Of the mean gap between no prompt and the native prefix"
    f" ({100 * gap:.1f} points), teachers recover {share['teacher']:.0%} and"
    f" students {share['student']:.0%}."
  ]


def _mean_over_tasks(tasks: list[dict], method: str) -> Summary | None:
  """Mean over tasks; std over the seeds that all tasks have."""
  seeds = [methods.get(method, {}) for methods in tasks]
  if not all(seeds):
    return None
  mean = float(np.mean([_summary(s).mean for s in seeds]))
  common = set.intersection(*(set(s) for s in seeds))
  by_seed = [np.mean([s[seed][0] for s in seeds]) for seed in common]
  return Summary(mean, _std(by_seed), len(by_seed), 0)


def target_table(rows: Sequence[dict], metric: str = METRIC) -> Table | None:
  """Methods on the target tasks, a mean row per shots; None without rows."""
  rows = [row for row in rows if row["stage"] == "adapt"]
  values = {
    (task, shots): methods
    for (_, task, shots), methods in _values(rows, metric).items()
  }
  if not values:
    return None
  trained = [w for w, m in values.items() if m.keys() - set(UNTRAINED)]
  rows_of = {}
  for task, shots in trained or values:
    plain = values.get((task, None), {})
    methods = {m: plain[m] for m in UNTRAINED if m in plain}
    rows_of.setdefault(shots, {})[task] = {**methods, **values[task, shots]}
  columns = _columns(m for tasks in rows_of.values() for m in tasks.values())
  body = []
  for shots in sorted(rows_of, key=lambda k: (k is None, k)):
    tasks = rows_of[shots]
    count = "all" if shots is None else str(shots)
    here = [row for row in rows if row.get("shots") == shots]
    for task, methods in tasks.items():
      found = {m: _summary(seeds) for m, seeds in methods.items()}
      size = min(summary.num_examples for summary in found.values())
      lead = _leader([row for row in here if row["task"] == task], metric)
      cells = [(_shown(found.get(m), m, True), m == lead) for m in columns]
      body.append([(task, False), (count, False), *cells, (str(size), False)])
    if len(tasks) > 1:
      lead = _leader(here, metric)
      mean = {m: _mean_over_tasks(list(tasks.values()), m) for m in columns}
      cells = [(_shown(mean[m], m, True), m == lead) for m in columns]
      body.append([("mean", False), (count, False), *cells, ("", False)])
  return Table(
    f"Target tasks: {metric.replace('_', ' ')} in percent",
    [
      "task",
      "examples per class",
      *[METHODS.get(m, m) for m in columns],
      "test examples",
    ],
    body,
    [
      *verdicts(rows, metric),
      "Mean ± sample standard deviation over seeds. Bold: ahead of every other"
      " prompt method by more than one standard error of the paired"
      " difference, which by itself proves little. Standard errors are over"
      " these seeds and tasks; other tasks and other test examples would add"
      " to them.",
    ],
  )


def tables(rows: Sequence[dict], metric: str = METRIC) -> list[Table]:
  """Returns the tables that have rows."""
  found = [source_table(rows, metric), target_table(rows, metric)]
  return [table for table in found if table is not None]


def print_tables(rows: Sequence[dict], console, metric: str = METRIC):
  """Prints the tables and what follows from them on a rich console."""
  from rich import box
  from rich.table import Table as RichTable
  from rich.text import Text

  shown = tables(rows, metric)
  if not shown:
    console.print(f"no results of metric {metric}", highlight=False)
  for table in shown:
    # Keep it narrow: ten columns have to fit in 80 characters.
    drawn = RichTable(
      title=table.title,
      title_justify="left",
      box=box.SIMPLE_HEAD,
      padding=0,
      pad_edge=False,
      show_edge=False,
    )
    for i, header in enumerate(table.headers):
      drawn.add_column(
        NARROW.get(header, header.replace(" ", "\n")),
        justify="left" if i == 0 else "right",
        vertical="bottom",
        overflow="fold",
        # A name may be broken across lines, a number must not.
        no_wrap=i > 0,
      )
    for i, row in enumerate(table.rows):
      is_last = i + 1 == len(table.rows)
      drawn.add_row(
        *[
          Text(text.replace(" ± ", "±"), style="bold" if bold else "")
          for text, bold in row
        ],
        end_section=row[0][0] == "mean"
        or (not is_last and table.rows[i + 1][0][0] == "mean"),
      )
    console.print(drawn)
    for note in table.notes:
      console.print(Text(note))
    console.print()
