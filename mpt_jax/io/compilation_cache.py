"""Keeps what JAX compiles for later processes of the same machine."""

import hashlib
import pathlib
import platform

from mpt_jax.io import cache

MAX_BYTES = 2**30


def use_compilation_cache():
  """Lets this process keep what it compiles, and take what others kept.

  In the folder `xla` of the cache folder (`cache.cache_dir`), of which
  what was not used for longest goes once there is a GiB. A folder that was
  chosen otherwise, by `JAX_COMPILATION_CACHE_DIR` for instance, stays;
  `JAX_ENABLE_COMPILATION_CACHE=0` turns it off.
  """
  import jax

  if jax.config.jax_compilation_cache_dir is None:
    folder = cache.cache_dir() / "xla" / _machine()
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # A home that cannot be written: as it is without a cache.
      return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)


def _machine() -> str:
  """A name for what the CPU can do.

  JAX compiles for that and does not look at it again, and the home of several
  machines may be one.
  """
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  able = {line for line in lines if line.startswith(("flags", "Features"))}
  digest = hashlib.sha256("\n".join(sorted(able)).encode()).hexdigest()
  return f"{platform.machine()}-{digest[:12]}"
