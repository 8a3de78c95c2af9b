"""Refuses NaN and infinite numbers where numbers come in or go out."""

import numpy as np


def check_finite(array, name: str, where):
  """Raises if an array holds NaN or an infinite number.

  Args:
    array: floats of any type.
    name: the array's name.
    where: the file or the like that holds it.

  Raises:
    ValueError: the message says which entry it is.

  >>> check_finite(np.array([[0.0, np.nan]]), "task_rows", "a.safetensors")
  Traceback (most recent call last):
  ...
  ValueError: a.safetensors: task_rows[0, 1] is nan, and a T5 or prompt must \
hold finite numbers only; 1 of 2 are not. Take a copy from before the damage, \
or the checkpoint of an earlier step
  """
  array = np.asarray(array)
  if array.dtype not in (np.float32, np.float64):
    array = array.astype(np.float32)
  # One NaN or infinity makes the sum NaN or infinite, and a sum takes a tenth
  # of the time of a test of each entry. A sum of large numbers may overflow.
  with np.errstate(over="ignore", invalid="ignore"):
    if np.isfinite(array.sum()):
      return
  bad = ~np.isfinite(array)
  if bad.any():
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    raise ValueError(
      f"{where}: {name}{list(first)} is {array[first]}, and a T5 or prompt must"
      f" hold finite numbers only; {bad.sum():,} of {array.size:,} are not."
      " Take a copy from before the damage, or the checkpoint of an earlier"
      " step"
    )
