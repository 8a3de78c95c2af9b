"""The public face: `import mpt_jax as mpt`."""

import json
import subprocess
import sys

import pytest

import mpt_jax as mpt


def child(code):
  return subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  ).stdout


def test_the_import_is_light():
  # argparse and the like are the interpreter's own.
  code = (
    "import json, sys; before = set(sys.modules); import mpt_jax;"
    "print(json.dumps(sorted(set(sys.modules) - before)))"
  )
  assert json.loads(child(code)) == ["mpt_jax"]


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
  from mpt_jax import train

  assert callable(train)


def test_train_evaluate_and_predict(tmp_path):
  import train_fixtures

  task = train_fixtures.register_tiny_task(tmp_path / "data")
  t5 = train_fixtures.save_tiny_backbone(tmp_path / "t5")
  run = mpt.train(
    mpt.Experiment(
      slots=mpt.make_slots((task,)),
      total_steps=2,
      backbone=t5,
      prompt_length=3,
      batch=mpt.BatchConfig(inputs_length=16, targets_length=4),
      mix=mpt.MixConfig(batch_size=4),
      eval=mpt.EvalConfig(period=2),
    ),
    model_dir=tmp_path / "run",
    tensorboard=False,
  )
  assert isinstance(run.best, mpt.PromptBank)
  # A loaded bank and the folder that it was saved to are the same prompts.
  rows = mpt.evaluate(tmp_path / "run")
  assert rows == mpt.evaluate(mpt.load_bank(tmp_path / "run"), backbone=str(t5))
  assert {row["task"] for row in rows} == {task}
  made = mpt.Predictor(tmp_path / "run").predict([{"text": "red house"}])
  assert made[0]["prediction"] in train_fixtures.LABELS
