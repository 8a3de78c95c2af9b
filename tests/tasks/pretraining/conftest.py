"""The tiny material of pretraining, made once."""

import pretraining_fixtures
import pytest


@pytest.fixture(scope="session")
def material():
  return pretraining_fixtures.make_material()
