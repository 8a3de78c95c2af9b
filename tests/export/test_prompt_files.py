"""Files of prompts for other programs: round trips, groups, what is refused.

test_peft.py compares them with PEFT itself.
"""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from prompt_fixtures import D, P, make_bank
from safetensors.numpy import load_file, save_file

from mpt_jax.backbones import backbone
from mpt_jax.cli import main as cli
from mpt_jax.export import peft, prompt_files
from mpt_jax.model.objective import Model
from mpt_jax.prompts.bank import FORMAT, load_bank, select


@pytest.fixture(scope="module")
def base(make_config, make_params, tmp_path_factory):
  """Folder of a tiny random T5 of the prompts' width."""
  config = make_config(emb_dim=D)
  folder = tmp_path_factory.mktemp("base") / "t5"
  params = make_params(Model(config, trainable="everything"))
  backbone.save_backbone(folder, config, params)
  return folder


def check_same_bank(a, b):
  assert a.fields == b.fields
  assert set(a.params) == set(b.params)
  for name, array in a.params.items():
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, b.params[name])


ROUND_TRIPS = [
  (rank, groups)
  for rank in (0, 1, 3)
  for groups in ((0, 0, 0), (0, 1, 0), (0, 1, 2))
  if rank or groups == (0, 1, 2)
]


@pytest.mark.parametrize("rank, groups", ROUND_TRIPS)
@pytest.mark.parametrize("how", ["peft", "npz", "safetensors"])
def test_round_trips_are_bit_exact(rank, groups, how, tmp_path):
  bank = make_bank(None, rank, groups)
  out = tmp_path / "out"
  lines = prompt_files.export_prompts(bank, how, out)
  if how == "safetensors":
    again = load_bank(out)
  else:
    again = prompt_files.import_prompts([out], how)
  check_same_bank(again, bank)
  assert [p.name for p in tmp_path.iterdir()] == ["out"]
  # An adapter holds one P*, so a line reports several folders.
  folders = [p for p in out.iterdir() if p.is_dir()] if out.is_dir() else []
  assert len(folders) == (how == "peft" and max(groups) and max(groups) + 1)
  assert any("--merge" in line for line in lines) == bool(folders and rank)


def test_files_are_as_readable_as_any(tmp_path):
  bank = make_bank(None, 2, (0, 0, 0))
  bank.save(tmp_path / "prompts.safetensors")
  prompt_files.export_prompts(bank, "peft", tmp_path / "out")
  (tmp_path / "any").write_bytes(b"")
  mode = (tmp_path / "any").stat().st_mode
  files = [p for p in tmp_path.rglob("*") if p.is_file()]
  assert len(files) > 2 and {p.stat().st_mode for p in files} == {mode}


def test_names_that_are_no_folder_names(tmp_path):
  bank = make_bank(None, 0, (0, 1, 2), ("a/b", "a_b", "../a_b_1"))
  out = tmp_path / "out"
  prompt_files.export_prompts(bank, "peft", out)
  assert [p.name for p in tmp_path.iterdir()] == ["out"]
  assert len([p for p in out.iterdir() if p.is_dir()]) == 3
  check_same_bank(prompt_files.import_prompts([out], "peft"), bank)


def test_numpy_prompts(tmp_path, base):
  # google-research/prompt-tuning saves [length, width] with numpy.save, also
  # in bfloat16, which NumPy writes as two raw bytes.
  rng = np.random.default_rng(0)
  prompts = rng.normal(0.0, 1.0, (2, P, D)).astype(np.float32)
  np.save(tmp_path / "mrpc.npy", prompts[0])
  np.save(tmp_path / "rte.npy", prompts[1].astype(ml_dtypes.bfloat16))
  bank = prompt_files.import_prompts(
    [tmp_path / "mrpc.npy", tmp_path / "rte.npy"], "npy", backbone=base
  )
  assert bank.names == ("mrpc", "rte") and bank.groups == (0, 1)
  rounded = prompts[1].astype(ml_dtypes.bfloat16).astype(np.float32)
  np.testing.assert_array_equal(bank.composed, [prompts[0], rounded])


def test_npz_of_another_program(tmp_path):
  full = make_bank(None, 2)
  shared, columns, rows = (
    full.params[name] for name in ("shared_prompt", "task_columns", "task_rows")
  )
  path = tmp_path / "theirs.npz"
  np.savez(path, shared_prompt=shared[0], task_columns=columns, task_rows=rows)
  with pytest.raises(ValueError, match="theirs.npz does not say.*--backbone"):
    prompt_files.import_prompts([path], "npz")
  np.savez(path, shared_prompt=shared[0], task_columns=columns)
  with pytest.raises(ValueError, match="shared_prompt, task_columns"):
    prompt_files.import_prompts([path], "npz")


