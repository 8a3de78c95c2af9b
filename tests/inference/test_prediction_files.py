"""Files of predictions: stops, resumption, refusals, streams."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from train_fixtures import save_tiny_backbone, write_rows

from mpt_jax.backbones import backbone as backbones
from mpt_jax.inference import prediction_files
from mpt_jax.inference import predictor as predict
from mpt_jax.inference.engine import programs
from mpt_jax.prompts.bank import PromptBank

NAMES = ("files_a", "files_b")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
  return save_tiny_backbone(tmp_path_factory.mktemp("files") / "t5")


@pytest.fixture(scope="module")
def prompts(backbone, tmp_path_factory):
  """A prompt that ranks labels and one that generates."""
  path = tmp_path_factory.mktemp("files_bank") / "prompts.safetensors"
  rng = np.random.default_rng(0)
  PromptBank(
    {"shared_prompt": rng.normal(0.0, 1.0, (2, 3, 32)).astype(np.float32)},
    NAMES,
    (0, 1),
    backbones.load_backbone(backbone).fingerprint,
    tuple(
      {"task": name, "label_names": labels, "template": None}
      for name, labels in zip(NAMES, (("yes", "no"), None), strict=True)
    ),
  ).save(path)
  return str(path)


@pytest.fixture(scope="module")
def predictor(prompts, backbone):
  return predict.Predictor(
    prompts, backbone, batch_size=2, targets_length=3, temperature=1.5, seed=4
  )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """75 rows of both tasks: two windows of 32 rows and one of 11."""
  path = write_rows(tmp_path_factory.mktemp("rows") / "in.jsonl", 75)
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  for i, row in enumerate(rows):
    row["task"] = NAMES[i * 7 % 3 % 2]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


@pytest.fixture(scope="module")
def expected(predictor, source, tmp_path_factory):
  """The bytes of a call that was not stopped."""
  target = tmp_path_factory.mktemp("whole") / "out.jsonl"
  done = prediction_files.predict_file(predictor, source, target)
  assert done.num_rows == 75 and done.num_tokens > 75 and done.seconds > 0
  assert "75 rows in" in str(done) and "examples/s" in str(done)
  assert [p.name for p in target.parent.iterdir()] == ["out.jsonl"]
  return target.read_bytes()


class Stop(Exception):
  pass


class Stopping:
  """A predictor that stops before window number `windows`."""

  def __init__(self, predictor, windows):
    self._predictor, self._left = predictor, windows

  def __getattr__(self, name):
    return getattr(self._predictor, name)

  def run(self, *args):
    if not self._left:
      raise Stop
    self._left -= 1
    return self._predictor.run(*args)


def _stop(predictor, source, target, windows):
  with pytest.raises(Stop):
    prediction_files.predict_file(Stopping(predictor, windows), source, target)


def _partial(target):
  return target.with_name(target.name + ".partial")


def test_rows_are_those_of_predict(predictor, source, expected):
  rows = [json.loads(line) for line in source.read_text().splitlines()]
  made = [json.loads(line) for line in expected.splitlines()]
  assert [{k: m[k] for k in rows[0]} for m in made] == rows
  together = predictor.predict(rows)
  assert [m["prediction"] for m in made] == [t["prediction"] for t in together]
  assert len({m["prediction"] for m in made}) > 4


# Lines that a stop leaves: none, few, a window and a partial line, two windows.
@pytest.mark.parametrize("lines", [0, 1, 31, 32, 33, 63, 64])
@pytest.mark.parametrize("torn", [b"", b'{"text": "gre'])
def test_resumed_is_uninterrupted(
  predictor, source, expected, tmp_path, lines, torn
):
  target = tmp_path / "out.jsonl"
  _stop(predictor, source, target, 2)
  partial = _partial(target)
  assert partial.read_bytes().count(b"\n") == 64 and not target.exists()
  whole = expected.splitlines(keepends=True)
  partial.write_bytes(b"".join(whole[:lines]) + torn)
  done = prediction_files.predict_file(predictor, source, target)
  assert target.read_bytes() == expected
  # Complete windows are not predicted again.
  assert done.num_rows == 75 - lines // 32 * 32
  assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_nothing_is_left_of_nothing(predictor, source, tmp_path):
  _stop(predictor, source, tmp_path / "out.jsonl", 0)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "change, message",
  [
    ("input", "was begun with another input"),
    ("seed", "was begun with another seed"),
    ("task", "was begun with another task"),
    ("notes", "cannot be resumed"),
    ("torn notes", "cannot be resumed"),
    ("stdin", "cannot be resumed"),
  ],
)
def test_another_partial_file_is_refused(
  predictor, prompts, backbone, source, tmp_path, change, message, monkeypatch
):
  target = tmp_path / "out.jsonl"
  _stop(predictor, source, target, 2)
  partial = _partial(target)
  notes = partial.with_name(partial.name + ".json")
  options = {}
  if change == "input":
    changed = tmp_path / "in.jsonl"
    changed.write_text(source.read_text() + '{"text": "", "task": "files_a"}\n')
    source = changed
  elif change == "seed":
    predictor = predict.Predictor(
      prompts, backbone, batch_size=2, targets_length=3, temperature=1.5, seed=5
    )
  elif change == "task":
    options = {"task": "files_a"}
  elif change == "notes":
    notes.unlink()
  elif change == "torn notes":
    notes.write_text(notes.read_text()[:20])
  else:
    source = "-"
  before = partial.read_bytes()
  # --overwrite is for the finished output and does not delete this file.
  for overwrite in (False, True):
    with pytest.raises(ValueError, match=message):
      prediction_files.predict_file(
        predictor, source, target, overwrite=overwrite, **options
      )
  assert partial.read_bytes() == before and not target.exists()


def test_two_writers(predictor, source, expected, tmp_path):
  target = tmp_path / "out.jsonl"

  class Nosy(Stopping):
    def run(self, *args):
      with pytest.raises(ValueError, match="another process is writing"):
        prediction_files.predict_file(predictor, source, target)
      return self._predictor.run(*args)

  prediction_files.predict_file(Nosy(predictor, 0), source, target)
  assert target.read_bytes() == expected


def test_overwriting(predictor, source, expected, tmp_path):
  target = tmp_path / "out.jsonl"
  target.write_text("mine")
  with pytest.raises(ValueError, match="exists; give --overwrite"):
    prediction_files.predict_file(predictor, source, target)
  with pytest.raises(Stop):
    prediction_files.predict_file(
      Stopping(predictor, 1), source, target, overwrite=True
    )
  # The old output is there until the new one is whole.
  assert target.read_text() == "mine"
  prediction_files.predict_file(predictor, source, target, overwrite=True)
  assert target.read_bytes() == expected


def test_few_programs_for_a_file(prompts, backbone, tmp_path):
  programs.make_programs.cache_clear()
  fresh = predict.Predictor(prompts, backbone, batch_size=2, targets_length=2)
  source = tmp_path / "in.jsonl"
  rows = [{"text": "tree " * (n % 97), "task": NAMES[0]} for n in range(120)]
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  prediction_files.predict_file(fresh, source, tmp_path / "out.jsonl")
  # Of 98 lengths in four windows, the last of them not full.
  assert fresh.engine.programs().score._cache_size() <= 10


def _environment():
  return {
    **os.environ,
    "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
    # These programs are compiled often and run rarely.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }


@pytest.mark.parametrize(
  "number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]
)
def test_killed_command(prompts, backbone, tmp_path, number):
  source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  rows = [{"text": f"red {i}", "task": "files_b"} for i in range(120)]
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  command = [
    *(sys.executable, "-m", "mpt_jax", "predict", str(source)),
    *("--out", str(target), "--prompts", prompts, "--backbone", backbone),
    *("--batch-size", "1", "--temperature", "1"),
  ]
  environment = _environment()
  partial = _partial(target)
  process = subprocess.Popen(
    command, env=environment, stderr=subprocess.PIPE, text=True
  )
  while process.poll() is None and not (
    partial.exists() and partial.stat().st_size
  ):
    time.sleep(0.005)
  process.send_signal(number)
  error = process.communicate()[1]
  codes = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
  assert process.returncode == codes[number], error
  kept = partial.read_bytes()
  assert 0 < kept.count(b"\n") < 120 and not target.exists()
  again = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  assert again.returncode == 0, again.stderr
  assert "rows are in" in again.stderr and "examples/s" in again.stderr
  made = target.read_bytes()
  assert made.startswith(kept[: kept.rfind(b"\n") + 1])
  assert made.count(b"\n") == 120 and not partial.exists()
  if number == signal.SIGKILL:
    target.unlink()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert target.read_bytes() == made


@pytest.mark.parametrize("field", ["text", "id"])
def test_half_of_a_surrogate_pair(predictor, tmp_path, field):
  source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  rows = [{"text": "red", "task": NAMES[0]}, {"text": "a", "task": NAMES[0]}]
  rows[1][field] = "cut \ud83d"
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  with pytest.raises(ValueError, match="in.jsonl, line 2: half of a surrogate"):
    prediction_files.predict_file(predictor, source, target)
  assert not target.exists() and not _partial(target).exists()
  if field == "text":
    with pytest.raises(ValueError, match="row 1: half of a surr.*character 4"):
      predictor.predict(rows)


TABLE = (
  "id,text,label,task\n"
  '1,"red, or ""blue""",yes,files_a\n'
  "\n"
  '2,"two\nlines",no,files_b\n'
)


