"""Settings that gin accepts and that nothing would use."""

import inspect

import pytest

from mpt_jax.launchers import gin_config, gin_names
from mpt_jax.training import loop

RUN = "MODEL_DIR = 'x'"


def load(file, *bindings):
  return gin_config.load_config([file], [RUN, *bindings], (), strict=True)


@pytest.mark.parametrize(
  ("file", "bindings"),
  [
    ("gin/mpt_teacher.gin", []),
    ("gin/mpt_distill.gin", ["TEACHERS = 'x'"]),
    ("gin/mpt_adapt.gin", ["SOURCE = 'x'"]),
    ("gin/mpt_compare.gin", []),
    ("gin/finetune.gin", []),
    ("gin/pretrain.gin", []),
    # A macro that a binding refers to, scopes, and a text like a macro.
    ("gin/mpt_teacher.gin", ["MINE = 3", "TRAIN_STEPS = %MINE"]),
    ("gin/mpt_compare.gin", ["spot/Method.source = 'x'"]),
    ("gin/mpt_teacher.gin", ["VOCABULARY_PATH = 'a%MINE'"]),
  ],
)
def test_settings_that_are_used_pass(file, bindings):
  load(file, *bindings)


@pytest.mark.parametrize(
  ("file", "bindings", "expected"),
  [
    ("teacher", ["TRAIN_STEP = 7"], "--gin.TRAIN_STEP: .* mean TRAIN_STEPS"),
    ("teacher", ["a/TRAIN_STEP = 7"], "--gin.TRAIN_STEP: no gin file"),
    ("teacher", ["USE_CACHED_TASKS = True"], "never from seqio's cache"),
    ("teacher", ["NUM_PARTITIONS = 2"], "train.num_model_partitions"),
    ("teacher", ["train.stats_period = 2"], "calls it train.log_period"),
    ("teacher", ["EvalConfig.perid = 3"], r"'EvalConfig' .* mean period\?$"),
    ("teacher", ["a/EvalConfig.perid = 3"], r"'EvalConfig' .* mean period\?$"),
    ("teacher", ["evaluator.EvalConfg.period = 3"], r"mean EvalConfig\?$"),
    ("teacher", ["train.log_perod = 3"], "mean log_period"),
    ("teacher", ["EvalConfig.zzzz = 3"], r"EvalConfig.zzzz = 3$"),
    # Derived values have no setting.
    ("teacher", ["BatchConfig.num_slots = 9"], "'BatchConfig'"),
    ("teacher", ["batch_config.num_slots = 9"], "num_slots"),
    # The files bind these, but the run does not use what they belong to.
    ("compare", ["SHARE = 'all'"], "--gin.SHARE: no gin file"),
    (
      "distill",
      ["TEACHERS = 'x'", "DISTILL = None", "HIDDEN = False"],
      "--gin.HIDDEN: no gin file",
    ),
    (
      "distill",
      ["TEACHERS = 'x'", "DISTILL = None", "DistillConfig.weight = 0.5"],
      "does not use DistillConfig",
    ),
    # A text is no reference.
    (
      "teacher",
      ["MINE = 3", "MIXTURE_OR_TASK_NAME = '%MINE'"],
      "--gin.MINE: no gin file",
    ),
  ],
)
def test_settings_that_nothing_uses_are_refused(file, bindings, expected):
  with pytest.raises(ValueError, match=expected):
    load(f"gin/mpt_{file}.gin", *bindings)


def test_settings_of_the_native_launcher_alone_have_a_hint():
  # The others are t5x's too, or no values of gin files.
  shared = {"experiment", "model_dir"}
  shared |= {"description", "config_text", "tasks", "prepare"}
  for name in inspect.signature(loop.train).parameters.keys() - shared:
    error = ValueError(f"'train' doesn't have a parameter named '{name}'.")
    assert f" ({name}: " in str(gin_names.explained(error))


def test_a_misspelt_macro_in_a_file_is_refused(tmp_path):
  file = tmp_path / "mine.gin"
  # A macro of another stage may stand there.
  text = 'include "gin/mpt_teacher.gin"\nTEACHERS = "x"\n'
  file.write_text(text)
  load(str(file))
  file.write_text(f"{text}TRAIN_STEP = 7\n")
  with pytest.raises(ValueError, match="TRAIN_STEP in a gin file.*TRAIN_STEPS"):
    load(str(file))


def test_a_file_includes_one_that_lies_beside_it(tmp_path):
  (tmp_path / "sizes.gin").write_text("TRAIN_STEPS = 7\n")
  file = tmp_path / "mine.gin"
  file.write_text('include "gin/mpt_teacher.gin"\ninclude "sizes.gin"\n')
  arguments, _ = load(str(file))
  assert arguments["experiment"].total_steps == 7


def test_each_file_includes_what_lies_beside_it(tmp_path):
  for name, steps in (("one", 7), ("two", 8)):
    (tmp_path / name).mkdir()
    (tmp_path / name / "sizes.gin").write_text(f"TRAIN_STEPS = {steps}\n")
    (tmp_path / name / "mine.gin").write_text(
      'include "gin/mpt_teacher.gin"\ninclude "sizes.gin"\n'
    )
  for name, steps in (("one", 7), ("two", 8)):
    arguments, _ = load(str(tmp_path / name / "mine.gin"))
    assert arguments["experiment"].total_steps == steps


def test_a_relative_search_path(tmp_path, monkeypatch):
  # Python takes such a folder for a package without a file.
  (tmp_path / "parts").mkdir()
  (tmp_path / "more").mkdir()
  (tmp_path / "more" / "sizes.gin").write_text("TRAIN_STEPS = 7\n")
  (tmp_path / "mine.gin").write_text(
    'include "gin/mpt_teacher.gin"\ninclude "sizes.gin"\n'
  )
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  arguments, _ = gin_config.load_config(
    ["mine.gin"], [RUN], ("parts", "more"), strict=True
  )
  assert arguments["experiment"].total_steps == 7


def test_a_program_that_reads_a_run_takes_its_settings():
  gin_config.load_config(
    ["gin/mpt_compare.gin"], [RUN, "SHARE = 'all'"], (), strict=False
  )
  bindings = ["SHARE = 'all'"]
  gin_names.check_used(bindings, "loop.train", describes=True)
  with pytest.raises(gin_names.UnusedSetting, match="SHARE"):
    gin_names.check_used(bindings, "loop.train")
  with pytest.raises(gin_names.UnusedSetting, match="SHARES"):
    gin_names.check_used(["SHARES = 1"], "loop.train", describes=True)


def test_dropout_is_a_macro():
  arguments, _ = load("gin/mpt_teacher.gin", "DROPOUT_RATE = 0.25")
  assert arguments["experiment"].dropout_rate == 0.25
  arguments, _ = load("gin/finetune.gin")
  assert arguments["experiment"].dropout_rate == 0.1
