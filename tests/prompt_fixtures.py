"""Banks of random prompts, for tests of files of prompts."""

import numpy as np

from mpt_jax.backbones import backbone
from mpt_jax.prompts.bank import PromptBank

P, D = 5, 24
NAMES = ("a", "b", "c")


def make_bank(base, rank, groups=(0, 0, 0), names=NAMES):
  """A bank of random prompts over the T5, or over none that there is."""
  rng = np.random.default_rng(rank)
  draw = lambda *shape: rng.normal(0.0, 1.0, shape).astype(np.float32)
  params = {"shared_prompt": draw(max(groups) + 1, P, D)}
  if rank:
    params["task_columns"] = draw(len(names), P, rank)
    params["task_rows"] = draw(len(names), rank, D)
  slots = tuple(
    {"task": name, "label_names": ["yes", "no"], "template": f"{name}: {{x}}"}
    for name in names
  )
  fingerprint = "0" * 16
  if base is not None:
    fingerprint = backbone.identify_backbone(base)[1]
  return PromptBank(params, tuple(names), groups, fingerprint, slots)