def test_tables(predictor, tmp_path):
  (tmp_path / "in.csv").write_text(TABLE)
  rows = [
    {"id": "1", "text": 'red, or "blue"', "label": "yes", "task": "files_a"},
    {"id": "2", "text": "two\nlines", "label": "no", "task": "files_b"},
  ]
  (tmp_path / "in.tsv").write_text('id\ttext\ttask\n1\t"red\tfiles_a\n')
  for name, wanted in (
    ("in.csv", rows),
    ("in.tsv", [{"id": "1", "text": '"red', "task": "files_a"}]),
  ):
    target = tmp_path / f"{name}.out"
    prediction_files.predict_file(predictor, tmp_path / name, target)
    made = [json.loads(line) for line in target.read_text().splitlines()]
    assert [{k: m[k] for k in wanted[0]} for m in made] == wanted
    expected = predictor.predict(wanted)
    assert [m["prediction"] for m in made] == [
      row["prediction"] for row in expected
    ]


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("in.csv", "review,label\nfine,yes\n", "line 2: no field 'text'"),
    ("in.csv", "text,text\na,b\n", "line 1: the column 'text' occurs twice"),
    ("in.csv", "text,label\na\n", "line 2: expected 2 columns"),
    ("in.csv", "text,label\n", "is empty: it has no rows"),
    ("in.json", '[\n{"text": "a"}\n', "line 3: not valid JSON"),
    ("in.jsonl", '{"text": ["a"]}\n', "line 1: field 'text' is a list"),
    ("in.jsonl", '{"text": {"a": 1}}\n', "line 1: field 'text' is an object"),
    ("in.jsonl", '{"text": "a", "x": [NaN]}\n', "line 1: NaN .* field 'x'"),
    ("in.jsonl", '{"text": 1e999}\n', "infinite number in field 'text'"),
    ("in.jsonl", '{"text": false}\n', "line 1: field 'text' is false"),
  ],
)
def test_rows_that_are_refused(predictor, tmp_path, name, content, message):
  (tmp_path / name).write_text(content)
  with pytest.raises(ValueError, match=f"{name}.*{message}"):
    prediction_files.predict_file(
      predictor, tmp_path / name, tmp_path / "out", task=NAMES[0]
    )
  assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ streams


