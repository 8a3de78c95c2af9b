"""The script that makes the table of docs/tpu.md."""

import importlib.util
import json
import pathlib

from mpt_jax.cli import main as cli
from mpt_jax.launchers import gin_config

PATH = pathlib.Path(__file__).parents[1] / "benchmarks" / "tpu_table.py"


def load():
  spec = importlib.util.spec_from_file_location("tpu_table", PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_every_cell_is_a_call_of_mpt_compile():
  table = load()
  names = set()
  for name, *cell in table.cells():
    names.add(name)
    _, m, program, *words = table.command(*cell, "cell.json")
    assert (m, program) == ("-m", "mpt_jax")
    arguments, rest = cli.make_parser().parse_known_args(words)
    files, bindings, _, _ = gin_config.parse_args(rest)
    assert (PATH.parents[1] / files[0]).is_file() and len(bindings) == 3
    assert arguments.command == "compile" and arguments.json == "cell.json"
  # Four stages, four T5s, five slices.
  assert len(names) == 4 * 4 * 5


def test_the_fewest_devices_for_a_copy():
  table = load()
  # XXL has 20.7 GiB of weights in bfloat16, and shall take half of the memory:
  # 64 GiB are four v5e and two v4, and one v5p has 95.
  assert table.partitions("t5_1_1_xxl", "v5e", 16) == 4
  assert table.partitions("t5_1_1_xxl", "v4", 4) == 2
  assert table.partitions("t5_1_1_xxl", "v5p", 4) == 1
  assert table.partitions("t5_base", "v5e", 4) == 1


def test_the_table_has_what_was_compiled(tmp_path, capsys):
  table = load()
  values = {
    "num_model_partitions": 1,
    "arguments_bytes": 2**30,
    "temporary_bytes": 2**31,
    "estimate_seconds": 0.0459,
    "bound_by": "memory",
    "fits": True,
    "tried": [],
  }
  path = tmp_path / "distill" / "t5_base" / "v5e-4.json"
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps(values))
  split = {
    **values,
    "num_model_partitions": 4,
    "fits": False,
    "tried": [{"changes": ["--gin.BATCH_SIZE=16"], "fits": True}],
  }
  path.with_name("v5e-16.json").write_text(json.dumps(split))
  assert table.main(["--out", str(tmp_path), "--table"]) == 0
  *_, first, second = capsys.readouterr().out.splitlines()
  assert first == (
    "| distill | t5_base | v5e-4 | as it is | 1.00 GiB | 2.00 GiB | ≥ 45.9 ms"
    " | memory | yes |"
  )
  assert "| `--gin.BATCH_SIZE=16` |" in second and second.endswith("| no |")
