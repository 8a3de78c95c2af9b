"""Runs the application: builds it, listens, and drains at a signal."""

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
import pathlib
import sys

import uvicorn

from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.loading import Loaded, load
from mpt_jax.io import paths
from mpt_jax.model import partitioning
from mpt_jax.process import signals
from mpt_jax.prompts import run_settings
from mpt_jax.serve.http.app import make_app
from mpt_jax.serve.http.fields import Bounds
from mpt_jax.serve.http.guard import timed_protocol
from mpt_jax.serve.http.metrics import Metrics
from mpt_jax.serve.service import Limits, Service
from mpt_jax.serve.tasks import read_bank
from mpt_jax.text.vocabularies import Tokenizer

KEY_VARIABLE = "MPT_API_KEY"
# How often the server looks for a signal, in seconds.
_GLANCE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
  """Settings of `serve`.

  Attributes:
    prompts: prompt files, run folders or PEFT's folders.
    backbone: "default" or the folder of the T5; None is that of the first run.
    dtype: "float32" or "bfloat16"; None is the run's, or the T5's.
    num_model_partitions: devices that share one copy of the T5.
    method: "auto" ranks the labels of tasks that have some, "decode" does not.
    batch_size: rows of a table of decoding.
    inputs_length: longest input in tokens; None is the run's, or 512.
    targets_length: longest output in tokens; None is the run's, or 64.
    host, port: where to listen; port 0 takes a free one.
    key_file: a file whose first line is the API key.
    open: listen to other machines without a key.
    state: the state folder, or None.
    folder: the only folder from which a request may name files, or None.
    limits: limits of the service.
    bounds: limits of HTTP.
    drain_seconds: longest time to answer what waits once a signal came.
  """

  prompts: tuple[str, ...]
  backbone: str | None = None
  dtype: str | None = None
  num_model_partitions: int = 1
  method: str = "auto"
  batch_size: int = 64
  inputs_length: int | None = None
  targets_length: int | None = None
  host: str = "127.0.0.1"
  port: int = 8000
  key_file: str | None = None
  open: bool = False
  state: str | None = None
  folder: str | None = None
  limits: Limits = Limits()
  bounds: Bounds = Bounds()
  drain_seconds: float = 30.0


def read_key(config: ServeConfig, environment=os.environ) -> str | None:
  """Returns the API key of a file or of the environment, or None.

  Raises:
    ValueError: the key is empty, or others could connect without a key.
  """
  key, where = environment.get(KEY_VARIABLE), KEY_VARIABLE
  if config.key_file is not None:
    where = config.key_file
    lines = pathlib.Path(where).read_text(encoding="utf-8").splitlines()
    key = lines[0] if lines else ""
  if key is not None:
    key = key.strip()
    if not key or not key.isascii():
      raise ValueError(f"{where} must hold an API key of ASCII characters")
  elif not config.open and not _is_loopback(config.host):
    raise ValueError(
      f"--host {config.host} lets other machines connect, and there is no API"
      f" key: give --api-key-file or {KEY_VARIABLE}, or --no-api-key if"
      " something else keeps strangers out"
    )
  return key


def _is_loopback(host):
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == "localhost"


def load_service(config: ServeConfig, observe) -> Service:
  """Loads the T5 and the prompts, and makes the service.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the files or settings do not fit each other.
  """
  settings = [
    run_settings.read(path) for path in map(paths.expand, config.prompts)
  ]
  lengths = {run_settings.lengths(s) for s in settings}
  backbone = config.backbone or run_settings.backbone(settings[0])
  for name, given, found in (
    ("--max-input-length", config.inputs_length, {a for a, _ in lengths}),
    ("--max-target-length", config.targets_length, {b for _, b in lengths}),
  ):
    if given is None and len(found) > 1:
      shown = " and ".join(map(str, sorted(found)))
      raise ValueError(
        f"the runs have the lengths {shown}, and one server has one: give"
        f" {name}"
      )
  banks = [read_bank(path, backbone) for path in config.prompts]
  first = banks[0]
  dtype = config.dtype or settings[0].get("dtype")
  loaded: Loaded = load(first, backbone, dtype)
  own = next(iter(lengths))
  engine = Engine(
    loaded.backbone.config,
    loaded.backbone.params,
    first.composed[:1],
    mesh=partitioning.make_mesh(config.num_model_partitions),
    inputs_length=config.inputs_length or own[0],
    targets_length=config.targets_length or own[1],
    batch_size=config.batch_size,
  )
  service = Service(
    engine,
    Tokenizer(loaded.backbone.vocabulary_path),
    backbone,
    loaded.backbone.fingerprint,
    limits=config.limits,
    ranks=config.method != "decode",
    state=config.state,
    folder=config.folder,
    observe=observe,
  )
  service.load(banks)
  return service


class _Server(uvicorn.Server):
  """uvicorn without its own handlers of signals."""

  @contextlib.contextmanager
  def capture_signals(self):
    yield


def serve(config: ServeConfig, say=None):
  """Serves until a signal comes, and then answers what waits.

  Args:
    config: the settings.
    say: called with a line for each step; by default it goes to stderr.

  Raises:
    FileNotFoundError, ValueError: see `load_service` and `read_key`.
    OSError: the port is taken.
    signals.Stopped: a signal came, and everything was answered.
  """
  say = say or _say
  key = read_key(config)
  metrics = Metrics()
  service = load_service(config, metrics.observe)
  app = make_app(service, metrics, config.bounds, key)
  options = uvicorn.Config(
    app,
    host=config.host,
    port=config.port,
    http=timed_protocol(config.bounds.seconds),
    ws="none",
    lifespan="off",
    log_level="warning",
    access_log=False,
    server_header=False,
    limit_concurrency=4096,
    timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
  )
  try:
    with signals.deferred() as stop:
      asyncio.run(_run(_Server(options), options, service, app, stop, say))
  finally:
    service.close()


async def _run(server, options, service, app, stop, say):
  sockets = [options.bind_socket()]
  host, port = sockets[0].getsockname()[:2]
  shown = f"[{host}]" if ":" in host else host
  service.scheduler.start()
  say(f"listening on http://{shown}:{port}, {len(service.names())} tasks")
  watcher = asyncio.create_task(_watch(server, service, app, stop, say))
  try:
    await server.serve(sockets=sockets)
  finally:
    watcher.cancel()
  await asyncio.to_thread(service.scheduler.halt)
  if service.scheduler.error is not None:
    raise service.scheduler.error


async def _watch(server, service, app, stop, say):
  """Waits for a signal; then lets the server end once all is answered."""
  ready = False
  while stop.signum is None and service.scheduler.error is None:
    if service.scheduler.is_ready and not ready:
      ready = True
      say("ready: all shapes are compiled")
    await asyncio.sleep(_GLANCE)
  app.state.shared.is_draining = True
  service.queue.close()
  waiting = len(service.queue) + service.scheduler.num_decoding
  say(f"stopping: {waiting} texts are still answered")
  # uvicorn waits for the responses that are under way.
  server.should_exit = True


def _say(line):
  print(line, file=sys.stderr, flush=True)
