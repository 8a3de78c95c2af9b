"""Reads the T5 of t5x's checkpoints, without t5x.

There are two layouts, both with the parameters under `target`:

  legacy  a msgpack file `checkpoint`; its leaves are small arrays, or name the
          zarr folder beside it (`target.encoder.…`) that holds the array
  orbax   `_METADATA` (before 2023 also a msgpack file `checkpoint`), and the
          zarr arrays in one OCDBT database or in a folder each

Either may be in `state/` of a step's folder `checkpoint_1000`, which may be in
a run's folder. Arrays are read with tensorstore, one at a time.
"""

import collections.abc
import json
import math
import pathlib
import re

import numpy as np
from flax import serialization, traverse_util

from mpt_jax.backbones.tensor_files import check_floats
from mpt_jax.io.errors import reading
from mpt_jax.model.config import T5Config

_STEP = re.compile(r"checkpoint_(\d+)")
# No array of a T5 has so many numbers.
_MOST = 2**36
_PLACEHOLDER = "PLACEHOLDER://"


def find_checkpoint(path) -> pathlib.Path | None:
  """The folder that holds a checkpoint's arrays, or None.

  Args:
    path: a run's folder (its newest step is taken), a step's folder, its
      `state/`, or a legacy checkpoint's file `checkpoint`.
  """
  path = pathlib.Path(path)
  if path.is_file() and path.name == "checkpoint":
    path = path.parent
  if not path.is_dir():
    return None
  steps = {
    int(match[1]): child
    for child in path.iterdir()
    if (match := _STEP.fullmatch(child.name)) and child.is_dir()
  }
  if steps:
    path = steps[max(steps)]
  for folder in (path, path / "state", path / "default"):
    if (folder / "checkpoint").is_file() or (folder / "_METADATA").is_file():
      return folder
  return None


