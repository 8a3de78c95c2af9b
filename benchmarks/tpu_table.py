"""The table of docs/tpu.md: what fits a slice of TPUs, and how fast it may be.

Each cell is one call of `mpt compile`, whose JSON is kept in a folder, so the
script can be stopped and goes on where it was. A cell takes minutes of a core.

  python benchmarks/tpu_table.py --out build/tpu               # all the rest
  python benchmarks/tpu_table.py --out build/tpu --only distill/t5_base
  python benchmarks/tpu_table.py --out build/tpu --table       # print it
"""

import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys

from mpt_jax.backbones.shapes import num_backbone_parameters
from mpt_jax.compiling.chips import CHIPS
from mpt_jax.compiling.report import amount, seconds
from mpt_jax.model.config import T5Config

BACKBONES = ("t5_base", "t5_large", "t5_1_1_xl", "t5_1_1_xxl")
# Google Cloud's name, the chip, and the number of chips.
SLICES = (
  ("v4-8", "v4", 4),
  ("v5e-4", "v5e", 4),
  ("v5e-16", "v5e", 16),
  ("v5p-8", "v5p", 4),
  ("v6e-8", "v6e", 8),
)
STAGES = {
  "teach": ("gin/mpt_teacher.gin", "train"),
  "distill": ("gin/mpt_distill.gin", "train"),
  "adapt": ("gin/mpt_adapt.gin", "train"),
  "predict": ("gin/mpt_adapt.gin", "predict"),
}
# 412 tokens and a prompt of 100 are rows of 512 positions.
SETTINGS = (
  "--gin.DTYPE='bfloat16'",
  "--gin.BATCH_SIZE=32",
  '--gin.TASK_FEATURE_LENGTHS={"inputs": 412, "targets": 16}',
)


def partitions(backbone: str, chip: str, chips: int) -> int:
  """Returns the fewest devices whose memory is twice their part of the T5.

  The weights take two bytes each.
  """
  weights = 2 * num_backbone_parameters(T5Config.preset(backbone))
  number = 1
  while 2 * weights > number * CHIPS[chip].memory and number < chips:
    number *= 2
  return number


def cells():
  """Yields (name, backbone, slice, chip, chips)."""
  for stage in STAGES:
    for backbone in BACKBONES:
      for name, chip, chips in SLICES:
        yield f"{stage}/{backbone}/{name}", stage, backbone, name, chip, chips


def command(stage, backbone, name, chip, chips, path) -> list[str]:
  """Returns the call of `mpt compile` for a cell."""
  gin_file, part = STAGES[stage]
  return [
    *(sys.executable, "-m", "mpt_jax", "compile"),
    *(f"--gin_file={gin_file}", f"--topology={name}", f"--stage={part}"),
    f"--backbone={backbone}",
    f"--num-model-partitions={partitions(backbone, chip, chips)}",
    *SETTINGS,
    f"--json={path}",
  ]


def row(name, values) -> str:
  """Returns a line of the table."""
  stage, backbone, slice_name = name.split("/")
  settings = f"{values['num_model_partitions']} model partitions"
  settings = settings.replace("1 model partitions", "as it is")
  if not values["fits"]:
    fitting = [x for x in values["tried"] if x["fits"]]
    settings = (
      "`" + " ".join(fitting[0]["changes"]) + "`"
      if fitting
      else "nothing that was tried"
    )
  estimate = values["estimate_seconds"]
  shown = (
    "",
    stage,
    backbone,
    slice_name,
    settings,
    amount(values["arguments_bytes"]),
    amount(values["temporary_bytes"]),
    "" if estimate is None else f"≥ {seconds(estimate)}",
    values["bound_by"] or "",
    "yes" if values["fits"] else "no",
    "",
  )
  return " | ".join(shown).strip()


HEAD = """\
| stage | T5 | slice | settings | arguments | temporaries | estimate | \
bound by | fits |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def main(argv=None):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--only", nargs="*", default=[])
  parser.add_argument("--table", action="store_true")
  arguments = parser.parse_args(argv)
  if arguments.table:
    print(HEAD)
  for name, *cell in cells():
    path = arguments.out / f"{name}.json"
    if arguments.table:
      if path.is_file():
        print(row(name, json.loads(path.read_text())))
      continue
    chosen = [x.rstrip("*") + "*" for x in arguments.only]
    if chosen and not any(fnmatch.fnmatch(name, x) for x in chosen):
      continue
    if not path.is_file():
      path.parent.mkdir(parents=True, exist_ok=True)
      print(name, flush=True)
      # 2 says that it does not fit, which is a result too.
      made = subprocess.run(command(*cell, path), check=False)
      if made.returncode not in (0, 2):
        return made.returncode
  return 0


if __name__ == "__main__":
  sys.exit(main())
