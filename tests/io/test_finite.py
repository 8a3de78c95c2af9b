"""NaN and infinite numbers are found and named; large numbers are not."""

import ml_dtypes
import numpy as np
import pytest

from mpt_jax.io.finite import check_finite


@pytest.mark.parametrize(
  "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_of_many(dtype, value):
  array = np.zeros((30, 40), dtype)
  check_finite(array, "x", "a.npz")
  array[17, 3] = array[29, 39] = value
  message = rf"^a.npz: x\[17, 3\] is {value}.*2 of 1,200 are not"
  with pytest.raises(ValueError, match=message):
    check_finite(array, "x", "a.npz")


def test_the_largest_numbers_are_finite():
  """Their sum is not."""
  check_finite(np.full((100,), 3e38, np.float32), "x", "a.npz")
  check_finite(np.full((100,), 1e308), "x", "a.npz")


def test_infinities_of_both_signs_do_not_cancel():
  with pytest.raises(ValueError, match=r"x\[0\] is inf"):
    check_finite(np.array([np.inf, -np.inf]), "x", "a.npz")


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_other_shapes(shape):
  check_finite(np.ones(shape), "x", "a.npz")
