"""`mpt verify`, and one flipped bit in any file that we write."""

import dataclasses
import io
import json
import shutil

import numpy as np
import prompt_fixtures
import pytest
import rich.console
from commands import fails, run
from train_fixtures import (
  register_tiny_task,
  save_tiny_backbone,
  tiny_experiment,
)

from mpt_jax.backbones.backbone import load_backbone
from mpt_jax.cli.printing import verify
from mpt_jax.export import prompt_files, stablehlo, stablehlo_serve
from mpt_jax.io import digests, provenance
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.slots import Slot
from mpt_jax.t5x import sums
from mpt_jax.text.vocabularies import vocabulary_size
from mpt_jax.training import checkpoint_files
from mpt_jax.training.loop import train


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A folder with a T5, a run, its prompts as a file, and an export."""
  folder = tmp_path_factory.mktemp("written")
  save_tiny_backbone(folder / "t5")
  task = register_tiny_task(folder / "data")
  experiment = tiny_experiment(
    (Slot(task=task),), str(folder / "t5"), total_steps=4, rank=1
  )
  trained = train(
    experiment, model_dir=folder / "run", checkpoint_period=2, log_period=1
  )
  trained.last.save(folder / "prompts.safetensors")
  stablehlo.export_stablehlo(
    trained.last,
    folder / "export",
    folder / "t5",
    inputs_lengths=[8],
    targets_length=2,
    platforms=("cpu",),
  )
  return folder


@pytest.fixture
def copy(written, tmp_path):
  for name in ("t5", "run", "export"):
    shutil.copytree(written / name, tmp_path / name)
  shutil.copy(written / "prompts.safetensors", tmp_path)
  return tmp_path


def printed(path, width=60):
  """(whether all is well, the lines), on a narrow terminal."""
  console = rich.console.Console(file=io.StringIO(), width=width)
  good = verify.verify(path, console)
  lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
  assert all(len(line) <= width for line in lines)
  return good, lines


def states(path):
  return {item.name: item.state for item in verify.find_items(path)}


def test_what_was_just_written_is_whole(written):
  assert states(written / "run") == dict.fromkeys(
    (
      "experiment.json",
      "checkpoints/4",
      "checkpoints/2",
      "prompts/best.safetensors",
      "prompts/last.safetensors",
      "metrics.jsonl",
      "about.json",
    ),
    "ok",
  )
  assert states(written / "t5") == dict.fromkeys(
    ("config", "tensors", "vocabulary"), "ok"
  )
  assert states(written / "prompts.safetensors") == {
    "prompts.safetensors": "ok"
  }
  found = states(written / "export")
  assert set(found.values()) == {"ok"}
  assert {"manifest.json", "weights.safetensors", "serve.py"} < found.keys()
  good, lines = printed(written / "run")
  assert good and "ok  checkpoints/4" in lines
  assert run("verify", written / "run") == 0


def test_a_folder_of_runs_is_checked_as_a_sweep_has_them(copy):
  (copy / "sweep" / "glue").mkdir(parents=True)
  (copy / "run").rename(copy / "sweep" / "glue" / "mpt")
  found = states(copy / "sweep")
  assert found["glue/mpt/checkpoints/4"] == "ok"
  assert len(found) == 7


def test_checkpoints_of_t5x_are_compared_too(tmp_path):
  (tmp_path / "experiment.json").write_text(json.dumps(digests.seal({})))
  for step in (0, 10, 20):
    (tmp_path / f"checkpoint_{step}").mkdir()
    (tmp_path / f"checkpoint_{step}" / "arrays").write_bytes(b"arrays")
  assert states(tmp_path)["checkpoint_20"] == "no digest"
  sums.write(tmp_path)
  assert set(states(tmp_path).values()) == {"ok"}
  flip(tmp_path / "checkpoint_10" / "arrays", 0, 0)
  (tmp_path / "checkpoint_20" / "SHA256SUMS").unlink()
  assert states(tmp_path) == {
    "experiment.json": "ok",
    "checkpoint_20": "damaged",
    "checkpoint_10": "damaged",
    "checkpoint_0": "ok",
  }


def test_damage_is_named_with_what_to_do(copy):
  flip(copy / "run" / "prompts" / "best.safetensors", -3, 0)
  path = largest(copy / "run" / "checkpoints" / "4" / "state")
  flip(path, 100, 0)
  good, lines = printed(copy / "run")
  text = " ".join(" ".join(lines).split())
  assert not good
  assert "damaged checkpoints/4: the SHA-256 of state/" in text
  assert "resumes from an older checkpoint" in text
  assert "damaged prompts/best.safetensors" in text
  assert lines[-1].endswith("5 ok, 2 damaged")
  assert run("verify", copy / "run") == 1


def test_what_has_no_digest_is_said(copy):
  path = copy / "run" / "experiment.json"
  fields = json.loads(path.read_text())
  del fields["digest"]
  path.write_text(json.dumps(fields))
  for step in ("2", "4"):
    shutil.rmtree(copy / "run" / "checkpoints" / step / "digests")
    metadata = copy / "run" / "checkpoints" / step / "_CHECKPOINT_METADATA"
    metadata.unlink()
  good, lines = printed(copy / "run")
  assert good
  assert "no digest  experiment.json" in lines
  assert "no digest  checkpoints/4" in lines


def test_other_programs_files(copy, tmp_path):
  bank = load_bank(copy / "prompts.safetensors")
  for how, name, state in (
    ("npz", "prompts.npz", "ok"),
    ("peft", "adapter", "ok"),
  ):
    prompt_files.export_prompts(bank, how, tmp_path / name)
    assert states(tmp_path / name) == {name: state}
  flip(tmp_path / "prompts.npz", 300, 1)
  assert states(tmp_path / "prompts.npz") == {"prompts.npz": "damaged"}
  flip(tmp_path / "adapter" / "adapter_model.safetensors", -1, 0)
  assert states(tmp_path / "adapter") == {"adapter": "damaged"}
  (tmp_path / "adapter" / "mpt_jax.json").unlink()
  assert states(tmp_path / "adapter") == {"adapter": "no digest"}
  (tmp_path / "several").mkdir()
  (tmp_path / "adapter").rename(tmp_path / "several" / "a")
  assert states(tmp_path / "several") == {"a": "no digest"}


def test_prompts_of_another_t5_are_found_in_a_run(copy):
  other = prompt_fixtures.make_bank(None, 1)
  other.save(copy / "run" / "prompts" / "best.safetensors")
  assert states(copy / "run")["prompts/best.safetensors"] == "damaged"


def test_prompts_of_another_run_are_in_none_of_its_checkpoints(copy):
  path = copy / "run" / "prompts" / "last.safetensors"
  bank = load_bank(path)
  params = {name: array + 1 for name, array in bank.params.items()}
  dataclasses.replace(bank, params=params).save(path)
  assert states(copy / "run")["prompts/last.safetensors"] == "damaged"
  assert states(copy / "run")["prompts/best.safetensors"] == "ok"
  # Nothing to compare them with.
  shutil.rmtree(copy / "run" / "checkpoints")
  assert states(copy / "run")["prompts/last.safetensors"] == "ok"


@pytest.mark.parametrize(
  "name",
  [
    *("experiment.json", "metrics.jsonl"),
    *("prompts/best.safetensors", "prompts/last.safetensors"),
  ],
)
def test_a_run_that_was_copied_in_part(copy, name):
  (copy / "run" / name).unlink()
  assert states(copy / "run")[name] == "damaged"


def test_lines_that_are_missing(copy):
  path = copy / "run" / "metrics.jsonl"
  lines = path.read_text().splitlines(keepends=True)
  path.write_text("".join(lines[:2]))
  (item,) = (i for i in verify.find_items(copy / "run") if i.name == path.name)
  assert item.note.startswith("it ends at step 2, but there was an evaluation")


def test_what_is_no_checkpoint(copy):
  folder = copy / "run" / "checkpoints"
  (folder / "4").rename(folder / "4.bak")
  (folder / "4").symlink_to(copy / "nowhere")
  shutil.copytree(folder / "2", folder / "6")
  found = states(copy / "run")
  assert found["checkpoints/4.bak"] == "ok"
  assert found["checkpoints/4"] == found["checkpoints/6"] == "damaged"


def test_nothing_to_check(tmp_path, capsys):
  fails(capsys, "there is nothing at", "verify", tmp_path / "nowhere")
  (tmp_path / "empty").mkdir()
  fails(capsys, "is none of these", "verify", tmp_path / "empty")


# ------------------------------------------------------------------- flips


def largest(folder):
  files = [p for p in folder.rglob("*") if p.is_file()]
  return max(files, key=lambda p: p.stat().st_size)


def flip(path, position, bit):
  data = bytearray(path.read_bytes())
  data[position] ^= 1 << bit
  path.write_bytes(data)


# Nothing reads these files of a run.
UNUSED = ("_CHECKPOINT_METADATA", "commit_success.txt", "config.gin")


# What `stablehlo_serve` reads.
MANIFEST = (
  "inputs_lengths",
  "targets_length",
  "labels_length",
  "vocab_size",
  "vocabulary",
  "prompt_length",
  "emb_dim",
  "sha256",
)
TASK = ("template", "label_names", "label_tokens")


def read_prompts(path):
  bank = load_bank(path)
  return bank.fields, {k: v.tobytes() for k, v in bank.params.items()}


def read(folder, path):
  """What those who use a file get from it; errors are raised."""
  top = path.relative_to(folder).parts[0]
  if top == "t5":
    loaded = load_backbone(folder / "t5")
    size = vocabulary_size(loaded.vocabulary_path)
    return loaded.config, loaded.fingerprint, size
  if top == "export":
    server = stablehlo_serve.Server(folder / "export")
    task = server.task(server.names()[0])
    # A digest with a damaged name is one more field, which nothing reads.
    used = {k: v for k, v in server.manifest.items() if k in MANIFEST}
    return used, *(task[k] for k in TASK), task["prompt"].tobytes()
  if path.suffix == ".safetensors":
    return read_prompts(path)
  if path.name == run_settings.FILE:
    return run_settings.read(folder / "run")
  if path.name == provenance.FILE:
    return provenance.read(path.parent)
  if path.name == "metrics.jsonl":
    lines = list(digests.read_lines(path))
    if None in (fields for _, fields in lines):
      raise ValueError(f"{path}: a line is left out")
    return lines
  step = path.relative_to(folder / "run" / "checkpoints").parts[0]
  damage = checkpoint_files.find_damage(folder / "run" / "checkpoints" / step)
  if damage:
    raise ValueError(f"{path}: {damage}; resumed from another")
  return step


def test_no_flipped_bit_is_used_in_silence(copy):
  """300 bits over all files: refused by name, equal, or of no use."""
  files = sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size)
  files = [p for p in files if not p.name.startswith("events.out")]
  assert len(files) > 40
  expected = {
    path: read(copy, path) for path in files if path.name not in UNUSED
  }
  rng = np.random.default_rng(0)
  counts = {"refused": 0, "equal": 0, "unused": 0}
  for number in range(300):
    path = files[int(rng.integers(len(files)))]
    data = path.read_bytes()
    # Headers are at the beginning.
    size = min(len(data), 2000) if number % 2 else len(data)
    flip(path, int(rng.integers(size)), int(rng.integers(8)))
    if path.name in UNUSED:
      counts["unused"] += 1
    else:
      try:
        found = read(copy, path)
      except (ValueError, OSError) as error:
        assert str(copy) in str(error) or path.name in str(error)
        counts["refused"] += 1
      else:
        assert found == expected[path], path
        counts["equal"] += 1
    path.write_bytes(data)
  print(counts)
  assert counts["refused"] > 180 and counts["equal"] < 15
