"""The devices to compile for: a slice of TPUs, or what is in this machine."""

import dataclasses
import math
import os
import re

import jax

from mpt_jax.compiling.chips import Chip, find_chip

# How many chips the names of slices with one number count: v4 and v5p count
# cores, of which a chip has two.
_CORES = {"v4": 2, "v5p": 2, "v5e": 1, "v6e": 1}
# libtpu's settings. v4 has its two cores as one device, as on a TPU VM.
_CONFIGS = {"v4": {"chip_config_name": "megacore"}}
# A machine has 2 × 2 chips of a slice, and the last number is 1 where a slice
# has two dimensions.
_HOST = (2, 2, 1)
# The machine of a slice of 2 × 4 v5e or v6e has all eight chips.
_LARGE_HOST = (2, 4, 1)
TPUS = tuple(_CORES)


@dataclasses.dataclass(frozen=True)
class Topology:
  """The devices that a program is compiled for.

  Attributes:
    name: as it was asked for.
    devices: JAX's devices, which may exist as descriptions alone.
    chip: their published numbers, or None for a CPU and an unknown chip.
    kind: one of `TPUS` for a slice, or None.
  """

  name: str
  devices: tuple
  chip: Chip | None
  kind: str | None = None

  @property
  def num_hosts(self) -> int:
    return len({device.process_index for device in self.devices})

  @property
  def platform(self) -> str:
    return self.devices[0].platform

  def host(self) -> "Topology":
    """Returns the devices of one host alone."""
    if self.kind is not None and self.num_hosts > 1:
      # libtpu compiles for all devices of a slice or for none.
      return _slice(self.name, self.kind, _HOST, 1)
    first = self.devices[0].process_index
    own = tuple(d for d in self.devices if d.process_index == first)
    return dataclasses.replace(self, devices=own)

  def __str__(self):
    kind = self.chip.name if self.chip else self.devices[0].device_kind
    hosts = f" on {self.num_hosts} hosts" if self.num_hosts > 1 else ""
    return f"{len(self.devices)} × {kind}{hosts}"


def find_topology(name: str) -> Topology:
  """Returns the devices of a name.

  Call this before anything asks JAX for its devices.

  Args:
    name: "v5e:4x4", the shape of a slice in chips; "v5e-16", Google Cloud's
      name of it; "cpu" or "gpu" for the devices at hand, "cpu:8" for so many
      of the CPU. "2*v5e:4x4" are two slices.

  Raises:
    ValueError: the name is malformed, no such slice exists, or the devices or
      libtpu are missing.
  """
  local = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", name)
  if local:
    return _at_hand(name, local[1], int(local[2] or 0))
  match = re.fullmatch(r"(?:(\d+)\*)?(v\d\w?)([:-])([\dx]+)", name)
  if match is None or match[2] not in _CORES:
    raise ValueError(
      f"--topology {name!r} is no slice: give one such as v5e:4x4 or v5e-16"
      f" (of {', '.join(TPUS)}), or cpu, cpu:8 or gpu for devices of this"
      " machine"
    )
  slices, kind, mark, size = int(match[1] or 1), *match.groups()[1:]
  shape = _shape(name, kind, size) if mark == "-" else _sizes(size)
  return _slice(name, kind, shape, slices)


def _sizes(text) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split("x") if n)


def _shape(name, kind, size) -> tuple[int, ...]:
  """Returns the shape of the slice that Google Cloud calls by one number."""
  if not size.isdigit() or int(size) < 1 or int(size) % _CORES[kind]:
    raise ValueError(
      f"--topology {name!r}: the number must be a multiple of {_CORES[kind]}"
    )
  chips = int(size) // _CORES[kind]
  if _CORES[kind] == 1:
    # Flat slices, as square as they can be: 2 × 4, 4 × 4, 4 × 8.
    low = next(n for n in range(math.isqrt(chips), 0, -1) if chips % n == 0)
    return low, chips // low
  shape = [2, 2, 1]
  while math.prod(shape) < chips:
    # Cubes: 2 × 2 × 2, 2 × 2 × 4, 2 × 4 × 4, 4 × 4 × 4.
    axis = max(i for i in range(3) if shape[i] == min(shape))
    shape[axis] *= 2
  if math.prod(shape) != chips:
    raise ValueError(
      f"--topology {name!r}: a slice has 4, 8, 16, ... chips; give its shape,"
      f" such as {kind}:2x2x1"
    )
  return tuple(shape)


def _slice(name, kind, shape, slices) -> Topology:
  """Returns the devices of a slice from libtpu, which describes them."""
  shape = (*shape, 1)[: max(3, len(shape))]
  most = (
    _LARGE_HOST if kind in ("v5e", "v6e") and shape == _LARGE_HOST else _HOST
  )
  host = tuple(math.gcd(n, m) for n, m in zip(shape, most, strict=True))
  _quieten()
  from jax.experimental import topologies

  options = dict(_CONFIGS.get(kind, {}))
  if host != _HOST:
    options["chips_per_host_bounds"] = host
  if slices > 1:
    options["num_slices"] = slices
  try:
    found = topologies.get_topology_desc(
      platform="tpu",
      topology_name=f"{kind}:{'x'.join(map(str, shape))}",
      **options,
    )
  except (ImportError, RuntimeError) as error:
    if "not installed" in str(error):
      raise ValueError(
        f"--topology {name!r} needs the TPU's compiler, which is a package: pip"
        " install 'mpt_jax[tpu]'"
      ) from error
    raise ValueError(
      f"--topology {name!r}: libtpu knows no such slice: {error}"
    ) from error
  devices = tuple(found.devices)
  return Topology(name, devices, find_chip(devices[0].device_kind), kind)


def _quieten():
  """Keeps JAX off this machine's TPU, and libtpu from writing to stderr.

  Nothing runs on a TPU, so several processes may load libtpu at once.
  """
  jax.config.update("jax_platforms", "cpu")
  for variable, value in (
    ("TPU_SKIP_MDS_QUERY", "1"),
    ("TPU_ACCELERATOR_TYPE", "v5litepod-16"),
    ("TPU_WORKER_HOSTNAMES", "localhost"),
    ("TPU_WORKER_ID", "0"),
    ("TPU_MIN_LOG_LEVEL", "3"),
    ("TPU_STDERR_LOG_LEVEL", "3"),
    ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
  ):
    os.environ.setdefault(variable, value)


def _at_hand(name, platform, count) -> Topology:
  """Returns devices of this machine."""
  if platform == "cpu":
    jax.config.update("jax_platforms", "cpu")
    if count:
      # This raises where JAX has counted its devices already.
      with _refusing(name):
        jax.config.update("jax_num_cpu_devices", count)
  with _refusing(name):
    devices = jax.devices(platform)
  if count and len(devices) < count:
    raise ValueError(
      f"--topology {name!r}: this machine has {len(devices)} such devices"
    )
  devices = tuple(devices[: count or None])
  return Topology(name, devices, find_chip(devices[0].device_kind))


class _refusing:
  """Names the topology in JAX's error about missing devices."""

  def __init__(self, name):
    self._name = name

  def __enter__(self):
    return self

  def __exit__(self, kind, error, _):
    if isinstance(error, RuntimeError):
      raise ValueError(f"--topology {self._name!r}: {error}") from error
