"""`mpt serve`."""

from mpt_jax.cli.arguments import add_backbone, add_devices, count, number


def add_serve(command):
  sub = command(
    "serve",
    _serve,
    "Serve the tasks of prompts over HTTP, with one T5.",
  )
  sub.add_argument(
    "--prompts",
    required=True,
    nargs="+",
    action="extend",
    metavar="FILE|DIR",
    help="prompt files, run folders or folders of PEFT's",
  )
  add_backbone(sub)
  sub.add_argument(
    "--host",
    default="127.0.0.1",
    help="address to listen on (default: %(default)s, this machine alone)",
  )
  sub.add_argument(
    "--port",
    type=number(0, 65535),
    default=8000,
    metavar="N",
    help="port to listen on; 0 takes a free one (default: %(default)s)",
  )
  _add_safety(sub)
  _add_limits(sub)
  sub.add_argument(
    "--method",
    choices=("auto", "decode"),
    default="auto",
    help="auto ranks where a task has labels, decode generates everywhere"
    " (default: %(default)s)",
  )
  add_devices(sub)


def _add_safety(sub):
  sub.add_argument(
    "--api-key-file",
    metavar="FILE",
    help="file whose first line is the key that clients must give (default:"
    " the variable MPT_API_KEY, if it is set)",
  )
  sub.add_argument(
    "--no-api-key",
    action="store_true",
    help="let other machines connect without a key",
  )
  sub.add_argument(
    "--state",
    metavar="DIR",
    help="folder that keeps the tasks that clients add (default: they are"
    " forgotten at the end)",
  )
  sub.add_argument(
    "--task-folder",
    metavar="DIR",
    help="the only folder from which clients may name prompt files (default:"
    " none)",
  )


def _add_limits(sub):
  for name, default, text in (
    ("batch-size", 64, "texts that are generated at once"),
    ("max-queue", 1024, "most texts that wait"),
    ("max-tasks", 100_000, "most tasks"),
    ("max-texts", 256, "most texts of a request"),
    ("max-body", 2**20, "most bytes of a request's JSON"),
    ("max-upload", 64 * 2**20, "most bytes of uploaded prompts"),
    ("max-characters", 100_000, "most characters of a text"),
  ):
    sub.add_argument(
      f"--{name}",
      type=count,
      default=default,
      metavar="N",
      help=f"{text} (default: %(default)s)",
    )
  for name, text in (
    (
      "max-input-length",
      "longest input in tokens (default: the run's, or 512)",
    ),
    (
      "max-target-length",
      "longest output in tokens (default: the run's, or 64)",
    ),
  ):
    sub.add_argument(f"--{name}", type=count, metavar="N", help=text)
  for name, default, text in (
    ("timeout", 60.0, "longest time for a text"),
    ("client-timeout", 30.0, "longest wait for a client to send or to take"),
    ("drain", 30.0, "longest time to answer what waits after a signal"),
  ):
    sub.add_argument(
      f"--{name}",
      type=number(0.1, 86400, kind=float),
      default=default,
      metavar="SECONDS",
      help=f"{text} (default: %(default)g)",
    )


def _serve(arguments):
  try:
    from mpt_jax.serve.http import server
  except ModuleNotFoundError as error:
    if error.name not in ("starlette", "uvicorn", "prometheus_client"):
      raise
    raise ValueError(
      f"{error.name} is not installed; pip install 'mpt_jax[serve]'"
    ) from error
  from mpt_jax.serve.http.fields import Bounds
  from mpt_jax.serve.service import Limits

  a = arguments
  server.serve(
    server.ServeConfig(
      prompts=tuple(a.prompts),
      backbone=a.backbone,
      dtype=a.dtype,
      num_model_partitions=a.num_model_partitions,
      method=a.method,
      batch_size=a.batch_size,
      inputs_length=a.max_input_length,
      targets_length=a.max_target_length,
      host=a.host,
      port=a.port,
      key_file=a.api_key_file,
      open=a.no_api_key,
      state=a.state,
      folder=a.task_folder,
      limits=Limits(a.max_queue, a.max_tasks, a.timeout, a.max_characters),
      bounds=Bounds(a.max_body, a.max_upload, a.max_texts, a.client_timeout),
      drain_seconds=a.drain,
    )
  )