# ----------------------------------------------------------------- errors


def run(*argv):
  return cli.main([str(a) for a in argv])


def fails(capsys, message, *argv):
  assert run(*argv) == 2
  line = capsys.readouterr().err.strip()
  assert line.startswith("error: ") and "\n" not in line
  assert message in line, line


def test_commands(capsys, tmp_path, base):
  path, out = tmp_path / "bank.safetensors", tmp_path / "adapter"
  bank = make_bank(base, 1)
  bank.save(path)
  export = ("export", path, "--to", "peft", "--out", out)
  assert run(*export, "--task", "c", "a", "--base-model", "org/t5") == 0
  assert "task_ids 0 c, 1 a" in capsys.readouterr().out
  config = json.loads((out / peft.CONFIG).read_text())
  assert config["base_model_name_or_path"] == "org/t5"
  before = (out / peft.TENSORS).read_bytes()
  fails(capsys, f"the folder {out} is not empty", *export)
  assert (out / peft.TENSORS).read_bytes() == before

  back = tmp_path / "back.safetensors"
  command = ("import", out, "--from", "peft", "--out", back)
  assert run(*command, "--backbone", base) == 0
  assert "back.safetensors: 2 prompts: c, a" in capsys.readouterr().out
  check_same_bank(load_bank(back), select(bank, ["c", "a"]))
  fails(capsys, "back.safetensors exists", *command)

  merged = tmp_path / "merged"
  export = ("export", path, "--to", "peft", "--out", merged, "--merge")
  assert run(*export, "--task", "b") == 0
  assert "PROMPT_TUNING, b" in capsys.readouterr().out
  assert peft.is_adapter(merged)


def test_wrong_t5(capsys, tmp_path, base):
  bank = make_bank(None, 1)
  bank.save(tmp_path / "bank.safetensors")
  out = tmp_path / "out"
  export = ("export", tmp_path / "bank.safetensors", "--to", "peft", "--out")
  fails(capsys, "trained on another T5", *export, out, "--backbone", base)
  assert not out.exists()
  assert run(*export, out) == 0
  back = ("import", out, "--from", "peft", "--out", tmp_path / "back")
  fails(capsys, "trained on another T5", *back, "--backbone", base)
  np.save(tmp_path / "narrow.npy", np.zeros((P, D - 1), np.float32))
  command = ("import", tmp_path / "narrow.npy", "--from", "npy", "--out")
  fails(capsys, f"emb_dim={D}", *command, tmp_path / "x", "--backbone", base)


def _change(folder, tensors=None, **fields):
  """Changes an adapter's config, or replaces tensors (None removes one)."""
  path = folder / peft.CONFIG
  path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
  if tensors:
    path = folder / peft.TENSORS
    kept = {**load_file(path), **tensors}
    save_file({k: v for k, v in kept.items() if v is not None}, path)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(peft_type="LORA"), "a PEFT adapter of 'LORA'"),
    (dict(peft_type=["PROMPT_TUNING"]), "a PEFT adapter of"),
    (dict(task_type="CAUSAL_LM"), "task_type must be SEQ_2_SEQ_LM.*CAUSAL_LM"),
    (dict(task_type="SEQ_CLS"), "task_type must be SEQ_2_SEQ_LM"),
    (
      dict(auto_mapping={"base_model_class": "GPT2LMHeadModel"}),
      "auto_mapping must name a T5.*GPT2LMHeadModel",
    ),
    (dict(modules_to_save=["lm_head"]), "modules_to_save=.*lm_head"),
    (dict(num_transformer_submodules=2), "num_transformer_submodules=2 times"),
    (dict(num_transformer_submodules="1"), "num_transformer_submodules='1'"),
    (dict(token_dim=99), "width 24, but .*token_dim=99"),
    (dict(num_virtual_tokens=True), "num_virtual_tokens=True"),
    (dict(num_virtual_tokens=10**9), "num_virtual_tokens=1000000000"),
    (dict(num_tasks=4), r"task_cols.*\(3, 5, 2\).*num_tasks=4"),
    (dict(num_ranks=1), r"task_cols.*num_ranks=1"),
    (dict(num_virtual_tokens=4), "5 rows.*num_virtual_tokens=4"),
    (dict(num_virtual_tokens=None), "num_virtual_tokens=None"),
    (dict(tensors={"prefix_task_rows": None}), "must be.*prefix_task_rows"),
    (dict(tensors={"x": np.zeros(2, np.float32)}), "prompt_embeddings, x"),
    (dict(tensors={"prefix_task_cols": np.zeros((3, 5, 2), int)}), "int64"),
    (
      dict(
        tensors={
          "prefix_task_cols": np.zeros((2, 5, 2), np.float32),
          "prefix_task_rows": np.zeros((2, 2, D), np.float32),
        },
        num_tasks=2,
      ),
      "names 3 prompts, but the adapter has 2",
    ),
  ],
)
def test_adapters_that_do_not_fit(changes, message, tmp_path):
  prompt_files.export_prompts(make_bank(None, 2), "peft", tmp_path / "x")
  _change(tmp_path / "x", **changes)
  with pytest.raises(ValueError, match=message):
    prompt_files.import_prompts([tmp_path / "x"], "peft")


