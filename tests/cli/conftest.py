"""A tiny T5 and a file of prompts over it, for the commands."""

import numpy as np
import pytest
from train_fixtures import LABELS, save_tiny_backbone

from mpt_jax.backbones import backbone as backbones
from mpt_jax.prompts.bank import PromptBank


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
  return save_tiny_backbone(tmp_path_factory.mktemp("cli") / "t5")


@pytest.fixture(scope="session")
def prompts(backbone, tmp_path_factory):
  """A file of two plain prompts, `cli_a` and `cli_b`, of length 2."""

  def slot(t):
    return {"task": t, "label_names": LABELS, "template": "is: {text}"}

  path = tmp_path_factory.mktemp("cli_bank") / "prompts.safetensors"
  rng = np.random.default_rng(0)
  PromptBank(
    {"shared_prompt": rng.normal(0.0, 1.0, (2, 2, 32)).astype(np.float32)},
    ("cli_a", "cli_b"),
    (0, 1),
    backbones.load_backbone(backbone).fingerprint,
    (slot("cli_a"), {**slot("cli_b"), "metrics": {"accuracy": 0.5}}),
  ).save(path)
  return str(path)
