"""`python -m mpt_jax` is the command `mpt`."""

import sys

from mpt_jax.cli.main import main

if __name__ == "__main__":
  sys.exit(main())
