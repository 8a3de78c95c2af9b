"""The public face: `import mpt_jax as mpt`."""

import json
import subprocess
import sys

import pytest
import train_fixtures

import mpt_jax as mpt
from mpt_jax import tasks


def child(code):
  return subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  ).stdout


def test_the_import_is_light():
  # Python itself may have imported importlib before.
  code = (
    "import json, sys; before = set(sys.modules); import mpt_jax;"
    "print(json.dumps(sorted(set(sys.modules) - before)))"
  )
  names = [n for n in json.loads(child(code)) if not n.startswith("importlib")]
  assert names == ["mpt_jax"]


@pytest.mark.parametrize(
  "name", [n for n in mpt.__all__ if n not in ("train", "evaluate")]
)
def test_names(name):
  value = getattr(mpt, name)
  assert name in dir(mpt)
  assert name == "__version__" or value.__name__ == name
  assert value.__doc__


def test_unknown_names():
  with pytest.raises(AttributeError, match="'mpt_jax' has no attribute 'tune'"):
    mpt.tune  # noqa: B018


def test_reading_prompts_brings_no_tensorflow():
  code = (
    "import sys; import mpt_jax as mpt;"
    "mpt.load_bank, mpt.load_backbone, mpt.Predictor, mpt.compose_bank;"
    "print({'tensorflow', 'seqio'} & set(sys.modules))"
  )
  assert child(code).strip() == "set()"


def test_train_is_a_function_and_knows_the_built_in_tasks():
  code = (
    "import mpt_jax as mpt; train, evaluate = mpt.train, mpt.evaluate;"
    "import seqio; assert 'rotten_tomatoes' in seqio.TaskRegistry.names();"
    "print(train.__name__, evaluate.__name__)"
  )
  assert child(code).strip() == "train evaluate"


def test_train_trains_after_an_import_of_the_launcher():
  # Python binds the launcher's module to the name of the function.
  code = (
    "import mpt_jax as mpt, mpt_jax.train\n"
    "try:\n  mpt.train(None, model_dir='/nowhere', keep_checkpoints=0)\n"
    "except (TypeError, ValueError) as error:\n  print(error)\n"
    "print(mpt.train.__name__)"
  )
  error, name = child(code).splitlines()
  assert "experiment" in error or "keep_checkpoints" in error
  assert name == "train"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A teacher for each of two tasks: (folder, names of the tasks, Result)."""
  folder = tmp_path_factory.mktemp("face")
  names = tuple(
    train_fixtures.register_tiny_task(folder / str(seed), seed=seed)
    for seed in (0, 1)
  )
  t5 = train_fixtures.save_tiny_backbone(folder / "t5")
  result = mpt.train(
    mpt.Experiment(
      slots=mpt.make_slots(names),
      rank=0,
      total_steps=2,
      backbone=t5,
      prompt_length=3,
      batch=mpt.BatchConfig(inputs_length=16, targets_length=4),
      mix=mpt.MixConfig(batch_size=4),
      eval=mpt.EvalConfig(period=2),
    ),
    model_dir=folder / "run",
    tensorboard=False,
  )
  return folder, names, result


def test_evaluate_and_predict(run):
  folder, names, result = run
  assert isinstance(result.best, mpt.PromptBank)
  # A loaded bank and the folder that it was saved to are the same prompts.
  rows = mpt.evaluate(folder / "run")
  assert rows == mpt.evaluate(
    mpt.load_bank(folder / "run"), backbone=str(folder / "t5")
  )
  assert {row["task"] for row in rows} == set(names)
  made = mpt.Predictor(folder / "run").predict(
    [{"text": "red house", "task": names[1]}]
  )
  assert made[0]["prediction"] in train_fixtures.LABELS


def test_evaluate_on_another_task(run):
  folder, (first, second), _ = run
  own = mpt.evaluate(folder / "run", [second])
  rows = mpt.evaluate(folder / "run", on=second)
  assert [r["task"] for r in rows] == [second] * len(rows)
  assert [r for r in rows if r["prompt"] == second] == own
  assert {r["prompt"] for r in rows} == {first, second}
  # Four examples of each of the two labels.
  draw = mpt.Slot(task=first, shots=4, seed=3)
  config = mpt.EvalConfig(split="train")
  rows = mpt.evaluate(folder / "run", None, config, on=draw)
  assert {(r["task"], r["num_examples"]) for r in rows} == {(first, 8)}


def test_evaluate_cuts_at_the_lengths_that_are_asked_for(tmp_path, run):
  folder, _, _ = run
  texts = ["red", "water tree good blue house " * 2, "green bad " * 5]
  rows = [{"text": text, "label": "x"} for text in texts]
  path = tmp_path / "rows.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  seen = []

  def record(targets, predictions):
    del targets
    seen.append(predictions)
    return {"count": len(predictions)}

  files = {"validation": path}
  tasks.register_file_task(
    "face_cut", files, template="{text}", target="label", metric_fns=[record]
  )
  for lengths in ((16, 3), (16, 6), (1, 6)):
    mpt.evaluate(
      folder / "run",
      [run[1][0]],
      on="face_cut",
      inputs_length=lengths[0],
      targets_length=lengths[1],
    )
  short, long, cut = seen
  # Greedy tokens are the same, however many there may be.
  assert short != long
  assert all(b.startswith(a) for a, b in zip(short, long, strict=True))
  # Of one token, the end of sequence, nothing can be told apart.
  assert len(set(long)) > 1 and len(set(cut)) == 1
