"""Pretrains a T5 on shards of packed rows, with jax, flax, optax and NumPy.

  python benchmarks/pretrain.py --data DATA --out RUN --steps 60000

The same command resumes an interrupted run, to the bit. With `--minutes` the
run ends at that time instead, the learning rate with it. RUN gets
`metrics.jsonl` and `checkpoint.npz`; `--export FOLDER` writes the T5. A new run
with `--start FOLDER --first_shard N` goes on with such a T5 on another machine,
with the optimizer's state begun anew; it needs the same vocabulary.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import products

from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import LossConfig, Model
from mpt_jax.tasks.pretraining.packed import shards, state
from mpt_jax.training import optimizers

_CHECKPOINT = "checkpoint.npz"
_METRICS = "metrics.jsonl"
_SETTINGS = "settings.json"
# Share of the run in which the rate falls to zero; before that it is constant,
# so that a run can be made longer while it has not begun to fall.
_COOLDOWN = 0.25


@dataclasses.dataclass(frozen=True)
class Settings:
  """What decides what is computed; a resumed run must have the same.

  Attributes:
    rows: rows of a batch.
    learning_rate: relative to each parameter's own size.
    warmup: steps of the linear warm-up.
    embedding_scale: see `optimizers.OptimizerConfig`.
    emb_dim: width.
    mlp_dim: width of the feed-forward blocks.
    num_heads: heads of 64.
    encoder_layers: blocks.
    decoder_layers: blocks.
    dtype: of activations.
    seed: of the first parameters.
    start: folder of the T5 to start from; empty for random parameters.
    first_shard: number of the first shard, so that a run that goes on with a T5
      sees new examples.
  """

  rows: int = 64
  learning_rate: float = 0.015
  warmup: int = 300
  embedding_scale: float = 0.3
  emb_dim: int = 256
  mlp_dim: int = 1024
  num_heads: int = 4
  encoder_layers: int = 5
  decoder_layers: int = 2
  dtype: str = "bfloat16"
  seed: int = 0
  start: str = ""
  first_shard: int = 0

  def network(self, vocab_size: int) -> T5Config:
    return T5Config(
      vocab_size=vocab_size,
      emb_dim=self.emb_dim,
      num_heads=self.num_heads,
      head_dim=64,
      mlp_dim=self.mlp_dim,
      num_encoder_layers=self.encoder_layers,
      num_decoder_layers=self.decoder_layers,
      dtype=self.dtype,
    )


def rate_factor(step: int, settings: Settings, done: float) -> float:
  """The factor on the learning rate: warm-up, constant, linear cooldown.

  Args:
    step: steps done.
    settings: for the warm-up.
    done: share of the run that is done, in [0, 1].

  >>> rate_factor(0, Settings(warmup=10), 0.0)
  0.1
  >>> rate_factor(500, Settings(warmup=10), 0.5)
  1.0
  >>> rate_factor(900, Settings(warmup=10), 0.875)
  0.5
  """
  rising = (step + 1) / max(1, settings.warmup)
  falling = (1.0 - done) / _COOLDOWN
  return max(0.0, min(rising, falling, 1.0))


def make_model(settings: Settings, vocab_size: int) -> Model:
  return Model(
    settings.network(vocab_size),
    loss_config=LossConfig(z_loss=1e-4),
    trainable="everything",
  )


def init_params(settings: Settings, vocab_size: int):
  model = make_model(settings, vocab_size)
  init = jax.jit(lambda key: model.init_variables(key)["params"])
  return init(jax.random.key(settings.seed))


def first_params(settings: Settings, data, vocab_size: int):
  """Returns the parameters before the first step, in float32.

  Raises:
    ValueError: the T5 of `settings.start` has another shape or vocabulary.
  """
  if not settings.start:
    return init_params(settings, vocab_size)
  from mpt_jax.backbones import backbone  # It needs safetensors.

  t5 = backbone.load_backbone(settings.start)
  expected = settings.network(vocab_size)
  if dataclasses.replace(t5.config, dtype=expected.dtype) != expected:
    raise ValueError(
      f"--start {settings.start}: the T5 is {t5.config}, and this run trains"
      f" {expected}"
    )
  vocabulary = pathlib.Path(data) / shards.VOCABULARY
  if vocabulary.read_bytes() != pathlib.Path(t5.vocabulary_path).read_bytes():
    raise ValueError(
      f"--start {settings.start}: the T5 has another vocabulary than {data};"
      f" gather the data with --vocabulary {t5.vocabulary_path}"
    )
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), t5.params)


def make_step(settings: Settings, vocab_size: int):
  """Returns the optimizer and a jitted step.

  The step takes (state, batch, factor) and returns (state, metrics). State is
  (params, optimizer state) and is donated.
  """
  on_cpu = jax.default_backend() == "cpu" and settings.dtype == "bfloat16"
  ways = products.in_bfloat16 if on_cpu else contextlib.nullcontext
  model = make_model(settings, vocab_size)
  optimizer = optimizers.make_optimizer(
    optimizers.OptimizerConfig(
      name="adafactor",
      learning_rate=settings.learning_rate,
      schedule="constant",
      warmup_fraction=0.0,
      embedding_scale=settings.embedding_scale,
    ),
    1,
    None,
  )

  @functools.partial(jax.jit, donate_argnums=0)
  def step(before, batch, factor):
    params, opt_state = before

    def loss(params):
      with ways():
        total, metrics = model.loss(params, {}, batch)
      return total, metrics["loss"]

    grads, (sums, counts) = jax.grad(loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    updates = jax.tree.map(lambda x: x * factor, updates)
    params = optax.apply_updates(params, updates)
    return (params, opt_state), {
      "loss": jnp.sum(sums) / jnp.sum(counts),
      "targets": jnp.sum(counts),
      "grad_norm": optax.global_norm(grads),
    }

  return optimizer, step


def train(
  data,
  out,
  settings: Settings,
  steps: int,
  minutes: float | None = None,
  save_seconds: float = 540.0,
  workers: int = 1,
  log_period: int = 50,
  stop_at: int | None = None,
):
  """Runs to the end, or resumes; see the module.

  Args:
    data: the folder of `packed.shards`.
    out: the run's folder.
    settings: of the run.
    steps: its length; with `minutes` the most steps.
    minutes: end after so many minutes, counted from the first finished step.
    save_seconds: time between checkpoints.
    workers: see `state.Batches`.
    log_period: steps between lines of metrics.
    stop_at: stop after this step, as an interruption would.

  Returns:
    The parameters.

  Raises:
    ValueError: the folder holds a run of other settings or of another recipe.
  """
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  recipe = shards.ShardMaker(data).recipe
  _check_settings(out, settings, recipe)
  optimizer, step_fn = make_step(settings, recipe.vocab_size)
  params = first_params(settings, data, recipe.vocab_size)
  progress = state.Progress(
    (params, optimizer.init(params)), position=(settings.first_shard, 0)
  )
  path = out / _CHECKPOINT
  if path.exists():
    progress = state.load_checkpoint(path, progress.state)
    print(f"resumed at step {progress.step}", flush=True)
  batches = state.Batches(data, settings.rows, progress.position, workers)
  log = state.Log(out / _METRICS, progress.step)
  end, done = min(steps, stop_at or steps), 0.0
  started = saved = None
  for batch, position in batches if progress.step < end else ():
    elapsed = time.monotonic() - started if started else 0.0
    done = max(
      progress.step / steps, elapsed / (60 * minutes) if minutes else 0.0
    )
    factor = rate_factor(progress.step, settings, done)
    after, metrics = step_fn(progress.state, batch, np.float32(factor))
    progress = progress.after(after, batch, position)
    log.add(metrics, batch)
    if started is None:
      jax.block_until_ready(metrics)
      started = saved = time.monotonic()
    last = progress.step == end or done >= 1.0
    if last or progress.step % log_period == 0:
      log.write(progress, factor)
    if last or time.monotonic() - saved > save_seconds:
      state.save_checkpoint(path, progress)
      saved = time.monotonic()
    if last:
      break
  batches.close()
  return progress.state[0]


def _check_settings(out, settings, recipe):
  fields = {**dataclasses.asdict(settings), **dataclasses.asdict(recipe)}
  path = out / _SETTINGS
  if not path.exists():
    path.write_text(json.dumps(fields, indent=2) + "\n")
  elif json.loads(path.read_text()) != fields:
    raise ValueError(
      f"{out} holds a run with other settings ({path}); resume it with those"
      " or choose another folder"
    )


def export(out, data, folder, dtype="bfloat16") -> None:
  """Writes the T5 of a run's last checkpoint as a backbone folder."""
  from mpt_jax.backbones import backbone  # It needs safetensors.

  fields = json.loads((pathlib.Path(out) / _SETTINGS).read_text())
  names = {field.name for field in dataclasses.fields(Settings)}
  settings = Settings(**{k: v for k, v in fields.items() if k in names})
  size = fields["vocab_size"]
  optimizer, _ = make_step(settings, size)
  params = init_params(settings, size)
  path = pathlib.Path(out) / _CHECKPOINT
  progress = state.load_checkpoint(path, (params, optimizer.init(params)))
  config = settings.network(size)
  config = dataclasses.replace(config, dtype="float32")
  vocabulary = pathlib.Path(data) / shards.VOCABULARY
  backbone.save_backbone(folder, config, progress.state[0], vocabulary, dtype)


def main(arguments=None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data", required=True, help="folder of the recipe")
  parser.add_argument("--out", required=True, help="the run's folder")
  parser.add_argument("--steps", type=int, default=60000)
  parser.add_argument("--minutes", type=float)
  parser.add_argument("--save_seconds", type=float, default=540.0)
  parser.add_argument("--workers", type=int, default=1)
  parser.add_argument("--export", help="write the T5 of the checkpoint there")
  for field in dataclasses.fields(Settings):
    parser.add_argument(f"--{field.name}", type=field.type)
  options = vars(parser.parse_args(arguments))
  if options["export"]:
    export(options["out"], options["data"], options["export"])
    return 0
  changes = {
    field.name: options[field.name]
    for field in dataclasses.fields(Settings)
    if options[field.name] is not None
  }
  names = ("steps", "minutes", "save_seconds", "workers")
  train(
    options["data"],
    options["out"],
    Settings(**changes),
    **{name: options[name] for name in names},
  )
  return 0


if __name__ == "__main__":
  sys.exit(main())
