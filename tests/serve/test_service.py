"""The service: tasks come, change and go, and are there after a restart."""

import gc
import pathlib
import resource

import numpy as np
import pytest
from serving import D, P, make_bank, make_service

from mpt_jax.export import prompt_files
from mpt_jax.serve.service import Limits, UnknownTask


@pytest.fixture
def made(backbone, engine, bank, tmp_path):
  """A service with a state folder and a folder of tasks."""
  folder = tmp_path / "tasks"
  folder.mkdir()
  service = make_service(
    backbone, engine, [bank], state=tmp_path / "state", folder=folder
  )
  yield service
  service.close()


def _prompt(service, name):
  return service.find(name).prompt()


def test_added_tasks_are_there_after_a_restart(
  made, backbone, engine, bank, tmp_path
):
  other = make_bank(backbone, ["x", "y"], seed=1)
  rank_two = make_bank(backbone, ["two"], rank=2, seed=2)
  made.add(other)
  made.add(rank_two)
  made.add(other, ["a", "z"], replace=True)
  made.remove("y")
  made.remove("b")
  names = made.names()
  prompts = {name: _prompt(made, name) for name in names}
  made.close()
  again = make_service(backbone, engine, [bank], state=tmp_path / "state")
  assert sorted(again.names()) == sorted(names)
  for name, prompt in prompts.items():
    np.testing.assert_array_equal(_prompt(again, name), prompt)
  np.testing.assert_array_equal(_prompt(again, "a"), other.composed[0])
  np.testing.assert_array_equal(_prompt(again, "two"), rank_two.composed[0])
  again.close()


def test_a_task_is_not_replaced_by_mistake(made, backbone):
  with pytest.raises(FileExistsError, match="a task 'a'; replace it with PUT"):
    made.add(make_bank(backbone, ["new", "a"]))
  assert "new" not in made.names()
  with pytest.raises(UnknownTask, match="no task 'new'"):
    made.remove("new")


def test_limits(backbone, engine, bank):
  service = make_service(
    backbone,
    engine,
    [bank],
    limits=Limits(queue=2, tasks=len(bank.names) + 2, characters=10),
  )
  service.add(make_bank(backbone, ["x"]))
  with pytest.raises(ValueError, match="this server takes 11"):
    service.add(make_bank(backbone, ["y", "y 2"]))
  with pytest.raises(ValueError, match="a text has 11 characters"):
    service.request({"text": "x" * 11}, "a")
  with pytest.raises(ValueError, match="printable characters"):
    service.add(make_bank(backbone, ["x\n"]))
  with pytest.raises(ValueError, match="has 1001 labels"):
    service.add(
      bank, bank.names, {"label_names": list(map(str, range(1001)))}, True
    )
  with pytest.raises(ValueError, match="the longest may have 128"):
    labels = ["red " * 200, "blue"]
    service.add(bank, bank.names, {"label_names": labels}, True)
  huge = make_bank(backbone, ["z"])
  params = {name: array * 0 + 1e20 for name, array in huge.params.items()}
  with pytest.raises(ValueError, match="'z'.* composed prompt"):
    # 1e20 · 1e20 · 1e20 is more than a float32.
    service.add(type(huge).from_fields(params, huge.fields, "it"), replace=True)
  other = make_bank(backbone, ["z"])
  other = type(other).from_fields(
    other.params, {**other.fields, "backbone": "0" * 16}, "it"
  )
  with pytest.raises(ValueError, match="another T5"):
    service.add(other)


def test_a_path_stays_within_the_folder(made, backbone, tmp_path):
  bank = make_bank(backbone, ["x", "y"])
  bank.save(tmp_path / "outside.safetensors")
  bank.save(made.folder / "in.safetensors")
  prompt_files.export_prompts(bank, "peft", made.folder / "adapter")
  assert made.read_path("in.safetensors").names == ("x", "y")
  assert made.read_path("adapter").names == ("x", "y")
  (made.folder / "link").symlink_to(tmp_path / "outside.safetensors")
  (made.folder / "run" / "prompts").mkdir(parents=True)
  (made.folder / "run" / "prompts" / "best.safetensors").symlink_to(
    tmp_path / "outside.safetensors"
  )
  absolute = str(tmp_path / "outside.safetensors")
  for path in ("../outside.safetensors", absolute, "link", "run", "/etc", ".."):
    with pytest.raises(PermissionError, match="leads out of the folder"):
      made.read_path(path)
  with pytest.raises(FileNotFoundError):
    made.read_path("missing.safetensors")


def test_without_a_folder_no_path_is_read(backbone, engine, bank):
  service = make_service(backbone, engine, [bank])
  with pytest.raises(PermissionError, match="--task-folder"):
    service.read_path("x")


def test_a_request_keeps_the_task_that_it_came_for(made, backbone):
  old = _prompt(made, "a")
  request = made.request({"text": "red"}, "a")
  made.submit([request])
  other = make_bank(backbone, ["a"], seed=9)
  made.add(other, replace=True)
  np.testing.assert_array_equal(request.task.prompt(), old)
  np.testing.assert_array_equal(_prompt(made, "a"), other.composed[0])
  stale = made.request({"text": "red"}, "b")
  made.remove("b")
  with pytest.raises(UnknownTask, match="'b' has gone"):
    made.submit([stale])


def test_two_files_with_one_name_are_refused(backbone, engine, bank):
  with pytest.raises(ValueError, match="several prompts are called a"):
    make_service(backbone, engine, [bank, make_bank(backbone, ["a"])])


def test_memory_stays_flat(made, backbone):
  """Tasks that are added and removed leave nothing behind."""
  bank = make_bank(backbone, ["x"])
  statm = pathlib.Path("/proc/self/statm")

  def go(count):
    for i in range(count):
      made.add(bank, [f"task {i}"])
      made.remove(f"task {i}")
    gc.collect()
    return int(statm.read_text().split()[1]) * resource.getpagesize()

  before, size = go(100), made.table.sizes()
  grown = go(300) - before
  assert made.table.sizes() == size
  # A task's prompt and factors alone are 4·(2·32 + 2 + 32) = 392 bytes; with
  # its names, texts and array headers it takes some kilobytes. 300 of them
  # would take more than this.
  assert grown < 300 * 392 + 2**20
  assert (P, D) == (2, 32)
