"""Digests: written with everything that is kept, compared when it is read.

A JSON object carries the SHA-256 of its other fields as `digest`. A folder has
a file `SHA256SUMS`, which the program `sha256sum -c` reads too. Arrays are
hashed as `update` says. Everything is described in docs/weights_and_prompts.md.
"""

import hashlib
import json

import numpy as np
from etils import epath

FIELD = "digest"
SUMS = "SHA256SUMS"


def update(digest, name: str, array):
  """Adds an array to a `hashlib` object: its name, its shape and its values.

  Args:
    digest: the `hashlib` object; arrays come sorted by name.
    name: the array's name.
    array: floats of any type; they count as float32.

  >>> digest = hashlib.sha256()
  >>> update(digest, "a", np.ones((2,)))
  >>> digest.hexdigest() == hashlib.sha256(
  ...   b"a (2,) " + np.ones((2,), "<f4").tobytes()
  ... ).hexdigest()
  True
  """
  digest.update(f"{name} {array.shape} ".encode())
  values = np.ascontiguousarray(array, np.float32)
  digest.update(values.reshape(-1).view(np.uint8))


def canonical(fields) -> bytes:
  """The JSON text of some fields that is hashed.

  >>> canonical({"b": 1.5, "a": ["é"]})
  b'{"a":["\\\\u00e9"],"b":1.5}'
  """
  return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def seal(fields: dict) -> dict:
  """Adds the digest of some fields to them."""
  return {**fields, FIELD: hashlib.sha256(canonical(fields)).hexdigest()}


def unseal(fields: dict, path) -> dict:
  """Compares the fields of a file with their digest.

  Args:
    fields: what the file holds. Without a digest, as released versions wrote
      it, there is nothing to compare.
    path: the file, for the error.

  Returns:
    The fields without the digest.

  Raises:
    ValueError: they are not those that were written.
  """
  if not isinstance(fields, dict):
    return fields
  if FIELD not in fields:
    if any(_is_damaged_name(name) for name in fields):
      raise ValueError(f"{path} is damaged: so is the name of its {FIELD!r}")
    return fields
  rest = {k: v for k, v in fields.items() if k != FIELD}
  if hashlib.sha256(canonical(rest)).hexdigest() != fields[FIELD]:
    raise ValueError(
      f"{path} is damaged: its fields differ from its {FIELD!r}; copy the file"
      f" again. If you changed it on purpose, remove {FIELD!r} from it"
    )
  return rest


def _is_damaged_name(name) -> bool:
  """Whether a field's name is `FIELD` but for one character."""
  same = sum(a == b for a, b in zip(name, FIELD, strict=False))
  return len(name) == len(FIELD) and same == len(FIELD) - 1


def read_sealed(path, what: str) -> dict:
  """Reads a JSON object from a file and compares it with its digest.

  Args:
    path: the file, an `epath.Path` or a `pathlib.Path`.
    what: what the file is, such as "the settings of a run".

  Raises:
    ValueError: the file is damaged.
  """
  try:
    fields = json.loads(path.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  if not isinstance(fields, dict):
    raise ValueError(
      f"{path} is damaged: {what} must be a JSON object, got {fields!r:.40}"
    )
  return unseal(fields, path)


def read_lines(path):
  """Reads a file of JSON objects with digests, one in each line.

  Yields:
    (line number from 1, fields without the digest); the fields are None if the
    line is damaged, or was not finished.
  """
  for number, line in enumerate(path.read_bytes().splitlines(), 1):
    try:
      fields = unseal(json.loads(line), path)
    except (ValueError, RecursionError):
      fields = None
    yield number, fields if isinstance(fields, dict) else None


def file_sha256(path) -> str:
  """The SHA-256 of a file, as 64 hex digits."""
  with epath.Path(path).open("rb") as file:
    if hasattr(file, "fileno"):
      return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(file.read()).hexdigest()


def find_files(folder) -> list[str]:
  """The relative paths of all files below a folder, sorted.

  Hidden files are left out, because file systems make some.
  """
  found, todo = [], [("", epath.Path(folder))]
  while todo:
    prefix, current = todo.pop()
    for path in current.iterdir():
      if path.name.startswith("."):
        continue
      if path.is_dir():
        todo.append((f"{prefix}{path.name}/", path))
      else:
        found.append(prefix + path.name)
  return sorted(found)


def sums(folder, names) -> str:
  """The text of a SHA256SUMS file.

  Args:
    folder: the folder.
    names: the files' paths in it.
  """
  folder = epath.Path(folder)
  return "".join(f"{file_sha256(folder / n)}  {n}\n" for n in names)


def compare_sums(folder, path, names) -> str | None:
  """Compares the files of a folder with a SHA256SUMS file.

  Args:
    folder: the folder.
    path: the SHA256SUMS file.
    names: the files that are there now.

  Returns:
    What is wrong, or None.
  """
  folder, path = epath.Path(folder), epath.Path(path)
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
    expected = {name: digest for digest, name in (x.split("  ") for x in lines)}
  except (OSError, ValueError):
    return f"{path.name} cannot be read"
  for name in sorted(expected.keys() | set(names)):
    if name not in names:
      return f"{name} is missing"
    if name not in expected:
      return f"{name} was added"
    if file_sha256(folder / name) != expected[name]:
      return f"the SHA-256 of {name} differs from {path.name}"
  return None
