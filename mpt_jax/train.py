"""The native launcher: `python -m mpt_jax.train --gin_file=FILE`.

A command and not a module to import: in Python, `mpt_jax.train` is the function
of `mpt_jax.training.loop`.
"""

import sys

from mpt_jax.training import gin_config

if __name__ == "__main__":
  sys.exit(gin_config.main(sys.argv[1:]))
