"""Local paths for libraries that list files by a pattern."""

import glob
import os

from etils import epath

from mpt_jax.io import paths


@epath.register_path_cls
class _LiteralPath(type(epath.Path())):
  """A local path whose `glob` takes only its argument for a pattern.

  That of etils joins both, so that orbax would find nothing in `exp[1]`.
  """

  def glob(self, pattern):
    for found in glob.glob(os.path.join(glob.escape(str(self)), pattern)):
      yield self._new(found)


def literal(path) -> epath.Path:
  """Returns the absolute path, or an address such as gs://... as it is."""
  name = paths.absolute(path)
  return epath.Path(name) if "://" in name else _LiteralPath(name)
