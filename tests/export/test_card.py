"""README.md of an adapter: what it says, and that its code runs as we do."""

import dataclasses
import json
import re
import warnings

import pytest
from prompt_fixtures import make_bank

from mpt_jax.backbones import convert
from mpt_jax.cli import main as cli
from mpt_jax.export import card, prompt_files
from mpt_jax.inference.predictor import Predictor
from mpt_jax.io import digests
from mpt_jax.prompts.bank import PromptBank, load_bank

REASON = "PEFT's side needs PyTorch, transformers and peft (the test extra)"
TEXT = "the film was a long and happy surprise"


def seal(path, fields):
  path.write_text(json.dumps(digests.seal(fields)), encoding="utf-8")


@pytest.fixture
def run(tmp_path):
  """The folder of a fit with two prompts that share one, and their bank."""
  folder = tmp_path / "run"
  (folder / "prompts").mkdir(parents=True)
  bank = make_bank(None, 2, groups=(0, 0), names=("a", "b|c"))
  metrics = {"step": 1200, "accuracy": 0.75}
  slots = (bank.slots[0], {**bank.slots[1], "metrics": metrics})
  bank = dataclasses.replace(bank, slots=slots)
  bank.save(folder / "prompts" / "best.safetensors")
  settings = {
    "backbone": "models/t5",
    "seed": 3,
    "mix": {"seed": 7},
    "total_steps": 2000,
    "rows_sha256": {"a": "beef"},
  }
  seal(folder / "experiment.json", settings)
  start = {"version": "mpt_jax 9", "command": "mpt fit a.csv", "date": "today"}
  seal(folder / "about.json", {"starts": [{"version": "old"}, start]})
  own = {"score": 0.5, "interval": [0.25, None], "metric": "f1", "examples": 8}
  seal(folder / "scores.json", {"tasks": {"a": own}})
  return folder


def test_what_a_card_says(run, tmp_path):
  out = tmp_path / "adapter"
  argv = ["export", str(run), "--to", "peft", "--base-model", "owner/t5"]
  assert cli.main([*argv, "--out", str(out)]) == 0
  text = (out / card.FILE).read_text(encoding="utf-8")
  for line in (
    'base_model: "owner/t5"',
    "library_name: peft",
    "# adapter",
    "Multitask prompt tuning (Wang et al., ICLR 2023): one shared prompt, times"
    " a low-rank factor of each task. 5 rows of 24 numbers, rank 2.",
    "| 0 | a | a: {x} | yes, no |",
    "| 1 | b\\|c | b\\|c: {x} | yes, no |",
    "SHA-256 of the rows of a:",
    "`beef`",
    "| a | f1 | 0.5000 | 0.2500 to none | 8 |",
    "| b\\|c | validation accuracy | 0.7500 |  |  |",
    "- fingerprint of the T5: `0000000000000000`",
    "- T5: `models/t5`",
    "- kept step: b|c 1,200",
    "- steps: at most 2,000",
    "- seeds: run 3, order of the examples 7",
    "- version: `mpt_jax 9`",
    "- command: `mpt fit a.csv`",
  ):
    assert line in text.splitlines(), line
  assert 'from_pretrained("owner/t5")' in text.replace("'", '"')
  # A prompt file of the run says the same, and PEFT's folder reads back.
  facts = card.read_facts(run / "prompts" / "best.safetensors")
  assert facts == card.read_facts(run)
  back = prompt_files.import_prompts([out], "peft")
  assert back.names == ("a", "b|c")


def test_a_bank_without_a_run(tmp_path):
  bank = make_bank(None, 0, groups=(0,), names=("a",))
  prompt_files.export_prompts(bank, "peft", tmp_path / "x")
  text = (tmp_path / "x" / card.FILE).read_text(encoding="utf-8")
  assert "Prompt tuning (Lester et al., EMNLP 2021)" in text
  assert "## Scores" not in text and "seeds" not in text
  assert "mpt convert T5 --to huggingface --out t5" in text
  assert "task_ids" not in text.partition("## Use")[2]


@pytest.fixture(scope="module")
def default_t5(tmp_path_factory):
  """The default T5 as a folder of transformers."""
  out = tmp_path_factory.mktemp("default") / "t5"
  convert.convert_to_hugging_face("default", out)
  return out


@pytest.mark.parametrize(
  ("rank", "labels"), [(0, ["no", "yes, it is"]), (2, ["no", "yes"]), (2, None)]
)
def test_its_code_predicts_as_we_do(
  rank, labels, default_t5, tmp_path, monkeypatch, capsys
):
  for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=REASON)
  made = make_prompts(rank, labels)
  made.save(tmp_path / "prompts.safetensors")
  out = tmp_path / "adapter"
  argv = ["export", str(tmp_path / "prompts.safetensors"), "--to", "peft"]
  argv += ["--backbone", str(default_t5), "--out", str(out)]
  assert cli.main(argv) == 0
  text = (out / card.FILE).read_text(encoding="utf-8")
  (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  filled = code.replace("'a: {x}'", repr(f"a: {TEXT}"))
  assert filled != code
  monkeypatch.chdir(out)
  capsys.readouterr()
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Those of PEFT and transformers.
    exec(compile(filled, "README.md", "exec"), {})
  printed = capsys.readouterr().out.splitlines()
  predictor = Predictor(
    load_bank(tmp_path / "prompts.safetensors"), targets_length=64
  )
  (expected,) = predictor.predict([{"x": TEXT, "task": "a"}])
  if labels is None:
    assert printed == [expected["prediction"]]
    return
  found = dict(line.rsplit(" ", 1) for line in printed)
  assert list(found) == labels
  found = [float(value) for value in found.values()]
  assert found == pytest.approx(list(expected["scores"].values()), abs=1e-3)


def make_prompts(rank, labels) -> PromptBank:
  """A bank of random prompts for the default T5."""
  import numpy as np

  from mpt_jax.backbones.backbone import identify_backbone

  bank = make_bank(None, rank, groups=(0,), names=("a",))
  rng = np.random.default_rng(0)
  params = {
    name: rng.normal(0.0, 0.5, (*array.shape[:-1], 256)).astype("f4")
    if array.shape[-1] == 24
    else array
    for name, array in bank.params.items()
  }
  slot = {"task": "a", "label_names": labels, "template": "a: {x}"}
  _, fingerprint = identify_backbone("default")
  return dataclasses.replace(
    bank, params=params, backbone=fingerprint, slots=(slot,)
  )
