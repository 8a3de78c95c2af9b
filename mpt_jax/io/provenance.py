"""What made a folder: version, command, date and processor.

`about.json` in the folder of a run keeps this, and reports show it.
"""

import datetime
import json
import os
import pathlib
import platform

from etils import epath

from mpt_jax.io import digests, files
from mpt_jax.process import signals

FILE = "about.json"
_CPUS = pathlib.Path("/proc/cpuinfo")


def describe(devices=()) -> dict[str, str]:
  """Returns what this process is, in words.

  Args:
    devices: the devices of JAX, whose kind stands beside the processor's if
      they are no CPUs.
  """
  import mpt_jax

  now = datetime.datetime.now(datetime.UTC)
  made = {
    "version": f"mpt_jax {mpt_jax.__version__}",
    "command": signals.typed_command(),
    "date": f"{now:%Y-%m-%d %H:%M} UTC",
    "processor": f"{processor()}, {os.cpu_count()} cores",
    "python": platform.python_version(),
  }
  kinds = [d.device_kind for d in devices if d.platform != "cpu"]
  if kinds:
    counts = {kind: kinds.count(kind) for kind in kinds}
    made["devices"] = ", ".join(f"{n} × {kind}" for kind, n in counts.items())
  return made


def processor(text: str | None = None) -> str:
  """Returns the name of the processor.

  Args:
    text: what Linux says of its processors; by default it is read.

  >>> processor("processor: 0\\nmodel name : A 1 @ 2 GHz\\nmodel name : B")
  'A 1 @ 2 GHz'
  """
  if text is None:
    text = _CPUS.read_text() if _CPUS.is_file() else ""
  for line in text.splitlines():
    name, _, value = line.partition(":")
    if name.strip() == "model name":
      return value.strip()
  return platform.processor() or platform.machine()


def read(folder) -> dict:
  """Returns what a folder's about.json says; {} if there is none.

  Raises:
    ValueError: the file is damaged.
  """
  path = epath.Path(folder) / FILE
  if not path.exists():
    return {}
  return digests.read_sealed(path, "what is said about a run")


def add_start(folder, devices=(), **fields):
  """Adds this process to the starts of a run in its about.json.

  A damaged file is replaced, because it must not stop a run.

  Args:
    folder: the run's folder.
    devices: see `describe`.
    **fields: more fields, which replace those of the file.
  """
  try:
    about = read(folder)
  except ValueError:
    about = {}
  starts = about.get("starts")
  starts = starts if isinstance(starts, list) else []
  about = {**about, **fields, "starts": [*starts, describe(devices)]}
  text = json.dumps(digests.seal(about), indent=2) + "\n"
  files.write_text(epath.Path(folder) / FILE, text)
