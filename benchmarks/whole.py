"""Rows of whole processes and of the host: first step, memory, pipeline."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from bench import Row, timed

SIDES = ("ours", "peft")


def probe(side, folder, args):
  """Measures a process from its start to its third distill step.

  Args:
    side: "ours" or "peft".
    folder: a Hugging Face folder with the T5, which both sides load.
    args: the command line; its first model is the T5.

  Returns:
    A dict of seconds and MiB: "load" (the T5 read from the disk), "first_step"
    (from there to the end of the first distill step), "resident" (peak memory
    of the process; PEFT's without our side's imports), "device" (peak memory of
    the accelerator, if known).
  """
  import jax
  from bench import Bench

  # The memory of JAX and this library, which a user of PEFT does not need.
  imported = _memory("VmRSS") if side == "peft" else 0.0
  folder = pathlib.Path(folder)
  prompts = np.load(folder / "prompts.npz")
  teachers = prompts["teachers"]
  prompts = {k: prompts[k] for k in prompts.files if k != "teachers"}
  bench = Bench(args, args.model[0], progress=None)
  stage = bench.stage("distill", start=(prompts, teachers))
  start = time.perf_counter()
  if side == "ours":
    from mpt_jax.backbones import backbone

    bench.params = backbone.load_backbone(folder, args.dtype).params
    loaded = time.perf_counter()
    trainer = bench.our_trainer(stage)
  else:
    trainer = bench.peer_trainer(stage, folder)
    loaded = time.perf_counter()
  trainer.run([stage.draw()])
  first = time.perf_counter()
  trainer.run([stage.draw() for _ in range(2)])
  device = 0
  if side == "ours":
    device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
  else:
    import torch

    if torch.cuda.is_available():
      device = torch.cuda.max_memory_allocated()
  return {
    "load": loaded - start,
    "first_step": first - loaded,
    "resident": _memory("VmHWM") - imported,
    "device": device / 2**20,
  }


def _memory(field):
  """MiB of this process, now ("VmRSS") or at most ("VmHWM").

  `getrusage` would give a child its parent's peak if that is larger.
  """
  status = pathlib.Path("/proc/self/status").read_text()
  (line,) = (x for x in status.splitlines() if x.startswith(f"{field}:"))
  return int(line.split()[1]) / 1024


def probes(bench):
  """Probes both sides in turns, each in a process of its own.

  The results are kept on the bench, because two rows use them.

  Returns:
    For each pair the results (ours, PEFT's) of `probe`.
  """
  if bench.probes is not None:
    return bench.probes
  repeats = 1 if bench.args.quick else bench.args.pairs
  stage = bench.stage("distill")
  run = pathlib.Path(__file__).with_name("run.py")
  argv = [sys.executable, str(run), *bench.args.argv, "--model", bench.model]
  bench.probes = []
  with (
    tempfile.TemporaryDirectory() as folder,
    bench.task("processes", repeats * len(SIDES)) as advance,
  ):
    bench.peer_trainer(stage).base.save_pretrained(folder)
    prompts = pathlib.Path(folder) / "prompts.npz"
    np.savez(prompts, teachers=stage.teachers, **stage.prompts)
    for i in range(repeats):
      pair = {}
      for side in SIDES if i % 2 == 0 else SIDES[::-1]:
        seed = str(bench.args.seed + i)
        done = subprocess.run(
          [*argv, "--seed", seed, "--probe", side, folder],
          capture_output=True,
          text=True,
        )
        if done.returncode:
          raise RuntimeError(f"the process of {side} failed:\n{done.stderr}")
        pair[side] = json.loads(done.stdout.splitlines()[-1])
        advance()
      bench.probes.append([pair[side] for side in SIDES])
  return bench.probes


def _medians(bench):
  """The median of each figure, ours and PEFT's."""
  return [
    {k: float(np.median([run[k] for run in runs])) for k in runs[0]}
    for runs in zip(*probes(bench), strict=True)
  ]


def first_step_row(bench, name):
  """Seconds from a loaded T5 to the end of the first distill step."""
  mine, peft = _medians(bench)
  return Row(
    name,
    bench.model,
    mine["first_step"],
    peft["first_step"],
    "seconds",
    [b["first_step"] / a["first_step"] for a, b in probes(bench)],
    f"compilation included, imports not; before it the T5 is loaded in"
    f" {mine['load']:.1f} s, PEFT's, PyTorch imported, in {peft['load']:.1f} s",
  )


def memory_row(bench, name):
  """Peak memory of a process that trains three distill steps."""
  mine, peft = _medians(bench)
  kind = "device" if mine["device"] and peft["device"] else "resident"
  notes = (
    "of a process, libraries and the T5 included, in PEFT's without JAX and"
    " what else it does not need"
  )
  if kind == "device":
    notes = (
      f"on the device; of the process {mine['resident']:.0f} and"
      f" {peft['resident']:.0f}"
    )
  ratios = [b[kind] / a[kind] for a, b in probes(bench)]
  return Row(name, bench.model, mine[kind], peft[kind], "MiB", ratios, notes)


def pipeline_row(bench, name):
  """Examples a second of the real pipeline against our distill step's rate.

  The pipeline runs alone: seqio tasks of text, tokenised on the fly with the
    embedded vocabulary, `pipeline.ExampleStream` and `make_batch`.
  """
  import ours

  import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before TensorFlow.
  from mpt_jax.data.batches import make_batch
  from mpt_jax.data.mixing import MixConfig
  from mpt_jax.data.pipeline import ExampleStream

  args = bench.args
  stage = bench.stage("distill")
  config = ours.batch_config(
    stage.workload, args.prompt_length, stage.num_slots, **bench.layout
  )
  num_batches = args.pipeline_batches
  with bench.task(f"{name}: tasks") as advance:
    tasks = [
      _text_task(stage.workload, i) for i in range(len(stage.workload.sources))
    ]
    stream = ExampleStream(
      tasks,
      [task.name for task in tasks],
      MixConfig(batch_size=args.batch_size, mixing="sampled", seed=args.seed),
    )
    next(stream)
    advance()

  def run():
    for _ in range(num_batches):
      counts.append(make_batch(next(stream), config)[1])

  rates, tokens = [], []
  with bench.task(f"{name}: batches", args.pairs) as advance:
    for _ in range(args.pairs):
      counts = []
      seconds = timed(run, clock=bench.clock)
      rates.append(sum(stats.num_examples for stats in counts) / seconds)
      tokens += [stats.num_tokens / stats.num_examples for stats in counts]
      advance()
  consumed = bench.distill_rate
  if consumed is None:
    trainer = bench.our_trainer(stage)
    batch = stage.draw()
    trainer.run([batch])
    consumed = len(batch) / timed(trainer.run, [batch], clock=bench.clock)
  return Row(
    name,
    bench.model,
    float(np.median(rates)),
    consumed,
    "examples/s",
    [rate / consumed for rate in rates],
    f"other: what our distill step consumes; {np.mean(tokens):.0f} positions"
    " an example",
  )


def _text_task(workload, index, num=256):
  """A seqio task of random text with the lengths of a source."""
  import seqio
  import tensorflow as tf

  from mpt_jax.text import vocabularies

  vocabulary = vocabularies.default_vocabulary()
  tokenizer = vocabularies.Tokenizer(vocabularies.default_vocabulary_path())
  size = vocabularies.vocabulary_size(vocabularies.default_vocabulary_path())[0]
  pieces = size - vocabularies.NUM_EXTRA_IDS

  def text(ids):
    return tokenizer.decode([3 + i % (pieces - 3) for i in ids[:-1]])

  examples = [workload.example(index) for _ in range(num)]
  columns = {k: [text(e[k]) for e in examples] for k in ("inputs", "targets")}
  # A label that decodes to nothing would be an empty target.
  columns["targets"] = [t.strip() or "label" for t in columns["targets"]]

  def dataset_fn(split, shuffle_files, seed=None):
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices(columns)

  feature = seqio.Feature(vocabulary, add_eos=True)
  return seqio.Task(
    f"benchmark_{workload.sources[index].name}",
    source=seqio.FunctionDataSource(dataset_fn, splits=("train",)),
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
    output_features={"inputs": feature, "targets": feature},
  )
