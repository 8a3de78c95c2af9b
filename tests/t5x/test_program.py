"""Errors of a user under t5x's programs: one line, and the native exit code.

Needs t5x, as `test_adapter.py` does.
"""

import pytest
from program_runs import launch, launch_processes, needs_t5x
from train_fixtures import write_user_folder

pytestmark = needs_t5x
BOTH = 'MIXTURE_OR_TASK_NAME="both"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("program")
  return write_user_folder(folder, "program_test_tasks", 24)


@pytest.mark.parametrize(
  ("program", "binding", "expected"),
  [
    ("t5x.train", "TRAIN_STEP=7", "--gin.TRAIN_STEP: no gin file of this"),
    ("t5x.train", "USE_CACHED_TASKS=True", "never from seqio's cache."),
    ("t5x.eval", "TRAIN_STEP=7", "--gin.TRAIN_STEP: no gin file of this"),
    ("t5x.train", "TRAIN_STEPS=2.5", "TRAIN_STEPS must be a whole number of"),
    ("t5x.train", "batch_config.num_slots=9", "argument 'num_slots'"),
    ("t5x.train", "train.num_model_partitions=2", "called NUM_PARTITIONS"),
    ("t5x.train", "EvalConfig.perid=2", "Did you mean period?"),
    ("t5x.train", "NUM_PARTITIONS=3", "NUM_PARTITIONS=3 does not divide"),
    ("t5x.train", "BATCH_SIZE=[8", "the gin configuration is invalid: "),
  ],
)
def test_wrong_settings_give_one_line(folder, program, binding, expected):
  errors = launch(
    *(folder, program, "teacher", "wrong", BOTH, binding),
    *([f'EVAL_OUTPUT_DIR="{folder}"'] if program == "t5x.eval" else []),
    fails=True,
  )
  line = errors.splitlines()[-1]
  assert line.startswith("error: ") and expected in line, line
  assert "Traceback" not in errors
  assert not (folder / "wrong").exists()


@pytest.mark.parametrize("misspelt", [0, 1])
def test_an_error_of_one_process_ends_both(folder, misspelt):
  each = [(), ()]
  each[misspelt] = ("TRAIN_STEP=7",)
  errors = launch_processes(
    *(folder, "t5x.train", "teacher", "misspelt", BOTH), each=each, fails=True
  )
  line = "--gin.TRAIN_STEP: no gin file of this command uses a macro"
  assert line in errors[misspelt]
  assert f"process {misspelt} cannot go on: {line}" in errors[1 - misspelt]
  assert not (folder / "misspelt").exists()
