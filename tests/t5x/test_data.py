"""The experiment's parts, batches and datasets that t5x gets.

Needs t5x, as `test_adapter.py` does.
"""

import dataclasses

import numpy as np
import pytest
from program_runs import needs_t5x
from train_fixtures import save_tiny_backbone, tiny_experiment, tiny_tasks

from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.prompts.slots import make_slots
from mpt_jax.training import run_folder

__all__ = ["tiny_tasks"]

pytestmark = needs_t5x


@pytest.fixture(scope="module")
def data():
  from mpt_jax.t5x import data

  return data


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tiny_tasks, data):
  folder = tmp_path_factory.mktemp("parts")
  backbone = save_tiny_backbone(folder / "t5")
  return data.assemble(tiny_experiment(make_slots(tiny_tasks[:2]), backbone))


def test_the_first_checkpoint_holds_the_place_before_the_first_batch(
  parts, data, tmp_path
):
  batches = data.PromptBatches(parts, blank_rows=8)
  from clu.data.dataset_iterator import PeekableDatasetIterator

  # t5x.train does this before its loop.
  peekable = PeekableDatasetIterator(batches)
  blank = peekable.peek()
  assert not any(np.any(x) for x in blank.values())
  peekable.save(str(tmp_path / "place"))
  first = [batches.next_batch(8)[0] for _ in range(2)]
  again = data.PromptBatches(parts, blank_rows=8)
  again.restore(str(tmp_path / "place"))
  for batch in first:
    resumed, _ = again.next_batch(8)
    for name, array in batch.items():
      np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert np.any(batch["decoder_target_tokens"])


def test_batches_have_the_rows_that_devices_share(parts, data):
  batches = data.PromptBatches(parts)
  # Rows come in multiples of 8 by the experiment: with 3, of 24.
  assert batches.next_batch(3)[0]["encoder_input_tokens"].shape[0] == 24
  fixed = dataclasses.replace(
    parts, layout=dataclasses.replace(parts.layout, num_rows=10)
  )
  batches = data.PromptBatches(fixed)
  assert batches.next_batch(5)[0]["encoder_input_tokens"].shape[0] == 10
  with pytest.raises(ValueError, match="num_rows=10.*multiple of 4"):
    batches.next_batch(4)
  with pytest.raises(TypeError, match="data.get_dataset"):
    data.find_batches(iter([]))


def test_the_record_of_the_best_prompts_is_saved_with_the_place(
  parts, data, tmp_path
):
  batches = data.PromptBatches(parts)
  place = str(tmp_path / "process_0-of-1" / "train_ds-00000-of-00001")
  (tmp_path / "process_0-of-1").mkdir()
  batches.record = {
    "best": {"score": np.array([0.5, 0.25], np.float32)},
    "evaluated": np.array(7),
  }
  batches.save(place)
  again = data.PromptBatches(parts)
  # A run of two processes reads the place of one.
  again.restore(str(tmp_path / "process_1-of-2" / "train_ds-00001-of-00002"))
  assert again.record["evaluated"] == 7
  np.testing.assert_array_equal(again.record["best"]["score"], [0.5, 0.25])
  damaged = (
    tmp_path / "process_0-of-1" / (f"train_ds-00000-of-00001{data.BEST}")
  )
  damaged.write_bytes(damaged.read_bytes()[:-3])
  with pytest.raises(ValueError, match="the best prompts of a checkpoint"):
    data.PromptBatches(parts).restore(place)


def test_rows_of_datasets_are_those_that_the_devices_share(parts, data):
  # The tests have eight devices.
  experiment = dataclasses.replace(
    parts.experiment, eval=EvalConfig(num_rows=9)
  )
  assert data.eval_dataset(experiment).batch_size == 16
  train = data.train_dataset(experiment)
  assert train.batch_size == 8 and train.shuffle and train.split == "train"
  assert not data.eval_dataset(experiment).shuffle
  assert data.eval_dataset(experiment, "train").split == "train"
  assert data.eval_loss_dataset(experiment, 0) is None
  assert data.eval_loss_dataset(experiment, 3).batch_size == 16
  mixed, apart = (
    data.infer_dataset(experiment, mixed=mixed).mixture_or_task_name
    for mixed in (True, False)
  )
  assert mixed != apart


def test_datasets_that_are_not_there(parts, data):
  without = dataclasses.replace(parts.experiment, eval=None)
  with pytest.raises(ValueError, match="needs Experiment.eval"):
    data.eval_dataset(without)
  # Inference needs no evaluation in the settings.
  assert data.infer_dataset(without).split == "validation"
  with pytest.raises(ValueError, match="has no split 'test'; it has train, "):
    data.eval_dataset(parts.experiment, "test")
  with pytest.raises(ValueError, match="eval_loss_dataset.steps"):
    data.eval_loss_dataset(parts.experiment, -1)


def write_run(folder, parts, data):
  folder.mkdir()
  run_folder.write_settings(folder, data.settings_of_run(parts), "")


def test_a_run_of_other_slots_is_named(parts, data, tmp_path):
  run = tmp_path / "run"
  write_run(run, parts, data)
  with pytest.raises(FileNotFoundError, match="no t5x checkpoint in .*run"):
    data.newest_checkpoint(str(run), parts.experiment)
  fewer = dataclasses.replace(
    parts.experiment, slots=parts.experiment.slots[:1]
  )
  with pytest.raises(ValueError, match="has the slots .*; the experiment's ar"):
    data.newest_checkpoint(str(run), fewer)
  # A step's folder belongs to the run around it.
  with pytest.raises(ValueError, match="has the slots .*; the experiment's ar"):
    data.newest_checkpoint(str(run / "checkpoint_10"), fewer)


def test_best_prompts_are_those_of_the_runs_files(
  parts, data, tmp_path, capsys
):
  run = tmp_path / "run"
  write_run(run, parts, data)
  assert data.best_prompts(str(run), parts.experiment, True) is None
  rng = np.random.default_rng(0)
  prompt = {
    name: rng.normal(size=x.shape).astype(np.float32)
    for name, x in parts.model.init_variables(np.uint32([0, 0]))["params"][
      "prompt"
    ].items()
  }
  bank = run_folder.make_bank(parts, prompt, [{"step": 4.0}, {"step": 2.0}])
  (run / "prompts").mkdir()
  bank.save(run / "prompts" / "best.safetensors")
  data.best_prompts.cache_clear()
  made = data.best_prompts(str(run), parts.experiment, True)
  for name, array in prompt.items():
    np.testing.assert_array_equal(made[name], array)
  assert "best of the run in" in capsys.readouterr().err
  assert data.best_prompts(str(run), parts.experiment, False) is None
  params = {"encoder": 1, "prompt": 2}
  assert data.with_prompts(params, None) == params
  assert data.with_prompts(params, made) == {"encoder": 1, "prompt": made}
