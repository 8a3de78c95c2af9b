"""Multitask Prompt Tuning for a frozen T5, in JAX and Flax."""

import sys

if hasattr(sys.modules.get("gin"), "add_config_file_search_path"):
  # A program that reads gin files, such as t5x.train, has imported gin before
  # this package. It can now find "gin/mpt_adapt.gin" from any folder.
  from mpt_jax.io.paths import GIN_SEARCH_PATHS

  for _folder in GIN_SEARCH_PATHS:
    sys.modules["gin"].add_config_file_search_path(_folder)
