"""The native launcher: `python -m mpt_jax.train --gin_file=FILE`.

A command and not a module to import: in Python, `mpt_jax.train` is the function
of `mpt_jax.training.loop`.
"""

import sys
import types

import mpt_jax
from mpt_jax.launchers import gin_config


class _Train(types.ModuleType):
  """Lets `mpt_jax.train(...)` train after an import of this module too.

  Python binds an imported module to its name in the package, where the function
  was. Tools that walk through packages import all modules.
  """

  def __call__(self, *args, **kwargs):
    return mpt_jax.__getattr__("train")(*args, **kwargs)


sys.modules[__name__].__class__ = _Train

if __name__ == "__main__":
  sys.exit(gin_config.main(sys.argv[1:]))
