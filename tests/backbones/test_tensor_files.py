"""Files of tensors, beside what safetensors and PyTorch read and write."""

import hashlib
import pathlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from mpt_jax.backbones import tensor_files

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.float32([0.5, -1.5, 3.0])
FLOAT32, BFLOAT16 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)


def write(path, items, dtype=FLOAT32, digests=None):
  shapes = {"a": A.shape, "b": B.shape}
  tensor_files.write_tensors(path, shapes, dtype, items, digests or {})


# --------------------------------------------------------------------- writing


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16])
def test_safetensors_reads_what_is_written(dtype, tmp_path):
  path, digest = tmp_path / "x.safetensors", hashlib.sha256()

  def items():
    for name, array in (("a", A), ("b", B)):
      digest.update(array)
      yield name, array.astype(dtype)

  write(path, items(), dtype, {"sum": digest})
  loaded = safetensors.torch.load_file(path)
  assert list(loaded) == ["a", "b"]
  kind = torch.float32 if dtype == FLOAT32 else torch.bfloat16
  # These numbers are exact in bfloat16 too.
  for name, array in (("a", A), ("b", B)):
    assert loaded[name].dtype == kind
    np.testing.assert_array_equal(loaded[name].float().numpy(), array)
  with safetensors.safe_open(path, framework="np") as opened:
    expected = hashlib.sha256(A.tobytes() + B.tobytes()).hexdigest()
    assert opened.metadata() == {"sum": expected}


@pytest.mark.parametrize(
  "items", [[("b", B), ("a", A)], [("a", A.T), ("b", B)]]
)
def test_tensors_out_of_order_leave_the_old_file(items, tmp_path):
  path = tmp_path / "x.safetensors"
  path.write_text("old")
  with pytest.raises(ValueError, match="out of order"):
    write(path, items)
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


# --------------------------------------------------------- reading safetensors


def save(path, **arrays):
  safetensors.numpy.save_file(arrays, path, {path.stem: "metadata"})
  return path


def test_several_files_are_one_mapping(tmp_path):
  paths = [save(tmp_path / "1.st", a=A), save(tmp_path / "2.st", b=B)]
  found = tensor_files.TensorFiles(tmp_path, paths)
  assert len(found) == 2 and list(found) == ["a", "b"]
  assert found.paths == dict(zip("ab", paths, strict=True))
  assert found.metadata == {"1": "metadata", "2": "metadata"}
  assert found.shape("a") == (2, 3)
  np.testing.assert_array_equal(found["b"], B)


def test_a_name_in_two_files_is_refused(tmp_path):
  paths = [save(tmp_path / "1.st", a=A), save(tmp_path / "2.st", a=A)]
  with pytest.raises(ValueError, match="the tensor a is both in .*1.st and in"):
    tensor_files.TensorFiles(tmp_path, paths)


def test_a_damaged_file_is_named(tmp_path):
  path = save(tmp_path / "1.st", a=A)
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(ValueError, match="1.st is damaged or incomplete"):
    tensor_files.TensorFiles(tmp_path, [path])


def test_a_missing_file_says_what_is_there(tmp_path):
  (tmp_path / "tf_model.h5").write_text("")
  (tmp_path / "notes").write_text("")
  with pytest.raises(
    FileNotFoundError,
    match="no 1.st.*there is notes, tf_model.h5. Weights in other formats",
  ):
    tensor_files.TensorFiles(tmp_path, [tmp_path / "1.st"])


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_numbers_other_than_floats_are_refused(dtype, tmp_path):
  path = tmp_path / "1.st"
  safetensors.torch.save_file({"q": torch.zeros(3).to(dtype)}, path)
  found = tensor_files.TensorFiles(tmp_path, [path])
  with pytest.raises(ValueError, match="tensor 'q' in .*expected floats"):
    found["q"]


# ------------------------------------------------------------- reading PyTorch


def torch_file(path, value):
  torch.save(value, path)
  return tensor_files.TorchFiles(path.parent, [path])


def test_tensors_of_pytorch_keep_their_values(tmp_path):
  whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
  half = torch.tensor([0.5, -1.5, 3.0])
  found = torch_file(
    tmp_path / "x.bin",
    {
      "turned": torch.nn.Parameter(whole).T,
      "bfloat16": half.bfloat16(),
      "float16": half.half(),
    },
  )
  assert list(found) == ["turned", "bfloat16", "float16"]
  assert found.shape("turned") == (4, 3)
  np.testing.assert_array_equal(found["turned"], whole.numpy().T)
  assert found["bfloat16"].dtype == BFLOAT16
  assert found["float16"].dtype == np.float16
  for name in ("bfloat16", "float16"):
    np.testing.assert_array_equal(found[name].astype(np.float32), B)


class Code:
  """An object that runs code when it is unpickled."""

  def __init__(self, marker):
    self.marker = marker

  def __reduce__(self):
    return (pathlib.Path.touch, (self.marker,))


def test_code_in_a_file_does_not_run(tmp_path):
  marker = tmp_path / "was_run"
  with pytest.raises(ValueError, match="holds more than tensors"):
    torch_file(tmp_path / "x.bin", {"a": Code(marker)})
  assert not marker.exists()


@pytest.mark.parametrize(
  ("value", "message"),
  [
    ([torch.zeros(2)], "is not a dict of tensors"),
    ({"a": {"b": torch.zeros(2)}}, "is not a dict of tensors"),
    ({3: torch.zeros(2)}, "name must be text, got 3"),
    # One number, which a view repeats a million times.
    (
      {"a": torch.zeros(1).expand(1_000_000)},
      r"a has the shape \(1000000,\), which is larger than the file",
    ),
  ],
)
def test_other_contents_are_refused(value, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    torch_file(tmp_path / "x.bin", value)


@pytest.mark.parametrize(
  "tensor",
  [
    torch.zeros(2, dtype=torch.int64),
    torch.zeros(2, dtype=torch.float8_e4m3fn),
    torch.eye(2).to_sparse(),
  ],
)
def test_tensors_without_plain_floats_are_refused(tensor, tmp_path):
  found = torch_file(tmp_path / "x.bin", {"q": tensor})
  with pytest.raises(ValueError, match="tensor 'q' in .*expected floats"):
    found["q"]
