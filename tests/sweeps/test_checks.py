"""Mistakes that `mpt sweep --list` finds, and tables over one's own tasks."""

import re

import pytest
import seqio

from mpt_jax import tasks
from mpt_jax.cli import main as cli
from mpt_jax.data import text_tasks
from mpt_jax.sweeps import checks

NAMES = ("checks_mails", "checks_news", "checks_reviews")


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory):
  path = tmp_path_factory.mktemp("data") / "rows.csv"
  lines = [f"t{i},{'ab'[i % 2]}\n" for i in range(20)]
  path.write_text("text,label\n" + "".join(lines))
  for name in NAMES:
    tasks.register_file_task(
      name,
      path,
      template="{text}",
      label_names=("a", "b"),
      carve={"validation": 4, "test": 4},
    )
  tasks.register_file_task(
    "checks_no_test",
    path,
    template="{text}",
    label_names=("a", "b"),
    carve={"validation": 4},
  )
  tasks.register_file_task(
    "checks_gone", {"train": path.with_name("gone.csv")}, template="{text}"
  )
  seqio.MixtureRegistry.add("checks_sources", list(NAMES[:2]), default_rate=1)


@pytest.fixture
def listed(tmp_path, monkeypatch, capsys):
  """Lists the table of own tasks; returns (exit code, output, error)."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("COLUMNS", "300")

  def run(*options, table="own", **values):
    values = {
      "MODEL_DIR": "runs",
      "SOURCE_TASKS": NAMES[:2],
      "TARGETS": NAMES[2:],
      **values,
    }
    bound = [f"--gin.{name}={value!r}" for name, value in values.items()]
    file = f"--gin_file=gin/tables/{table}.gin"
    code = cli.main(["sweep", file, *bound, "--list", *options])
    captured = capsys.readouterr()
    assert not list(tmp_path.iterdir())
    return code, captured.out, captured.err

  return run


@pytest.mark.parametrize("table", ["own", "superglue", "ablation"])
@pytest.mark.parametrize("sources", [NAMES[:2], "checks_sources"])
def test_all_follows_from_the_tasks(listed, table, sources):
  code, out, err = listed(
    "--commands", table=table, SOURCE_TASKS=sources, TARGETS="checks_reviews"
  )
  assert (code, err) == (0, "")
  for part in (
    "tasks           checks_mails, checks_news",
    "tasks           checks_reviews",
    # 32 examples of each source task.
    "batch           64 examples, 32 of each slot",
  ):
    assert part in out
  for name in ("glue_", "squad", "MultiRC 7"):
    assert name not in out
  if table == "own":
    # MPT, MPT*, four rates of prompt tuning and two sources of SPoT; 3 seeds.
    assert "slots           24: tasks × 3 draws × 8 settings" in out
    assert "task:checks_mails" in out and "data that is not here" not in out
  elif table == "ablation":
    assert "of K tasks, K from 2 to 2" in out and "K from 6" not in out


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      {"SPOT_INIT": "task:checks_mail"},
      "run 'own/adapt': slot .* starts from 'task:checks_mail', but"
      " 'checks_mail' is none of the tasks of 'sources/teach'.*Did you mean"
      " checks_mails",
    ),
    ({"SOURCE_TASKS": ("checks_mial",)}, "Did you mean checks_mails"),
    ({"TARGETS": ("checks_review",)}, "Did you mean checks_reviews"),
    (
      {"TARGETS": ("checks_no_test",)},
      "run 'own/adapt': the task 'checks_no_test' has no split 'test'",
    ),
    (
      {"SOURCE_TASKS": ("checks_gone", "checks_news")},
      "run 'sources/teach': the task 'checks_gone' has no split 'validation'",
    ),
    (
      {"TEACH_BATCH_SIZE": 33},
      "run 'sources/teach': BATCH_SIZE=33 is not a multiple of the 2 slots",
    ),
  ],
)
def test_later_mistakes_are_found(listed, values, message):
  code, _, err = listed(**values)
  assert code == 2
  assert re.search(message, err), err


def test_missing_data_is_listed(listed, monkeypatch, tmp_path_factory):
  empty = tmp_path_factory.mktemp("empty")
  monkeypatch.setenv("MPT_DATA_DIR", str(empty))
  monkeypatch.setenv("TFDS_DATA_DIR", str(empty))
  code, out, _ = listed(TARGETS=("scitail",))
  assert code == 0
  (line,) = [ln for ln in out.splitlines() if ln.startswith("  scitail: ")]
  assert "TFDS fetches 'sci_tail:1.*.*'" in line
  assert "or put scitail_1.0_train.tsv" in line and str(empty) in line


def test_data_is_looked_for_before_the_first_step():
  gone = text_tasks.get_task("checks_gone").source
  assert "gone.csv" in gone.find()
  with pytest.raises(FileNotFoundError, match="no file .*gone.csv"):
    gone.find(fetch=True)
  assert text_tasks.get_task("checks_mails").source.find(fetch=True) is None
  assert checks.find_data([], fetch=True) == {}
