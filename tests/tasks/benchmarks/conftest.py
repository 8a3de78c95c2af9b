"""TFDS with the rows of `tfds_rows`, for every test of the benchmarks."""

import pytest
import tfds_rows


@pytest.fixture(scope="module", autouse=True)
def mocked(tmp_path_factory):
  with tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")):
    yield
