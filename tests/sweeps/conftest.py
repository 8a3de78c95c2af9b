"""A table whose runs have been measured."""

import pytest
from sweep_tables import measured_table


@pytest.fixture
def measured(tmp_path):
  """(table, planned runs) with scores of all methods."""
  return measured_table(tmp_path)