class T5xTensors(collections.abc.Mapping):
  """The tensors below `target` by t5x's names; each is read when asked for.

  Args:
    folder: the result of `find_checkpoint`.

  Raises:
    ValueError: the checkpoint is damaged, or is not that of a model.
  """

  def __init__(self, folder):
    self._folder = pathlib.Path(folder)
    with reading(self.index_file, "a checkpoint of t5x"):
      if (self._folder / "checkpoint").is_file():
        leaves = self._legacy_leaves()
      else:
        leaves = self._orbax_leaves()
    self._leaves = {}
    for prefix in ("target/", "params/params/", "params/", ""):
      if any(name.startswith(f"{prefix}encoder/") for name in leaves):
        self._leaves = {
          name.removeprefix(prefix): leaf
          for name, leaf in leaves.items()
          if name.startswith(prefix)
        }
        break
    else:
      raise ValueError(
        f"{folder} is a checkpoint, but there is no encoder under 'target';"
        f" it has {', '.join(sorted({n.split('/')[0] for n in leaves}))}"
      )
    self._stores = {}

  @property
  def index_file(self) -> pathlib.Path:
    """The file that lists the arrays."""
    path = self._folder / "checkpoint"
    return path if path.is_file() else self._folder / "_METADATA"

  def _legacy_leaves(self):
    path = self._folder / "checkpoint"
    data = path.read_bytes()
    if data.startswith(b"model_checkpoint_path"):
      raise ValueError(
        f"{self._folder} is a TensorFlow checkpoint from before t5x; use the"
        " same T5 as a t5x checkpoint or a Hugging Face folder"
      )
    try:
      contents = serialization.msgpack_restore(data)
    except Exception as error:  # msgpack and NumPy raise many types.
      raise ValueError(f"{path} is not readable as msgpack: {error}") from error
    if not isinstance(contents, dict):
      raise ValueError(f"{path} holds no tree of parameters")
    # For historical reasons, t5x keeps everything under "optimizer".
    tree = contents.get("optimizer", contents)
    leaves = traverse_util.flatten_dict(
      tree, sep="/", is_leaf=lambda _, x: "kvstore" in x
    )
    return {name: self._legacy_leaf(name, x) for name, x in leaves.items()}

  def _legacy_leaf(self, name, leaf):
    """An array, or the name of the folder that holds it."""
    if isinstance(leaf, dict):
      # The checkpoint may have been copied from a bucket to a disk or back, so
      # only the name of the array's own folder counts.
      stored = leaf["kvstore"].get("path") or leaf.get("path", "")
      return _own_name(stored.strip("/").rpartition("/")[2])
    if isinstance(leaf, str) and leaf.startswith(_PLACEHOLDER):
      return _own_name(leaf.removeprefix(_PLACEHOLDER))
    return leaf

  def _orbax_leaves(self):
    path = self._folder / "_METADATA"
    try:
      tree = json.loads(path.read_text(encoding="utf-8"))["tree_metadata"]
      paths = [
        [part["key"] for part in leaf["key_metadata"]]
        for leaf in tree.values()
        if not leaf["value_metadata"].get("skip_deserialize")
      ]
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f"{path} is damaged: {error!r}") from error
    return {"/".join(parts): ".".join(parts) for parts in paths}

  def _open(self, name):
    import tensorstore

    folder = self._folder.absolute()
    kvstore = {"driver": "file", "path": f"{folder / self._leaves[name]}/"}
    if (self._folder / "manifest.ocdbt").is_file():
      kvstore = {
        "driver": "ocdbt",
        "base": {"driver": "file", "path": f"{folder}/"},
        "path": f"{self._leaves[name]}/",
      }
    errors = []
    for driver in ("zarr", "zarr3"):
      try:
        spec = {"driver": driver, "kvstore": kvstore}
        store = tensorstore.open(spec, open=True, read=True).result()
      except ValueError as error:
        errors.append(str(error).split("[")[0].strip())
        continue
      if math.prod(store.shape) > _MOST:
        raise ValueError(
          f"{self._folder}: the array of {name} has the absurd shape"
          f" {store.shape}; copy the checkpoint again"
        )
      if kvstore["driver"] == "file":
        self._check_pieces(name, store)
      return store
    raise ValueError(
      f"{self._folder}: the array of {name} is missing or damaged:"
      f" {errors[0]:.200}; copy the checkpoint again"
    )

  def _check_pieces(self, name, store):
    """Raises a ValueError if chunks are missing: they would read as zeros."""
    folder = self._folder / self._leaves[name]
    metadata = folder / ".zarray"
    if not metadata.is_file():
      return
    # With a fill value, chunks of zeros are not written.
    if json.loads(metadata.read_text()).get("fill_value") is not None:
      return
    pieces = zip(store.shape, store.chunk_layout.read_chunk.shape, strict=True)
    expected = math.prod(-(-size // chunk) for size, chunk in pieces)
    found = sum(
      1
      for path in folder.rglob("*")
      if path.is_file() and not path.name.startswith(".")
    )
    if found < expected:
      raise ValueError(
        f"{folder} has {found} of {expected} pieces of {name}; copy the"
        " checkpoint again"
      )

  def _store(self, name):
    """The array of a leaf: NumPy's, or tensorstore's, which is not read yet."""
    leaf = self._leaves[name]
    if not isinstance(leaf, str):
      return np.asarray(leaf)
    if name not in self._stores:
      with reading(self._folder / leaf, "an array of a checkpoint"):
        self._stores[name] = self._open(name)
    return self._stores[name]

  def __getitem__(self, name):
    array = self._store(name)
    if not isinstance(array, np.ndarray):
      with reading(self._folder / self._leaves[name], "an array"):
        array = np.asarray(array.read().result())
    check_floats(name, self._folder, array.dtype)
    return array

  def shape(self, name):
    return tuple(self._store(name).shape)

  def __iter__(self):
    return iter(self._leaves)

  def __len__(self):
    return len(self._leaves)


def _own_name(name) -> str:
  """The name of an array's folder, which lies in the checkpoint's."""
  if not name or name in (".", "..") or set("/\\") & set(name):
    raise ValueError(f"an array's folder is named {name!r:.80}")
  return name


def infer_config(tensors: T5xTensors, where) -> T5Config:
  """Infers the T5Config from the shapes of a T5's tensors.

  The table of relative positions has the number of heads; it is in the first
  layer if the layers have tables of their own. The shapes do not say
  max_relpos_distance, which is 128 in every T5. If the feed-forward block has
  two input matrices, it is a gated GELU.

  Args:
    tensors: the tensors of a checkpoint.
    where: names the checkpoint in errors.

  Raises:
    ValueError: tensors that are needed for it are missing.
  """
  in_layers = "encoder/layers_0/relpos_bias/rel_embedding" in tensors
  where_tables_are = "encoder/layers_0" if in_layers else "encoder"
  needed = {
    "embedding": "token_embedder/embedding",
    "table": f"{where_tables_are}/relpos_bias/rel_embedding",
    "query": "encoder/layers_0/attention/query/kernel",
    "wo": "encoder/layers_0/mlp/wo/kernel",
  }
  missing = [name for name in needed.values() if name not in tensors]
  if missing:
    hint = ""
    if any(name.startswith("encoder/encoder/") for name in tensors):
      hint = (
        ". Its layers are stacked in one tensor (scan_layers), which is not"
        " supported"
      )
    raise ValueError(
      f"{where} is not a T5 in t5x's names: missing {', '.join(missing)}{hint}"
    )
  shapes = {key: tensors.shape(name) for key, name in needed.items()}
  wrong = [
    f"{needed[key]} {shape}" for key, shape in shapes.items() if len(shape) != 2
  ]
  if wrong:
    raise ValueError(
      f"{where}: expected matrices for {', '.join(wrong)}: not a T5 of t5x's"
      " examples/t5"
    )
  (vocab_size, emb_dim), (num_heads, num_buckets) = (
    shapes["embedding"],
    shapes["table"],
  )
  if min(emb_dim, num_heads, num_buckets) < 1:
    raise ValueError(f"{where} is not a T5: its matrices are empty")
  gated = "encoder/layers_0/mlp/wi_0/kernel" in tensors
  layers = {
    stack: len({n.split("/")[1] for n in tensors if n.startswith(stack)})
    for stack in ("encoder/layers_", "decoder/layers_")
  }
  return T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=shapes["query"][1] // num_heads,
    mlp_dim=shapes["wo"][0],
    num_encoder_layers=layers["encoder/layers_"],
    num_decoder_layers=layers["decoder/layers_"],
    mlp_activations=("gelu", "linear") if gated else ("relu",),
    logits_via_embedding="decoder/logits_dense/kernel" not in tensors,
    num_relpos_buckets=num_buckets,
    relpos_in_layers=in_layers,
  )
