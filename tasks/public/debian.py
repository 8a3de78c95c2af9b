"""English descriptions of Debian packages, through apt's own client."""

import hashlib
import json
import pathlib
import tempfile

from mpt_jax.io import cache, files
from mpt_jax.io.errors import reading
from mpt_jax.tasks.public import packages

_FIELDS = ("package", "source", "section", "short", "long")


def fetch_descriptions() -> list[dict]:
  """Returns one row per binary package of the configured Debian release.

  apt reads its lists into a temporary folder. This needs no root and does not
  change the system's lists. The result is kept in the cache: Debian's index
  changes with its point releases and cannot be pinned.

  Returns:
    Rows of `package`, `source`, `section`, `short` and `long`, all str.

  Raises:
    packages.DataUnavailableError: nothing is cached, and apt does not work.
  """
  path = cache.data_dir() / "debian-descriptions" / "rows.jsonl"
  if not path.exists():
    with tempfile.TemporaryDirectory(prefix="mpt_apt_") as folder:
      rows = _read_index(pathlib.Path(folder), path.parent)
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
  what = "Debian's descriptions (delete it, and it is fetched again)"
  with reading(path, what), open(path, encoding="utf-8") as file:
    found = [json.loads(line) for line in file]
    if not all(isinstance(r[k], str) for r in found for k in _FIELDS):
      raise ValueError("a field is no text")
  return found


def is_held_out(source: str) -> bool:
  """Whether a source package is kept for the target `debian_role`.

  A hash of the name decides; a quarter of the packages is. The packed recipe
  of pretraining reads no text of such a package.
  """
  return hashlib.blake2b(source.encode(), digest_size=8).digest()[0] < 64


def _read_index(folder, cache):
  """Downloads and joins apt's Packages and Translation-en indices."""
  for name in ("lists/partial", "cache/archives/partial"):
    (folder / name).mkdir(parents=True)
  options = [
    "-o",
    "Acquire::Languages=en",
    "-o",
    f"Dir::State::Lists={folder}/lists",
    "-o",
    f"Dir::Cache={folder}/cache",
    # Otherwise apt, if run by root, switches to a user who cannot write here.
    "-o",
    "APT::Sandbox::User=root",
  ]
  what = "Debian's package descriptions"

  def run(*command):
    return packages.run_client(list(command), folder, what, cache).decode(
      errors="replace"
    )

  run("apt-get", *options, "update")
  targets = run(
    "apt-get", "indextargets", *options, "--format", "$(CREATED_BY) $(FILENAME)"
  )
  paths = {"Packages": [], "Translations": []}
  for line in targets.splitlines():
    kind, _, name = line.partition(" ")
    if kind in paths and pathlib.Path(name).exists():
      paths[kind].append(name)
  if not paths["Packages"] or not paths["Translations"]:
    raise packages.DataUnavailableError(
      f"cannot fetch {what}: apt knows no package index with English"
      " descriptions. It is needed for pretraining only."
    )
  long_descriptions = {}
  for name in paths["Translations"]:
    for entry in _entries(run("/usr/lib/apt/apt-helper", "cat-file", name)):
      if "Description-en" in entry:
        long_descriptions[entry.get("Description-md5")] = entry[
          "Description-en"
        ]
  rows = {}
  for name in paths["Packages"]:
    for entry in _entries(run("/usr/lib/apt/apt-helper", "cat-file", name)):
      text = long_descriptions.get(entry.get("Description-md5"))
      if text is None or entry["Package"] in rows:
        continue
      short, _, rest = text.partition("\n")
      source = entry.get("Source", entry["Package"]).split(" ")[0]
      rows[entry["Package"]] = {
        "package": entry["Package"],
        "source": source,
        "section": entry.get("Section", ""),
        "short": short.strip(),
        "long": " ".join(
          "" if line.strip() == "." else line.strip()
          for line in rest.splitlines()
        ).strip(),
      }
  return [rows[name] for name in sorted(rows)]


def _entries(text):
  """Yields the paragraphs of a Debian control file as dicts."""
  for paragraph in text.split("\n\n"):
    entry, field = {}, None
    for line in paragraph.splitlines():
      if line.startswith(" ") and field:
        entry[field] += "\n" + line[1:]
      elif ":" in line:
        field, _, value = line.partition(":")
        entry[field] = value.strip()
    if entry:
      yield entry
