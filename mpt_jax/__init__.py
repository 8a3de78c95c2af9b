"""Multitask Prompt Tuning for a frozen T5, in JAX and Flax."""

import os
import sys

if hasattr(sys.modules.get("gin"), "add_config_file_search_path"):
  # A program that reads gin files, such as t5x.train, has imported gin before
  # us. Let it find "gin/mpt_adapt.gin" from any folder.
  sys.modules["gin"].add_config_file_search_path(os.path.dirname(__file__))
