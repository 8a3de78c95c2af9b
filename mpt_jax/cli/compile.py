"""`mpt compile`: what a run would cost on devices that need not be here."""

import json
import os
import sys

from mpt_jax.cli.arguments import count, number
from mpt_jax.io.errors import ExitCode

STAGES = ("train", "eval", "predict")
# Settings that a run must have, but that change no program.
_STAND_INS = ("MODEL_DIR", "TEACHERS", "SOURCE")


def add_compile(command):
  sub = command(
    "compile",
    _compile,
    "Compile the step of an experiment, --gin_file=FILE [--gin.NAME=VALUE ...],"
    " for a slice of TPUs that need not be here, and print its memory, flops,"
    " collectives and time. Exits with 2 if it does not fit.",
  )
  sub.add_argument(
    "--topology",
    required=True,
    metavar="NAME",
    help="v5e:4x4 or v5e-16 for a slice (v4, v5e, v5p, v6e), 2*v5e:4x4 for two;"
    " cpu, cpu:8 or gpu for devices of this machine",
  )
  sub.add_argument(
    "--stage",
    choices=STAGES,
    default="train",
    help="the training step, the evaluation while training, or mpt predict"
    " with the run's prompts (default: %(default)s)",
  )
  sub.add_argument(
    "--backbone",
    metavar="DIR|SIZE",
    help="a T5's folder, or a published size such as t5_base or t5_1_1_xxl"
    " (default: INITIAL_CHECKPOINT_PATH, which may be a size too)",
  )
  sub.add_argument(
    "--num-model-partitions",
    type=count,
    metavar="N",
    help="number of devices that share one copy of the T5 (default: the gin"
    " files' train.num_model_partitions)",
  )
  sub.add_argument(
    "--tries",
    type=number(0),
    default=3,
    metavar="N",
    help="if it does not fit, compile with up to N other settings that may"
    " (default: %(default)s)",
  )
  sub.add_argument("--json", metavar="FILE", help="write everything as JSON")


def _compile(arguments):
  from mpt_jax.launchers import gin_config

  files, bindings, paths, _ = gin_config.parse_args(arguments.rest)
  print(
    f"{arguments.stage} on {arguments.topology}: reading the gin files ...",
    flush=True,
  )
  # The modules of the user's own tasks are in the working folder.
  sys.path.insert(0, os.getcwd())
  import jax

  from mpt_jax.compiling import topologies

  # A program that is read from the cache would seem to compile in no time.
  jax.config.update("jax_enable_compilation_cache", False)
  topology = topologies.find_topology(arguments.topology)
  if arguments.stage == "predict":
    topology = topology.host()
  settings = _settings(arguments, files, bindings, paths)
  return _measure(arguments, topology, settings)


def _settings(arguments, files, bindings, paths):
  """Returns the `advice.Settings` of the gin files."""
  import dataclasses

  from mpt_jax.compiling.advice import Settings
  from mpt_jax.launchers import gin_config

  made, _ = gin_config.load_config(
    files, bindings, paths, strict=True, stand_ins=_STAND_INS
  )
  experiment = made["experiment"]
  if arguments.backbone is not None:
    experiment = dataclasses.replace(
      experiment, backbone=arguments.backbone, network=None
    )
  partitions = made.get("num_model_partitions", 1)
  return Settings(experiment, arguments.num_model_partitions or partitions)


def _measure(arguments, topology, settings):
  import rich.console

  from mpt_jax.compiling import advice, measure, report, stages
  from mpt_jax.io.files import write_text

  console = rich.console.Console(highlight=False)
  setup = settings.outline(topology)
  console.print(
    f"{topology} as {setup.mesh.shape['data']} data ×"
    f" {setup.mesh.shape['model']} model; all numbers are of one device",
    style="dim",
  )
  found = []
  for program in stages.programs(setup, arguments.stage):
    with report.working(f"compiling {program.name}", console):
      found.append(measure.measure(program))
    report.print_program(found[-1], topology, console)
  tried, good = [], report.fits(topology, found)
  if not good:
    tried = advice.find_fitting(
      settings,
      topology,
      arguments.stage,
      arguments.tries,
      lambda text: report.working(text, console),
    )
  report.print_verdict(topology, found, tried, console)
  if arguments.json:
    partitions = settings.num_model_partitions
    values = report.as_json(topology, partitions, arguments.stage, found, tried)
    write_text(arguments.json, json.dumps(values, indent=2) + "\n")
  return ExitCode.DONE if good else ExitCode.MISTAKE
