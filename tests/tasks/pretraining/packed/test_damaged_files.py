"""The files of packed pretraining refuse damage in one line."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, fuzz

from mpt_jax.tasks.pretraining.packed import material, shards, state, tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A data folder with little in it, and a checkpoint."""
  folder = tmp_path_factory.mktemp("packed")
  empty = dict.fromkeys(material.Material.__dataclass_fields__, [])
  made = material.Material(**{**empty, "plain": ["Zoë ran."]})
  material.save(made, folder / material.FILE)
  shards.write_recipe(folder, shards.Recipe(vocab_size=300))
  (folder / shards.PIECES).write_text('[["▁a", 3, -1.5], ["b", 4, -2.0]]')
  (folder / "log.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
  progress = state.Progress({"a": jnp.ones((2, 3)), "b": jnp.zeros(2)}, 7)
  state.save_checkpoint(folder / "checkpoint.npz", progress)
  return folder


@pytest.mark.parametrize(
  "name",
  [
    *(material.FILE, "recipe.json", shards.PIECES, "checkpoint.npz"),
    "log.jsonl",
  ],
)
@CASES
@given(data=st.data())
def test_files_of_packed_pretraining(name, folder, data):
  path = folder / name
  like = {"a": np.ones((2, 3)), "b": np.zeros(2)}
  read = {
    material.FILE: lambda: material.load(path).plain,
    "recipe.json": lambda: shards.ShardMaker(folder).recipe.shape,
    shards.PIECES: lambda: tokens.Tokenizer.from_file(path).encode("a b"),
    "checkpoint.npz": lambda: state.load_checkpoint(path, like).step,
    "log.jsonl": lambda: state.Log(path, 2) and None,
  }[name]
  fuzz(data, path, read)


@CASES
@given(data=st.data())
def test_shards(folder, data):
  data_folder = folder / "with_shard"
  if not data_folder.is_dir():
    data_folder.mkdir()
    for name in ("recipe.json", shards.PIECES):
      shutil.copy(folder / name, data_folder)
    (data_folder / "shards").mkdir()
    rows = np.zeros((3, 8), np.int32)
    np.savez(data_folder / "shards" / "000000.npz", inputs=rows)
  batches = state.Batches(data_folder, 2, workers=0)
  path = data_folder / "shards" / "000000.npz"
  fuzz(data, path, lambda: batches._load(0))
