"""`mpt inspect`: the paper's counts, prompts, backbones."""

from commands import fails, run
from train_fixtures import save_tiny_backbone

from mpt_jax.backbones import backbone as backbones
from mpt_jax.prompts.config import PromptConfig


def test_inspect_counts_as_the_paper(capsys):
  assert run("inspect", "--config", "t5_base") == 0
  # (l·d) + (l + d) = 100·768 + 868 = 76,800 + 868.
  assert "77,668" in capsys.readouterr().out
  assert run("inspect", "--config", "t5_base", "--num-slots", "8") == 0
  out = capsys.readouterr().out
  # (l·d) + (l + d)·8 = 76,800 + 6,944, an eighth of which is 10,468.
  assert "83,744" in out and "10,468" in out
  # T5-base has 222,903,552 parameters (Hugging Face's count of t5-base);
  # 77,668 of them are 0.0348 %.
  assert "222,903,552" in out and "0.0348 %" in out
  # Merged, a task takes 4·76,800 = 307,200 bytes and eight take 2,457,600,
  # 614,400 parameters or 0.2756 % of the T5, against 4·83,744 = 334,976 bytes:
  # 7.34 times as many.
  for text in ("307,200 bytes = 4·100·768", "2,457,600 bytes, 7.34 times"):
    assert text in out
  assert "334,976" in out and "0.2756 % of the backbone" in out


def test_inspect_rank():
  from mpt_jax.cli.printing.inspect import counts

  rows = dict(
    counts(
      PromptConfig(num_slots=2, prompt_length=10, rank=3, groups=(0, 1)),
      None,
      16,
    )
  )
  # Two groups: 2·10·16 = 320; two tasks: 2·3·(10 + 16) = 156.
  assert rows["in all"] == "476 = 10·16·2 + (10+16)·3·2"
  assert rows["one task"] == "238 = 10·16 + (10+16)·3"
  assert rows["bytes in float32"] == "1,904"
  # Two plain prompts of 4·160 = 640 bytes are less here: 1,280 / 1,904 = 0.67.
  assert rows["merged, each"] == "640 bytes = 4·10·16"
  assert rows["merged, in all"].startswith("1,280 bytes, 0.67 times")


def test_inspect_prompts(capsys, prompts, backbone):
  assert run("inspect", prompts, "--backbone", backbone) == 0
  out = capsys.readouterr().out
  for text in ("cli_a", "cli_b", "2 × 2 × 32", "accuracy 0.5", "yes, no"):
    assert text in out
  # 2 prompts of 2·32 parameters.
  assert "128 = 2·32·2" in out


def test_inspect_backbone(capsys, backbone):
  assert run("inspect", backbone) == 0
  out = capsys.readouterr().out
  assert backbones.load_backbone(backbone).fingerprint in out
  assert "emb_dim" in out


def test_inspect_other_backbone(capsys, prompts, tmp_path):
  other = save_tiny_backbone(tmp_path / "other", seed=5)
  fails(capsys, "another T5", "inspect", prompts, "--backbone", other)
