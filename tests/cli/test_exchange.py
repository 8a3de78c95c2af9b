"""convert, export and import: what goes with what, and what is written."""

import numpy as np
import pytest
from commands import fails, run
from prompt_fixtures import make_bank

from mpt_jax.backbones import backbone as backbones
from mpt_jax.prompts.bank import load_bank


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    ("export x --to npz --out y --base-model m", "--base-model goes with"),
    ("export x --to npz --out y --add", "--add goes with --to stablehlo"),
    (
      "export x --to npz --out y --targets-length 9",
      "--targets-length goes with --to stablehlo",
    ),
    (
      "export x --to peft --out y --inputs-length 4 5",
      "--inputs-length goes with --to stablehlo",
    ),
    (
      "export x --to safetensors --out y --platforms cpu",
      "--platforms goes with --to stablehlo",
    ),
    (
      "export x --to npz --out y --dtype bfloat16",
      "--dtype goes with --to stablehlo",
    ),
    ("export x --to onnx --out y", "invalid choice: 'onnx'"),
    ("export x --to npz", "--out"),
    ("export nowhere --to npz --out y", "no prompt file at nowhere"),
    (
      "import x --from npy --out y --encoder-half",
      "--encoder-half goes with --from peft",
    ),
    ("import x --from npy --out .", ". is a folder"),
    ("import nowhere.npy --from npy --out y", "nowhere.npy"),
    ("convert nowhere --out y", "nowhere"),
    (
      "convert default --to huggingface --out y --vocabulary bytes",
      "--vocabulary goes with --to mpt only",
    ),
  ],
)
def test_arguments_that_do_not_go_together(
  capsys, tmp_path, monkeypatch, argv, message
):
  monkeypatch.chdir(tmp_path)
  fails(capsys, message, *argv.split())
  assert list(tmp_path.iterdir()) == []


def test_chosen_prompts_in_their_order(capsys, tmp_path, prompts):
  out, back = tmp_path / "x.npz", tmp_path / "back.safetensors"
  export = ("export", prompts, "--to", "npz", "--out", out)
  assert run(*export, "--task", "cli_b", "--task", "cli_a") == 0
  assert str(out) in capsys.readouterr().out
  assert run("import", out, "--from", "npz", "--out", back) == 0
  assert capsys.readouterr().out == f"{back}: 2 prompts: cli_b, cli_a\n"
  found, bank = load_bank(back), load_bank(prompts)
  np.testing.assert_array_equal(found.composed, bank.composed[::-1])
  fails(capsys, "x.npz exists", *export)
  fails(capsys, "has no prompt 'cli_c'", *export[:-1], "y", "--task", "cli_c")


def test_merged_prompts_are_plain(tmp_path):
  bank = make_bank(None, rank=2)
  path, out = tmp_path / "bank.safetensors", tmp_path / "plain.safetensors"
  bank.save(path)
  command = ("export", path, "--to", "safetensors", "--out", out, "--merge")
  assert run(*command) == 0
  found = load_bank(out)
  assert found.config.is_plain and found.names == bank.names
  np.testing.assert_array_equal(found.composed, bank.composed)


def test_several_files_get_their_names(capsys, tmp_path, backbone):
  arrays = np.random.default_rng(0).normal(size=(2, 3, 32)).astype("f4")
  paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
  for path, array in zip(paths, arrays, strict=True):
    np.save(path, array)
  out = tmp_path / "both.safetensors"
  command = ("import", *paths, "--from", "npy", "--out", out)
  assert run(*command, "--task", "x", "y", "--backbone", backbone) == 0
  assert capsys.readouterr().out == f"{out}: 2 prompts: x, y\n"
  found = load_bank(out)
  np.testing.assert_array_equal(found.composed, arrays)
  assert found.backbone == backbones.load_backbone(backbone).fingerprint


def test_a_t5_is_converted(capsys, tmp_path, backbone):
  out = tmp_path / "t5"
  assert run("convert", backbone, "--out", out, "--dtype", "bfloat16") == 0
  assert str(out) in capsys.readouterr().out
  found, original = map(backbones.load_backbone, (out, backbone))
  embedding = found.params["token_embedder"]["embedding"]
  expected = original.params["token_embedder"]["embedding"]
  # bfloat16 keeps 8 bits.
  np.testing.assert_allclose(embedding, expected, rtol=2**-8)
  assert not np.array_equal(embedding, expected)
  fails(capsys, f"the folder {out} is not empty", "convert", out, "--out", out)
