"""Files of pretraining examples, from tiny sources; no download."""

import json
import random

from mpt_jax.tasks.pretraining import lexical, tasks
from mpt_jax.tasks.pretraining import sources as pretraining_sources


def make_source(name="rotten_tomatoes", labels=("negative", "positive")):
  texts = {
    label: [f"{label} text number {i}" for i in range(20)] for label in labels
  }
  return pretraining_sources.LabelledSource(
    name, f"{name}: ", tuple(labels), texts, 1.0
  )


def test_chunks_hold_whole_words_of_at_most_70_pieces(tmp_path):
  path = tmp_path / "corpus.txt"
  rng = random.Random(0)
  lines = [
    " ".join(
      rng.choice(["the", "cat", "running", "house", "Paris"])
      for _ in range(rng.randint(1, 40))
    )
    for _ in range(50)
  ]
  path.write_text("\n".join(lines))
  processor = tasks.load_processor()
  chunks = list(tasks._chunks(processor, path))
  assert all(len(processor.encode(chunk)) <= 70 for chunk in chunks)
  assert sum(len(processor.encode(c)) > 60 for c in chunks) >= len(chunks) - 1
  # Nothing is lost but an unfinished last chunk.
  text = " ".join(lines)
  assert text.startswith(" ".join(chunks))


def test_write_supervised_lines(tmp_path, monkeypatch):
  monkeypatch.setattr(
    pretraining_sources, "load_sources", lambda split: [make_source()]
  )
  monkeypatch.setattr(lexical, "lexical_makers", lambda: ())
  path = tasks.write_supervised(tmp_path / "rows.jsonl", 50)
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert len(rows) == 50
  assert all(set(row) == {"inputs", "targets"} for row in rows)
  assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
