"""A data folder of the tiny material, made once."""

import pretraining_fixtures
import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pretraining") / "data"
  pretraining_fixtures.write_data(folder)
  return folder
