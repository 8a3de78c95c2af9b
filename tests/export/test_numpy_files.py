"""NumPy's files of other programs: headers, versions, byte orders."""

import io
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from mpt_jax.export import numpy_files

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
DATA = ARRAY.tobytes()


def npy(shape, descr="<f4", data=DATA, version=1, order=False):
  """The bytes of a .npy file with any header."""
  header = repr({"descr": descr, "fortran_order": order, "shape": shape})
  size = struct.pack("<H" if version == 1 else "<I", len(header))
  return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_every_size_and_order(dtype, order, tmp_path):
  path = tmp_path / "x.npy"
  np.save(path, np.asarray(ARRAY, dtype, order=order))
  found = numpy_files.to_float32(path, "x", numpy_files.read_npy(path))
  assert found.dtype == np.float32 and found.flags.c_contiguous
  np.testing.assert_array_equal(found, ARRAY)
  np.savez(tmp_path / "x.npz", a=np.asarray(ARRAY, dtype, order=order))
  arrays = numpy_files.read_npz(tmp_path / "x.npz")
  np.testing.assert_array_equal(arrays["a"].astype(np.float32), ARRAY)


def test_version_2_and_bfloat16(tmp_path):
  path = tmp_path / "x.npy"
  path.write_bytes(npy((2, 3), version=2))
  np.testing.assert_array_equal(numpy_files.read_npy(path), ARRAY)
  np.save(path, ARRAY.astype(ml_dtypes.bfloat16))
  found = numpy_files.to_float32(path, "x", numpy_files.read_npy(path))
  np.testing.assert_array_equal(found, ARRAY)


@pytest.mark.parametrize(
  "data, message",
  [
    (npy((10**12, 16)), "64000000000000 bytes, and it holds 24"),
    (npy((2, 4)), "32 bytes, and it holds 24"),
    (npy((1, 3)), "12 bytes, and it holds 24"),
    (npy((-2, -3)), "x.npy"),
    (npy((2**40, 2**40)), "it holds 24"),
    (npy("x"), "x.npy"),
    (npy((2, 3), descr="|O"), "must hold floats, got Python objects"),
    (npy((2, 3), descr="nonsense"), "x.npy"),
    (npy((2, 3), version=3), r"version \(3, 0\)"),
    (npy((2, 3), version=9), "x.npy"),
    (npy((2, 3))[:-1], "it holds 23"),
    (npy((2, 3))[:20], "x.npy"),
    (b"", "x.npy"),
  ],
)
def test_damaged_headers(data, message, tmp_path):
  path = tmp_path / "x.npy"
  path.write_bytes(data)
  with pytest.raises(ValueError, match=message) as error:
    numpy_files.read_npy(path)
  assert str(path) in str(error.value) and "\n" not in str(error.value)
  with zipfile.ZipFile(
    tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED
  ) as archive:
    archive.writestr("a.npy", data)
  with pytest.raises(ValueError, match="x.npz"):
    numpy_files.read_npz(tmp_path / "x.npz")


def test_archives_that_are_refused(tmp_path):
  path = tmp_path / "x.npz"
  for names in (["a.npy", "b.npy"], ["a.txt"], ["../a"]):
    with zipfile.ZipFile(path, "w") as archive:
      for name in names:
        archive.writestr(name, npy((2, 3)))
    path.write_bytes(path.read_bytes().replace(b"b.npy", b"a.npy"))
    with pytest.raises(ValueError, match="x.npz"):
      numpy_files.read_npz(path)
  buffer = io.BytesIO()
  np.savez(buffer, a=ARRAY)
  damaged = bytearray(buffer.getvalue())
  damaged[damaged.index(DATA)] ^= 1
  path.write_bytes(damaged)
  with pytest.raises(ValueError, match="x.npz.*CRC"):
    numpy_files.read_npz(path)


def test_what_is_not_floats_or_not_two_axes(tmp_path):
  for dtype in (np.int32, np.bool_, np.complex64, "U3", "M8[s]"):
    with pytest.raises(ValueError, match="p: x must hold floats"):
      numpy_files.to_float32("p", "x", np.zeros((2, 3), dtype))
  with pytest.raises(ValueError, match=r"2 or 3 axes, got the shape \(3,\)"):
    numpy_files.to_float32("p", "x", np.zeros(3, np.float32))
