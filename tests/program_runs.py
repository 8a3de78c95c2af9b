"""Runs of t5x's programs and of the native launcher, as a user starts them."""

import concurrent.futures
import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from train_fixtures import CACHE

ROOT = pathlib.Path(__file__).parents[1]
needs_t5x = pytest.mark.skipif(
  importlib.util.find_spec("t5x") is None,
  reason="t5x is not installed; it is not on PyPI, the README says how",
)


SIZES = (
  "PROMPT_LENGTH=3",
  'TASK_FEATURE_LENGTHS={"inputs":16,"targets":4}',
  "BATCH_SIZE=8",
  "EvalConfig.num_rows=8",
  "TRAIN_STEPS=20",
  "EVAL_PERIOD=20",
  "CHECKPOINT_PERIOD=10",
)


def command(folder, program, stage, run, *bindings, sizes=SIZES):
  """The command line; `folder` is of `train_fixtures.write_user_folder`."""
  values = [
    f'MODEL_DIR="{folder / run}"',
    f'INITIAL_CHECKPOINT_PATH="{folder / "t5"}"',
    *sizes,
    *bindings,
  ]
  files = (folder / "own.gin", f"gin/mpt_{stage}.gin")
  return [
    *(sys.executable, "-m", program),
    *(f"--gin_file={file}" for file in files),
    *(f"--gin.{value}" for value in values),
  ]


def environment(folder, num_devices=1):
  path = [str(ROOT), str(folder), *sys.path]
  return {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(p for p in path if p),
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }


def launch(folder, *arguments, num_devices=1, fails=False, **options):
  """Runs a program to its end; returns what it wrote to standard error."""
  made = subprocess.run(
    command(folder, *arguments, **options),
    cwd=ROOT,
    env=environment(folder, num_devices),
    capture_output=True,
    text=True,
  )
  assert bool(made.returncode) == fails, made.stderr[-4000:]
  return made.stderr


def launch_processes(
  folder, program, *arguments, each=((), ()), fails=False, **options
):
  """Runs a program as several processes of one device each.

  Args:
    each: for each process more bindings.

  Returns:
    For each process what it wrote to standard error.
  """
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    address = f"localhost:{probe.getsockname()[1]}"
  name = "--multiprocess_gpu" if program.startswith("t5x") else "--multiprocess"
  running = [
    subprocess.Popen(
      [
        *command(folder, program, *arguments, *bindings, **options),
        *(name, f"--coordinator_address={address}"),
        *(f"--process_count={len(each)}", f"--process_index={index}"),
      ],
      cwd=ROOT,
      env=environment(folder),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index, bindings in enumerate(each)
  ]
  # Each at once, as one that waits for its reader stops all of them.
  with concurrent.futures.ThreadPoolExecutor(len(running)) as pool:
    errors = list(pool.map(lambda p: p.communicate(timeout=1800)[1], running))
  for process, error in zip(running, errors, strict=True):
    assert bool(process.returncode) == fails, error[-4000:]
  return errors


def kill_when(condition, folder, *arguments):
  """Runs a program and kills it as soon as `condition()` holds."""
  process = subprocess.Popen(
    command(folder, *arguments),
    cwd=ROOT,
    env=environment(folder),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 1800
  while not condition():
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()


def t5x_scalars(run, tags=("loss", "kl", "hidden")):
  """{tag: {step: value}} of t5x's TensorBoard events."""
  import tensorflow as tf
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(run / "train"), size_guidance={"tensors": 0}
  )
  events.Reload()
  return {
    tag: {
      e.step: float(tf.make_ndarray(e.tensor_proto))
      for e in events.Tensors(tag)
    }
    for tag in events.Tags()["tensors"]
    if tag in tags
  }


def own_scalars(run):
  rows = [
    json.loads(line)
    for line in (run / "metrics.jsonl").read_text().splitlines()
  ]
  rows = [row for row in rows if row["kind"] == "train"]
  return {
    tag: {row["step"]: row[tag] for row in rows}
    for tag in ("loss", "kl", "hidden")
    if tag in rows[0]
  }


def assert_equal_losses(first, second, steps=20):
  """Each term of each of the first steps is equal."""
  assert first.keys() == second.keys() and "loss" in first
  for tag in first:
    for step in range(1, steps + 1):
      np.testing.assert_allclose(
        first[tag][step],
        second[tag][step],
        rtol=1e-5,
        err_msg=(tag, step),
      )
