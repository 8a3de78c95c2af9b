"""The gate's judgement by hand, and its methods on a tiny task and T5."""

import json
import pathlib

import jax
import pytest

from mpt_jax import tasks
from mpt_jax.backbones import backbone
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model
from mpt_jax.text import vocabularies

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"
PASSING = {
  "majority": 50.0,
  "tfidf_lr": 70.0,
  "no_prompt": 55.0,
  "prompt": 75.0,
  "finetune": 80.0,
}


@pytest.fixture
def gate(monkeypatch):
  """The benchmark's modules are beside its command, not in a package."""
  monkeypatch.syspath_prepend(str(FOLDER))
  import gate

  return gate


def test_judgement_by_hand(gate):
  lines, passed = gate.judge({"a": PASSING, "b": {**PASSING, "tfidf_lr": 76.0}})
  assert passed
  assert (
    lines[2] == "| a | 50.0 | 70.0 | 55.0 | 75.0 | 80.0 | yes | yes | yes |"
  )
  assert lines[3].endswith("| yes | yes | no |")


@pytest.mark.parametrize(
  "change",
  [{"majority": 65.1}, {"finetune": 80.1}, {"tfidf_lr": 75.1}],
)
def test_each_condition_can_fail(gate, change):
  assert not gate.judge({"a": {**PASSING, **change}})[1]


def load(split):
  count = {"train": 40, "validation": 10, "test": 10}[split]
  words = {"good": "fine film", "bad": "dull film"}
  return [
    {"text": f"{words[label]} {split} {i}", "label": label}
    for i in range(count)
    for label in words
  ]


def test_methods_are_run_once_and_kept(gate, tmp_path):
  splits = {split: load(split) for split in ("train", "validation", "test")}
  tasks.register_classification_task(
    "gate_films", lambda: splits, template="{text}", label_names=("bad", "good")
  )
  config = T5Config(
    vocab_size=8000,
    emb_dim=16,
    num_heads=1,
    head_dim=16,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  model = Model(config, trainable="everything")
  params = model.init_variables(jax.random.key(0))["params"]
  vocabulary = vocabularies.default_vocabulary_path()
  backbone.save_backbone(tmp_path / "t5", config, params, vocabulary)
  settings = gate.GateConfig(
    backbone=str(tmp_path / "t5"), prompt_length=2, steps=4, batch_size=4
  )
  values = gate.Gate(tmp_path / "gate", settings).run("gate_films")
  assert list(values) == list(gate.METHODS)
  assert values["majority"] == 50.0 and values["tfidf_lr"] == 100.0
  assert all(0.0 <= value <= 100.0 for value in values.values())
  before = (tmp_path / "gate" / "results.json").read_text()
  assert len(json.loads(before)) == 5
  again = gate.Gate(tmp_path / "gate", settings)
  again.backbone = None  # Nothing is run a second time.
  assert again.run("gate_films") == values