def test_a_stalled_stream_is_not_waited_for(monkeypatch):
  out, into = os.pipe()
  with open(out) as stdin, open(into, "wb", buffering=0) as writer:
    monkeypatch.setattr(sys, "stdin", stdin)
    source = prediction_files._StandardInput()

    def rows():
      for line in source:
        if line == b"bad":
          raise ValueError("a bad line")
        yield line

    windows = prediction_files._stream(rows(), 4, source)
    # Part of a line has arrived too, and earlier lines are not held back.
    writer.write(b"0\n1\n2\n3")
    assert next(windows) == [b"0", b"1", b"2"]
    writer.write(b"3\n4\n\n6\n7\n8\nbad\n9\n")
    assert next(windows) == [b"33", b"4", b"", b"6"]
    assert next(windows) == [b"7", b"8"]
    with pytest.raises(ValueError, match="a bad line"):
      next(windows)


def test_command_as_a_filter(prompts, backbone):
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "mpt_jax", "predict", "--prompts", prompts),
      *("--backbone", backbone, "--task", "files_a"),
    ],
    env=_environment(),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  for text in ("first", "second"):
    process.stdin.write(json.dumps({"text": text}) + "\n")
    process.stdin.flush()
    # The answer comes while the pipe is open.
    assert json.loads(process.stdout.readline())["text"] == text
  # The process that feeds it is interrupted too, so its input ends.
  process.send_signal(signal.SIGINT)
  _, error = process.communicate()
  start = f"stopped by SIGINT; the same command goes on: {sys.executable} -m"
  assert error.startswith(start) and process.returncode == 130
