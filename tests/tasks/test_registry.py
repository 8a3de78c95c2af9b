"""The names of `mpt_jax.tasks`, and when its tasks are registered."""

import subprocess
import sys

import pytest

from mpt_jax import tasks
from mpt_jax.tasks.public import sources


def test_every_dataset_has_a_plain_and_a_prefixed_task():
  for name, source in sources.SOURCES.items():
    for suffix in ("", "_prefixed"):
      task = tasks.get_task(name + suffix)
      assert task.postprocessor.label_names == source.label_names
      assert set(task.splits) == {"train", "validation", "test"}
  held_out = [n for n, s in sources.SOURCES.items() if s.held_out]
  assert sorted(held_out) == [
    "bbc_topic",
    "debian_role",
    "election_tweets",
    "medical_field",
    "spam",
    "summary_match",
    "vader_amazon",
    "vader_nyt",
    "vader_tweets",
  ]


ALONE = """
import sys
from mpt_jax import tasks
heavy = {"seqio", "tensorflow", "jax"} & set(sys.modules)
assert not heavy, heavy
assert tasks.get_task("glue_mnli").name == "glue_mnli"
try:
  tasks.nothing
except AttributeError as error:
  assert "no attribute 'nothing'" in str(error)
else:
  raise AssertionError
"""


AFTER_SEQIO = """
import seqio
from mpt_jax import tasks
assert seqio.get_mixture_or_task("super_glue_record").name
"""


@pytest.mark.parametrize("code", [ALONE, AFTER_SEQIO])
def test_the_registry_is_light_to_import(code):
  made = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert made.returncode == 0, made.stderr