def test_fields_of_an_adapter_that_nobody_knows_are_named(tmp_path):
  prompt_files.export_prompts(make_bank(None, 2), "peft", tmp_path / "x")
  _change(tmp_path / "x", prompt_scale=2.0)
  with pytest.warns(UserWarning, match="unknown fields ignored: prompt_scale"):
    prompt_files.import_prompts([tmp_path / "x"], "peft")


def test_missing_files(tmp_path):
  for how in ("peft", "npz", "npy"):
    with pytest.raises(FileNotFoundError, match="nowhere"):
      prompt_files.import_prompts([tmp_path / "nowhere"], how)
  with pytest.raises(FileNotFoundError, match="no adapter_config.json"):
    prompt_files.import_prompts([tmp_path], "peft")
  for how in ("npz", "npy"):
    (tmp_path / "x").write_bytes(b"not an array")
    with pytest.raises(ValueError, match=f"cannot be read as a .{how} file"):
      prompt_files.import_prompts([tmp_path / "x"], how)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_prompts_that_are_no_numbers(value, base, tmp_path):
  prompt = np.zeros((P, D))
  prompt[1, 2] = value
  np.save(tmp_path / "x.npy", prompt)
  with pytest.raises(ValueError, match=r"x.npy: shared_prompt\[0, 1, 2\] is"):
    prompt_files.import_prompts([tmp_path / "x.npy"], "npy", backbone=base)


def test_damaged_descriptions(tmp_path):
  bank = make_bank(None, 1, (0,), ("a",))
  prompt_files.export_prompts(bank, "peft", tmp_path / "peft")
  (tmp_path / "peft" / prompt_files.NOTES).write_text("{}")
  with pytest.raises(
    ValueError, match="mpt_jax.json does not.*no names, groups"
  ):
    prompt_files.import_prompts([tmp_path / "peft"], "peft")
  (tmp_path / "peft" / peft.CONFIG).write_text("[]")
  with pytest.raises(ValueError, match="adapter_config.json must hold a JSON"):
    prompt_files.import_prompts([tmp_path / "peft"], "peft")
  for text, message in (
    ("{}", "does not describe prompts: no names"),
    ("[]", "does not describe prompts: expected a JSON object"),
    ("{", "is not JSON"),
  ):
    arrays = {"shared_prompt": np.zeros((1, P, D), np.float32)}
    np.savez(tmp_path / "x.npz", **arrays, **{FORMAT: np.array(text)})
    with pytest.raises(ValueError, match=message):
      prompt_files.import_prompts([tmp_path / "x.npz"], "npz")
    path = tmp_path / "x.safetensors"
    save_file(arrays, path, {FORMAT: text})
    with pytest.raises(ValueError, match=message):
      load_bank(path)
  save_file(
    {"x": np.zeros(1, np.float32)}, path, {FORMAT: json.dumps(bank.fields)}
  )
  with pytest.raises(ValueError, match="has the arrays x; .* shared_prompt"):
    load_bank(path)
  np.savez(tmp_path / "none.npz", shared_prompt=np.zeros((0, P, D), np.float32))
  with pytest.raises(ValueError, match="none.npz holds no prompt"):
    prompt_files.import_prompts([tmp_path / "none.npz"], "npz")


