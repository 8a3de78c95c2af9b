"""A tiny T5, an engine whose shapes are compiled, and a bank."""

import pytest
from serving import ODD, make_bank, make_engine
from train_fixtures import save_tiny_backbone

NAMES = ("a", "b", "c", "d", "e", "f", *ODD)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
  return save_tiny_backbone(tmp_path_factory.mktemp("serve") / "t5")


@pytest.fixture(scope="session")
def engine(backbone):
  return make_engine(backbone)


@pytest.fixture(scope="session")
def bank(backbone):
  return make_bank(backbone, NAMES)
