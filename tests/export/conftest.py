"""A T5 with prompts, exported once for all tests."""

import pathlib
import shutil

import pytest
from stablehlo_fixtures import export_folder, make_bank, save_backbone


@pytest.fixture(scope="session")
def backbone(tmp_path_factory, make_params):
  return save_backbone(tmp_path_factory.mktemp("t5") / "t5", make_params)


@pytest.fixture(scope="session")
def bank(backbone):
  return make_bank(backbone)


@pytest.fixture(scope="session")
def exported(bank, backbone, tmp_path_factory):
  """The folder; tests that change it work on a `copy`."""
  return export_folder(bank, tmp_path_factory.mktemp("out") / "t5", backbone)


@pytest.fixture
def copy(exported, tmp_path):
  return pathlib.Path(shutil.copytree(exported, tmp_path / "copy"))