def test_several_sources(tmp_path):
  one = make_bank(None, 1, (0,), ("a",))
  two = make_bank(None, 1, (0, 0), ("b", "c"))
  for bank, name in ((one, "one"), (two, "two")):
    prompt_files.export_prompts(bank, "peft", tmp_path / name)
  both = prompt_files.import_prompts(
    [tmp_path / "one", tmp_path / "two"], "peft"
  )
  assert both.names == ("a", "b", "c") and both.groups == (0, 1, 1)
  np.testing.assert_array_equal(
    both.composed, np.concatenate([one.composed, two.composed])
  )
  with pytest.raises(ValueError, match="called a.*--task"):
    prompt_files.import_prompts([tmp_path / "one"] * 2, "peft")
  # Files of one name in the folders of several runs.
  renamed = prompt_files.import_prompts(
    [tmp_path / "one", tmp_path / "two", tmp_path / "one"],
    "peft",
    names=("x", "y", "z", "a"),
  )
  assert renamed.names == ("x", "y", "z", "a")
  assert [slot["task"] for slot in renamed.slots] == list(renamed.names)
  with pytest.raises(ValueError, match="must give 2 different names"):
    prompt_files.import_prompts([tmp_path / "one"] * 2, "peft", names=("x",))
  prompt_files.export_prompts(
    make_bank(None, 2, (0,), ("d",)), "peft", tmp_path / "three"
  )
  with pytest.raises(ValueError, match="one length, width and rank"):
    prompt_files.import_prompts([tmp_path / "one", tmp_path / "three"], "peft")


def test_nothing_heavy_is_imported():
  code = (
    "import sys; import mpt_jax.export.prompt_files;"
    " print([m for m in ('tensorflow', 'seqio', 'torch', 'peft') if m in"
    " sys.modules])"
  )
  result = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
  "changes, message",
  [
    # JAX would take the second row for the third task.
    ({"task_rows": (2, 2, D)}, r"task_rows': \(3, 2, 24\)}, got"),
    ({"task_columns": (3, P, 1)}, "the arrays do not fit each other"),
    ({"shared_prompt": (P, D)}, "shared_prompt must have the axes"),
    ({"task_rows": None}, "no kind of prompt has the arrays"),
  ],
)
def test_arrays_that_do_not_fit(changes, message, tmp_path):
  bank = make_bank(None, 2)
  params = dict(bank.params)
  for name, shape in changes.items():
    del params[name]
    if shape is not None:
      params[name] = np.zeros(shape, np.float32)
  path = tmp_path / "x.safetensors"
  save_file(params, path, {FORMAT: json.dumps(bank.fields)})
  with pytest.raises(ValueError, match=f"x.safetensors .*{message}"):
    load_bank(path)


def test_names_that_are_fewer_than_the_prompts(tmp_path):
  bank = make_bank(None, 2)
  path = tmp_path / "x.safetensors"
  fields = {**bank.fields, "names": ["a", "b"]}
  save_file(bank.params, path, {FORMAT: json.dumps(fields)})
  with pytest.raises(ValueError, match="2 names and 3 slots for 3 prompts"):
    load_bank(path)


def test_damaged_notes_of_an_adapter_are_refused(tmp_path):
  bank = make_bank(None, 1)
  prompt_files.export_prompts(bank, "peft", tmp_path / "adapter")
  path = tmp_path / "adapter" / prompt_files.NOTES
  path.write_text(path.read_text().replace("yes", "yet", 1))
  with pytest.raises(ValueError, match="mpt_jax.json is damaged"):
    prompt_files.import_prompts([tmp_path / "adapter"], "peft")


def test_an_adapter_that_is_not_the_exported_one(tmp_path):
  """PEFT's files have no digest, so the notes beside them have it."""
  bank = make_bank(None, 1)
  prompt_files.export_prompts(bank, "peft", tmp_path / "adapter")
  found = prompt_files.import_prompts([tmp_path / "adapter"], "peft")
  assert found.fields == bank.fields
  path = tmp_path / "adapter" / "adapter_model.safetensors"
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  with pytest.raises(ValueError, match="is not the file that was exported"):
    prompt_files.import_prompts([tmp_path / "adapter"], "peft")
  # Trained on by PEFT, which writes no notes.
  (tmp_path / "adapter" / prompt_files.NOTES).unlink()
  with pytest.raises(ValueError, match="give --backbone"):
    prompt_files.import_prompts([tmp_path / "adapter"], "peft")


def test_adapters_below_another_are_named(tmp_path):
  """PEFT writes its adapter "default" here, and others into folders."""
  bank = make_bank(None, 1)
  for folder in ("adapter", "adapter/other"):
    prompt_files.export_prompts(bank, "peft", tmp_path / folder)
  with pytest.warns(UserWarning, match=r"has other adapters in it \(other\)"):
    prompt_files.import_prompts([tmp_path / "adapter"], "peft")
