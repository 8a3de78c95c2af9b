"""What is tried where a run does not fit, and the report of it."""

import contextlib
import dataclasses
import io
import json

import pytest
import rich.console
from train_fixtures import tiny_backbone, tiny_experiment, tiny_tasks

from mpt_jax.compiling import advice, counts, measure, report, stages
from mpt_jax.compiling.chips import Chip
from mpt_jax.compiling.topologies import find_topology
from mpt_jax.prompts.slots import make_slots

__all__ = ["tiny_backbone", "tiny_tasks"]


def chip(memory):
  """A chip of round numbers."""
  return Chip(
    name="a chip",
    flops=1e12,
    bandwidth=1e9,
    memory=memory,
    link=1e6,
    source="this test",
  )


def topology(memory):
  return dataclasses.replace(find_topology("cpu"), chip=chip(memory))


@pytest.fixture
def settings(tiny_backbone, tiny_tasks):
  experiment = tiny_experiment(make_slots(tiny_tasks[:1]), tiny_backbone)
  return advice.Settings(experiment)


def test_neighbours_change_little_first(settings):
  experiment = settings.experiment
  mix = dataclasses.replace(experiment.mix, batch_size=32)
  settings = settings._replace(
    experiment=dataclasses.replace(experiment, mix=mix)
  )
  dtype = "--gin.DTYPE='\"bfloat16\"'"
  model = "--gin.train.num_model_partitions="
  parts = "--gin.NUM_MICROBATCHES="
  batch = "--gin.BATCH_SIZE="
  found = [x.changes for x in advice.neighbours(settings, topology(None))]
  # 32 rows on 8 devices are at most 4 parts; on one device's data, 32.
  assert found == [
    (dtype,),
    (dtype, parts + "2"),
    (dtype, model + "2"),
    (dtype, model + "4"),
    (dtype, model + "8"),
    (dtype, model + "8", parts + "2"),
    (dtype, model + "8", parts + "8"),
    (dtype, model + "8", parts + "32"),
    (dtype, model + "8", batch + "16"),
    (dtype, model + "8", batch + "4"),
    (dtype, model + "8", batch + "1"),
  ]


def test_what_fits_is_found(settings):
  # The T5 has 268,640 parameters: 1.07 MB in float32 and half of it in
  # bfloat16, see test_outline.py. Nothing else comes near.
  devices = topology(700_000)
  lines = []

  def working(text):
    lines.append(text)
    return contextlib.nullcontext()

  tried = advice.find_fitting(settings, devices, "train", 1, working)
  assert len(lines) == 1 and "bfloat16" in lines[0]
  (one,) = tried
  assert one.is_compiled and one.total_bytes > 537_280
  assert one.fits == (one.total_bytes <= 700_000)


def test_arguments_that_exceed_the_memory_are_not_compiled(settings):
  tried = advice.find_fitting(settings, topology(1000), "train", 9, None)
  assert tried and not any(one.is_compiled or one.fits for one in tried)
  # Two devices for a copy have half of each split array.
  sizes = {one.changes[-1]: one.total_bytes for one in tried}
  assert (
    sizes["--gin.train.num_model_partitions=2"]
    < sizes["--gin.DTYPE='\"bfloat16\"'"]
  )
  assert advice.find_fitting(settings, topology(1000), "train", 0, None) == []


def a_program(**changes):
  values = dict(
    name="step",
    shape="8 rows of 19 and 8 positions",
    arguments={"weights": 3 * 2**20, "batch": 100},
    largest_arguments=[
      counts.Largest("token_embedder/embedding", "float32[8000,32]", 2**20, 1)
    ],
    arguments_bytes=3 * 2**20 + 100,
    temporary_bytes=2**20,
    flops=2e9,
    bytes_accessed=4e6,
    compile_seconds=1.5,
  )
  return measure.Measured(**{**values, **changes})


def test_the_estimate_of_the_time():
  # 2e9 of 1e12 flops, 4e6 of 1e9 bytes.
  assert a_program().times(chip(None)) == {
    "arithmetic": 0.002,
    "memory": 0.004,
    "exchange": 0.0,
  }


@pytest.mark.parametrize("width", [60, 80])
def test_the_report_fits_the_terminal(width):
  devices = topology(2**22)
  program = a_program()
  tried = [
    advice.Tried(("--gin.DTYPE='\"bfloat16\"'",), True, False, 2**22),
    advice.Tried(("--gin.BATCH_SIZE=4",), False, False, 2**23),
  ]
  console = rich.console.Console(
    file=io.StringIO(), width=width, force_terminal=False
  )
  report.print_program(program, devices, console)
  report.print_verdict(devices, [program], tried, console)
  text = console.file.getvalue()
  assert max(map(len, text.splitlines())) <= width
  for shown in (
    "weights",
    "3.00 MiB",
    "2.00 Gflop",
    "bound by memory",
    "≥ 4 ms",
    "token_embedder/embedding",
    "It does not fit.",
    "8.00 MiB (arguments alone)",
  ):
    assert shown in text, (shown, text)


def test_json_of_one_device():
  devices = topology(2**22)
  found = [a_program(), a_program(flops=1e9, arguments_bytes=7)]
  values = json.loads(
    json.dumps(report.as_json(devices, 1, "train", found, []))
  )
  # 3 MiB and 100 bytes of arguments and 1 MiB of temporaries are above 4 MiB.
  assert values["fits"] is False
  assert values["arguments_bytes"] == 3 * 2**20 + 100
  assert values["temporary_bytes"] == 2**20
  assert values["flops"] == 3e9 and values["bytes_accessed"] == 8e6
  assert values["compile_seconds"] == 3.0 and values["collectives"] == []
  assert values["bound_by"] == "memory" and values["num_devices"] == 8
  assert len(values["programs"]) == 2


def test_a_compiler_that_gives_up(settings):
  devices = topology(2**40)
  (program,) = stages.programs(settings.outline(devices), "train")

  class GivesUp:
    def compile(self):
      import jax

      raise jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory"
        " required for HLO temporaries (80.00G) exceeds available HBM (15.75G)."
      )

  class Function:
    def lower(self, *arguments):
      return GivesUp()

  found = measure.measure(program._replace(function=Function()))
  # The compiler's number has the arguments in it: a program that only adds 1 to
  # 8 GiB is said to need 16.00G.
  assert found.total_bytes == 80 * 2**30
  assert not found.fits(devices.chip)
  values = report.as_json(devices, 1, "train", [found], [])
  assert values["fits"] is False and values["flops"] is None
