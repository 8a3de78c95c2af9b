"""Keeps compiled programs for later processes on the same machine."""

import hashlib
import pathlib
import platform

from mpt_jax.io import cache

MAX_BYTES = 2**30


def use_compilation_cache():
  """Turns on JAX's compilation cache for this process.

  Programs are kept in the folder `xla` of the cache folder (see
  `cache.cache_dir`). When it reaches 1 GiB, JAX removes the programs that have
  not been used for the longest time. A folder that the user chose, for
  instance with `JAX_COMPILATION_CACHE_DIR`, is left as it is.
  `JAX_ENABLE_COMPILATION_CACHE=0` turns the cache off.
  """
  import jax

  if jax.config.jax_compilation_cache_dir is None:
    folder = cache.cache_dir() / "xla" / _machine()
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError:
      # The home directory is read-only: run without a cache.
      return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    _compress_with_checksums()


def _compress_with_checksums():
  """Lets JAX compress programs with zlib, which notices damage.

  JAX takes zstd where it is installed, and writes no checksums with it. A
  damaged program would then run. There is no public setting for it. A program
  that zlib refuses is compiled again.
  """
  from jax._src import compilation_cache

  for name in ("zstd", "zstandard"):
    if hasattr(compilation_cache, name):
      setattr(compilation_cache, name, None)


def _machine() -> str:
  """A name for the features of the CPU.

  JAX compiles for these features and does not check them when it reads the
  cache, and several machines may share one home directory.
  """
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  features = {line for line in lines if line.startswith(("flags", "Features"))}
  digest = hashlib.sha256("\n".join(sorted(features)).encode()).hexdigest()
  return f"{platform.machine()}-{digest[:12]}"
