"""t5x's partitioner with our meshes, and the native mesh of them."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from program_runs import launch, needs_t5x
from safetensors.numpy import load_file
from train_fixtures import write_user_folder

pytestmark = needs_t5x
BOTH = 'MIXTURE_OR_TASK_NAME="both"'
OFTEN = ("EVAL_PERIOD=4", "CHECKPOINT_PERIOD=10")


def partitioner(**settings):
  from mpt_jax.t5x import partitions

  return partitions.PromptPartitioner(**settings)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"ici_mesh_shape": (1, 8, 1)}, "dcn_mesh_shape belong together, got"),
    ({"dcn_mesh_shape": (1, 8, 1)}, "dcn_mesh_shape belong together, got"),
    ({"num_partitions": 0}, "PromptPartitioner.num_partitions"),
    ({"num_partitions": 2.0}, "PromptPartitioner.num_partitions"),
    ({"num_partitions": 3}, "3"),
    ({"model_parallel_submesh": (1, 1, 1)}, "must have 4 numbers, got"),
    ({"model_parallel_submesh": (1, 0, 1, 1)}, "model_parallel_submesh"),
    (
      {"ici_mesh_shape": (1, 8), "dcn_mesh_shape": (1, 1, 1)},
      "ici_mesh_shape must have 3 numbers",
    ),
  ],
)
def test_wrong_settings(settings, message):
  with pytest.raises(ValueError, match=message):
    partitioner(**settings)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_partitions_share_a_copy_and_the_others_hold_rows(count):
  mesh = partitioner(num_partitions=count).mesh
  assert dict(mesh.shape) == {"data": 8 // count, "model": count}
  assert set(mesh.devices.flat) == set(jax.devices())


def test_the_native_mesh_has_the_same_devices_in_two_axes():
  from mpt_jax.t5x import partitions

  devices = np.reshape(jax.devices(), (2, 2, 2))
  slices = Mesh(devices, ("replica", "data", "model"))
  mesh = partitions.two_axes(slices)
  assert dict(mesh.shape) == {"data": 4, "model": 2}
  np.testing.assert_array_equal(mesh.devices, devices.reshape(4, 2))
  again = partitions.two_axes(mesh)
  assert again == mesh


SLICES = """
import jax
import numpy as np
from mpt_jax.t5x import partitions

class Slices(partitions.PromptPartitioner):
  "Two slices of two devices, which a CPU does not have."
  @property
  def mesh(self):
    devices = np.reshape(jax.devices(), (2, 2, 1))
    return jax.sharding.Mesh(devices, ("replica", "data", "model"))
"""
OWN = """
import slices
from t5x import partitioning
slices.Slices:
  ici_mesh_shape = (1, 2, 1)
  dcn_mesh_shape = (2, 1, 1)
  num_partitions = None
  logical_axis_rules = @partitioning.standard_logical_axis_rules()
"""


def test_several_slices_give_the_prompts_of_one_device(tmp_path):
  folder = write_user_folder(tmp_path, "partitions_test_tasks", 24)
  launch(folder, "t5x.train", "teacher", "whole", BOTH, *OFTEN)
  (folder / "slices.py").write_text(SLICES)
  own = folder / "own.gin"
  own.write_text(own.read_text() + OWN)
  launch(
    *(folder, "t5x.train", "teacher", "slices", BOTH, *OFTEN),
    "train.partitioner=@slices.Slices()",
    num_devices=4,
  )
  for file in ("last", "best"):
    made, whole = (
      load_file(folder / run / "prompts" / f"{file}.safetensors")
      for run in ("slices", "whole")
    )
    for name, array in whole.items():
      np.testing.assert_allclose(made[name], array, atol=1e-4, err_msg=file)
