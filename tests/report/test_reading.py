"""Which folders are runs, and what is read of them."""

import json
import os

import pytest
from report_pages import make_outcomes, write_lines, write_run
from result_rows import target_rows

from mpt_jax.io import digests
from mpt_jax.report import reading


def write_quickstart(folder):
  folder.mkdir(parents=True, exist_ok=True)
  fields = {"rows": target_rows(), "meta": {"title": "Q", "cores": 2}}
  (folder / "results.json").write_text(json.dumps(fields))
  for stage in ("adapt", "distill", "teach"):
    write_run(folder / stage)
  return folder


def test_a_run_of_training(tmp_path):
  run = write_run(tmp_path / "x")
  (run / "config.gin").write_text("A = 1\n")
  material = reading.read(run)
  assert (material.name, material.kind) == ("x", "training run")
  assert material.config == "A = 1\n" and len(material.results) == 1


def test_a_quickstart_has_its_stages_in_their_order(tmp_path):
  material = reading.read(write_quickstart(tmp_path / "q"))
  assert material.kind == "quickstart" and material.title == "Q"
  assert [t.name for t in material.trainings] == ["teach", "distill", "adapt"]
  assert dict(material.facts) == {"cores": 2}
  # The validation scores of the stages are not results of the quickstart.
  assert [r.title for r in material.results] == ["Target tasks"]


def test_an_unfinished_quickstart_shows_what_is_there(tmp_path):
  run = write_quickstart(tmp_path / "q")
  (run / "results.json").unlink()
  line = {"step": 10, "kind": "train", "loss": 1.0}
  write_lines(run / "adapt" / "metrics.jsonl", [line])
  material = reading.read(run)
  assert material.kind == "runs" and len(material.trainings) == 3
  assert material.notes == ("adapt is not finished: 10 of 30 steps.",)


@pytest.mark.parametrize("name", ["", "outcomes.json"])
def test_answers_by_their_folder_or_file(tmp_path, name):
  make_outcomes(shots=(16,)).save(tmp_path)
  material = reading.read(tmp_path / name, num_samples=20)
  assert material.kind == "comparison of methods"
  assert material.name == tmp_path.name


def test_everything_in_one_folder(tmp_path):
  """As an arena: a sweep's runs, answers, and what was said about it."""
  make_outcomes(shots=(16,)).save(tmp_path)
  write_run(tmp_path / "sources" / "teach")
  write_run(tmp_path / "adapt")
  about = {
    "title": "The <arena>",
    "notes": ["gains with a relative"],
    "methods": {"mpt": {"parameters": 5}},
    "data": {"near": "a package: MIT"},
    "starts": [{"version": "1"}, {"version": "2"}],
    "seconds": 7,
  }
  (tmp_path / "about.json").write_text(json.dumps(digests.seal(about)))
  asked = []

  def licence(task):
    asked.append(task)
    return {"far": "CC0"}.get(task)

  material = reading.read(tmp_path, num_samples=20, licences=licence)
  assert material.title == "The <arena>"
  assert material.notes == ("gains with a relative",)
  assert material.results[0].parameters == {"mpt": 5}
  assert dict(material.data) == {"near": "a package: MIT", "far": "CC0"}
  # What is said is not asked for; "t" is the task of both runs.
  assert sorted(asked) == ["far", "t"]
  assert dict(material.facts) == {"version": "2", "seconds": 7}
  assert {t.name for t in material.trainings} == {"adapt", "sources/teach"}


def test_predictions_of_a_run(tmp_path):
  run = write_run(tmp_path / "x")
  row = {"text": "a", "target": "b", "prediction": "b"}
  write_lines(run / "predictions.jsonl", [row])
  material = reading.read(run)
  assert material.kind == "training run"
  assert [a.right[0].text for a in material.answers] == ["a"]


def test_rows_in_memory_have_no_licence_to_ask_for(tmp_path):
  run = write_run(tmp_path / "x", rows_sha256={"t": "0"})
  reading.read(run, licences=lambda task: pytest.fail(task))


def test_runs_in_deep_folders_and_no_others(tmp_path):
  write_run(tmp_path / "glue" / "finetune" / "glue_rte")
  write_run(tmp_path / "checkpoints" / "no")
  write_run(tmp_path / ".hidden")
  found = [str(p.relative_to(tmp_path)) for p in reading.find_runs(tmp_path)]
  assert found == ["glue/finetune/glue_rte"]


def test_many_runs_are_cut_and_it_says_so(tmp_path):
  for i in range(reading.MOST_RUNS + 1):
    write_run(tmp_path / f"r{i:02}")
  material = reading.read(tmp_path)
  assert len(material.trainings) == reading.MOST_RUNS
  assert "the first 12 of 13 runs" in material.notes[0]


def test_what_is_no_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="there is no run at .*nowhere"):
    reading.read(tmp_path / "nowhere")
  with pytest.raises(ValueError, match="is no run: it has none of"):
    reading.read(tmp_path)
  (tmp_path / "a.txt").write_text("")
  with pytest.raises(ValueError, match="a.txt is a file"):
    reading.read(tmp_path / "a.txt")


@pytest.mark.parametrize(
  ("about", "message"),
  [
    ("{", "is damaged"),
    ('{"methods": []}', "methods must be an object"),
    ('{"methods": {"mpt": 3}}', "an object for each method"),
    ('{"notes": "x"}', "notes must be a list"),
    ('{"title": "x", "digest": "0"}', "is damaged"),
  ],
)
def test_damaged_about(tmp_path, about, message):
  write_run(tmp_path)
  (tmp_path / "about.json").write_text(about)
  with pytest.raises(ValueError, match=f"about.json.*{message}"):
    reading.read(tmp_path)


def test_names_tell_runs_apart(tmp_path):
  assert reading.names_of(["a/x/", "b/x", "c"]) == ["a/x", "b/x", "c"]
  here = os.path.basename(os.getcwd())
  assert reading.names_of(["."]) == [here]
  assert reading.names_of(["a", "a"])[0].endswith("/a")
