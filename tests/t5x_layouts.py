"""Writes checkpoints as t5x lays them out, without t5x."""

import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax import serialization, traverse_util

from mpt_jax.model.objective import Model


def make_flat(config, make_params):
  """Random parameters of a T5 without prompts, by flat name."""
  params = make_params(Model(config, trainable="everything"))
  return traverse_util.flatten_dict(params, sep="/")


def check_same(backbone, config, flat):
  assert backbone.config == config
  found = traverse_util.flatten_dict(backbone.params, sep="/")
  assert set(found) == set(flat)
  for name, array in flat.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def write_zarr(folder, name, array):
  spec = {
    "driver": "zarr",
    "dtype": array.dtype.name,
    "kvstore": {"driver": "file", "path": str(folder / name)},
    "metadata": {
      "shape": array.shape,
      "chunks": [max(1, n // 2) for n in array.shape],
      "compressor": {"id": "gzip"},
    },
  }
  store = tensorstore.open(spec, create=True, open=True).result()
  store.write(array).result()


def write_legacy(folder, flat, place="file", small=("scale",)):
  """A checkpoint as t5x's own Checkpointer lays it out.

  Large arrays are zarr folders, small ones are in the msgpack file. Saved to
  Google's storage, the file speaks of a bucket.
  """
  folder.mkdir(parents=True)
  leaves = {}
  for name, array in flat.items():
    leaf = array
    if not name.endswith(tuple(small)):
      stored = f"target.{name.replace('/', '.')}"
      write_zarr(folder, stored, array)
      leaf = {
        "driver": "zarr",
        "dtype": array.dtype.name,
        "metadata": {"shape": list(array.shape)},
      }
      if place == "file":
        leaf["kvstore"] = {"driver": "file", "path": f"{stored}/"}
      elif place == "gcs":
        leaf["kvstore"] = {
          "driver": "gcs",
          "bucket": "t5x-dummy-bucket",
          "path": f"{stored}/",
        }
      elif place == "placeholder":
        # As orbax had it before its databases.
        leaf = f"PLACEHOLDER://{stored}"
      else:
        # As tensorstore before 0.1.14 had it.
        leaf["kvstore"] = {"driver": "gfile"}
        leaf["path"] = f"some/where/{stored}"
    leaves[("target", *name.split("/"))] = leaf
  leaves["state", "step"] = np.int32(7)
  tree = {"version": 3, "optimizer": traverse_util.unflatten_dict(leaves)}
  (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
  return folder


def write_orbax(folder, flat, use_ocdbt=True):
  tree = {
    "target": traverse_util.unflatten_dict(flat, sep="/"),
    "state": {"step": np.int32(7)},
  }
  with ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(use_ocdbt=use_ocdbt)
  ) as checkpointer:
    checkpointer.save(folder / "state", tree)
  return folder
