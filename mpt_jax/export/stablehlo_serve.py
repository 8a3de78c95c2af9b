"""Serves a folder made by `mpt export --to stablehlo`.

It needs jax and flatbuffers, with which jax.export reads its files, and
sentencepiece for text. `mpt export` copies this file into the folder as
serve.py, where it works without mpt_jax:

  echo '{"task": "NAME", "text": "..."}' | python serve.py

  from serve import Server
  Server("folder").predict([{"task": "NAME", "ids": [37, 423, 1]}])

A task is prompts/NAME.npy, float32 [P, D], and beside it NAME.json with its
template and labels, if it has any. Both are read when the task is first used. A
new task is a new file, and needs no compilation.

Axis letters: B rows of a batch, L tokens of an input, P prompt_length,
D emb_dim, T tokens of an output, C tokens of the labels of a row.
"""

import contextlib
import hashlib
import json
import pathlib
import re
import sys
import urllib.parse

import jax
import numpy as np
from jax import export

EOS_ID = 1
_BRACES = re.compile(r"\{\{|\}\}|\{((?:\{\{[^{}]*}}|\{[^{}]*}|[^{}])+)}|[{}]")
SIZES = ("prompt_length", "emb_dim", "vocab_size", "labels_length")
FIELDS = {"format": str, "vocabulary": str, **dict.fromkeys(SIZES, int)}
FIELDS |= {"inputs_lengths": list, "sha256": dict}
DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(jax.numpy.bfloat16)}


class Server:
  """The programs, weights and prompts of a folder.

  Args:
    folder: what `mpt export --to stablehlo` wrote.
    check: compare the SHA-256 of all files with the manifest's.
    batch_size: the largest number of rows to compute at once.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the folder is not such an export, or a file was changed.
  """

  def __init__(self, folder=".", check=True, batch_size=32):
    self.folder = pathlib.Path(folder)
    self.manifest = read_manifest(self.folder)
    if check:
      for name, expected in self.manifest["sha256"].items():
        _check_sha256(self.folder / name, expected)
    self.batch_size = batch_size
    self.num_truncated = 0
    weights = read_tensors(self.folder / "weights.safetensors")
    self._weights = {name: jax.device_put(array) for name, array in weights}
    self._tasks, self._programs, self._vocabulary = {}, {}, None

  def names(self):
    """The names of all tasks that have a prompt now."""
    files = (self.folder / "prompts").glob("*.npy")
    return sorted(urllib.parse.unquote(path.stem) for path in files)

  def task(self, name):
    """A task: "prompt" [P, D], and maybe template, labels and their tokens."""
    if name in self._tasks:
      return self._tasks[name]
    stem = self.folder / "prompts" / urllib.parse.quote(str(name), safe="")
    path = stem.with_name(stem.name + ".npy")
    if not path.is_file():
      raise ValueError(
        f"no task {name!r} in {self.folder}; it has {', '.join(self.names())}"
      )
    fields, notes = {}, stem.with_name(stem.name + ".json")
    if notes.is_file():
      fields = _read_json(notes)
    if "sha256" in fields:
      _check_sha256(path, fields["sha256"])
    if fields.get("backbone") not in (None, self.manifest.get("backbone")):
      raise ValueError(f"{path} was exported for another T5 than this folder's")
    with _reading(path, "a .npy file"):
      prompt = np.load(path, allow_pickle=False)
    expected = (self.manifest["prompt_length"], self.manifest["emb_dim"])
    if prompt.shape != expected or prompt.dtype != np.float32:
      raise ValueError(
        f"{path} must hold one float32 prompt [prompt_length, emb_dim] ="
        f" {list(expected)}, got {prompt.dtype} {list(prompt.shape)}"
      )
    if not np.isfinite(prompt).all():
      raise ValueError(f"{path} holds NaN or infinite values")
    return self._tasks.setdefault(name, {**fields, "prompt": prompt})

  def reload(self):
    """Forgets the prompts, which are read again when they are next used."""
    self._tasks.clear()

  def _program(self, kind, length):
    """Returns the jitted program for inputs of this many tokens."""
    name = f"{kind}_{length}.stablehlo"
    if name not in self._programs:
      path = self.folder / "programs" / name
      with _reading(path, "a program of jax.export"):
        exported = export.deserialize(bytearray(path.read_bytes()))
      self._programs[name] = jax.jit(exported.call)
    return self._programs[name]

  def _run(self, kind, names, inputs, *more):
    """Pads the fitting inputs and calls a program; returns their output."""
    longest = max(len(ids) for ids in inputs)
    length = next(n for n in self.manifest["inputs_lengths"] if n >= longest)
    # Round up to a power of two; otherwise every size is compiled.
    num_rows = 1 << (len(inputs) - 1).bit_length()
    tokens = np.zeros((num_rows, length), np.int32)
    used = np.zeros((num_rows,), np.int32)
    for i, ids in enumerate(inputs):
      tokens[i, : len(ids)] = ids
      used[i] = len(ids)
    prompts, *more = (
      np.pad(x, [(0, num_rows - len(x))] + [(0, 0)] * (x.ndim - 1))
      for x in (np.stack([self.task(n)["prompt"] for n in names]), *more)
    )
    arguments = self._weights, prompts, tokens, used, *more
    return np.asarray(self._program(kind, length)(*arguments))[: len(inputs)]

  def _fitting(self, inputs, *others):
    """Checks the inputs and cuts long ones, but not their end of sequence."""
    counts = [len(rows) for rows in (inputs, *others)]
    if len(set(counts)) > 1:
      raise ValueError(f"inputs, names and labels differ in number: {counts}")
    inputs = [self._checked_ids(ids) for ids in inputs]
    size = self.manifest["inputs_lengths"][-1]
    self.num_truncated += sum(len(ids) > size for ids in inputs)
    return [np.append(ids[:-1][: size - 1], ids[-1]) for ids in inputs]

  def _checked_ids(self, ids):
    ids = np.asarray(ids)
    size = self.manifest["vocab_size"]
    fits = ids.ndim == 1 and len(ids) and np.issubdtype(ids.dtype, np.integer)
    if not fits or ids.min() < 0 or ids.max() >= size:
      raise ValueError(
        f"ids must be a list of integers in [0, vocab_size={size}), at least"
        f" one, got {str(ids.tolist()):.60}"
      )
    return ids

  def generate(self, names, inputs):
    """Greedy decoding.

    Args:
      names: the B rows' tasks.
      inputs: their token ids, end of sequence (1) included, any lengths.

    Returns:
      [B, T] int32: token ids, the end of sequence, then zeros.
    """
    return self._run("greedy", names, self._fitting(inputs, names))

  def score(self, names, inputs, labels):
    """Log-probabilities of given outputs.

    Args:
      names: the B rows' tasks.
      inputs: their token ids, end of sequence (1) included.
      labels: for each row a list of labels, which are token ids like these.

    Returns:
      For each row an array [number of labels] float32, in nats.
    """
    inputs = self._fitting(inputs, names, labels)
    size = self.manifest["labels_length"]
    scores = [np.zeros(len(row), np.float32) for row in labels]
    # (row, labels that are scored together, tokens [C], labels' numbers [C])
    parts = []
    for row, candidates in enumerate(labels):
      end = size + 1
      for label, ids in enumerate(map(self._checked_ids, candidates)):
        if len(ids) > size:
          raise ValueError(
            f"a label of {len(ids)} tokens is longer than labels_length={size}"
            " of this export"
          )
        if end + len(ids) > size:
          parts.append((row, [], *np.zeros((2, size), np.int32)))
          end = 0
        _, taken, tokens, numbers = parts[-1]
        taken.append(label)
        span = slice(end, end + len(ids))
        tokens[span], numbers[span] = ids, len(taken)
        end = span.stop
    for start in range(0, len(parts), self.batch_size):
      some = parts[start : start + self.batch_size]
      rows, takens, *arrays = zip(*some, strict=True)
      args = ([values[row] for row in rows] for values in (names, inputs))
      found = self._run("score", *args, *map(np.stack, arrays))
      for row, taken, values in zip(rows, takens, found, strict=True):
        scores[row][taken] = values[: len(taken)]
        if not np.isfinite(values[: len(taken)]).all():
          raise ValueError(f"scores of {names[row]!r} are not finite numbers")
    return scores

  def predict(self, rows):
    """Predicts for rows of any tasks.

    Args:
      rows: dicts with "task" and either "ids" (token ids, taken as they are)
        or the fields of the task's template, or "text".

    Returns:
      For each row a copy of it with "prediction". For tasks with labels it is
      the most probable label, and "scores" has the scores of all. For the
      others it is the generated text, if sentencepiece is installed, and
      "prediction_ids" has its tokens.

    Raises:
      ValueError: a row lacks a field, or the value of a field is wrong.
    """
    inputs = [self._input_ids(row) for row in rows]
    names = [row["task"] for row in rows]
    results = [dict(row) for row in rows]
    labels = [self.task(name).get("label_tokens") for name in names]
    order = sorted(range(len(rows)), key=lambda i: len(inputs[i]))
    for kind in (True, False):
      chosen = [i for i in order if bool(labels[i]) == kind]
      for start in range(0, len(chosen), self.batch_size):
        part = chosen[start : start + self.batch_size]
        args = [[each[i] for i in part] for each in (names, inputs, labels)]
        made = self.score(*args) if kind else self.generate(*args[:2])
        for i, values in zip(part, made, strict=True):
          results[i] |= self._result(names[i], values, kind)
    return results

  def _result(self, name, values, has_labels):
    if has_labels:
      label_names = self.task(name)["label_names"]
      return {
        "prediction": label_names[int(values.argmax())],
        "scores": dict(zip(label_names, values.tolist(), strict=True)),
      }
    ids = values.tolist()
    result = {"prediction_ids": ids[: ids.index(EOS_ID)] if 1 in ids else ids}
    if vocabulary := self._load_vocabulary():
      result["prediction"] = vocabulary.decode(result["prediction_ids"])
    return result

  def _input_ids(self, row):
    if not isinstance(row, dict) or not isinstance(row.get("task"), str):
      raise ValueError(f'a row must be like {{"task": "a"}}, got {row!r:.60}')
    task = self.task(row["task"])
    if "ids" in row:
      return self._checked_ids(row["ids"])
    vocabulary = self._load_vocabulary()
    if vocabulary is None:
      raise ValueError(
        'text needs sentencepiece (pip install sentencepiece); or give "ids"'
      )
    text = _fill(task.get("template"), row)
    text.encode()  # Raises a ValueError at half of a surrogate pair.
    return [*vocabulary.encode(text), EOS_ID]

  def _load_vocabulary(self):
    if self._vocabulary is None:
      path = self.folder / self.manifest["vocabulary"]
      if path.suffix == ".json":
        self._vocabulary = Bytes()
      else:
        try:
          import sentencepiece
        except ImportError:
          return None
        processor = sentencepiece.SentencePieceProcessor
        with _reading(path, "a sentencepiece model"):
          self._vocabulary = Pieces(processor(model_proto=path.read_bytes()))
    return self._vocabulary


class Pieces:
  """A sentencepiece model, which may have fewer pieces than there are ids."""

  def __init__(self, model):
    self.encode, self._model = model.encode, model

  def decode(self, ids):
    size, unknown = self._model.get_piece_size(), self._model.unk_id()
    return self._model.decode([i if i < size else unknown for i in ids])


class Bytes:
  """ByT5's vocabulary: three special ids, then the bytes."""

  def encode(self, text):
    return [3 + byte for byte in text.encode("utf-8")]

  def decode(self, ids):
    data = bytes(i - 3 for i in ids if 3 <= i < 259)
    return data.decode("utf-8", errors="ignore")


def _fill(template, row):
  """Fills a template by the rules of `mpt_jax.data.templates`."""
  template, text, end = template or "{text}", "", 0
  found = list(_BRACES.finditer(template))
  names = [(m[1] or "").replace("{{", "{").replace("}}", "}") for m in found]
  if len({*names} - {""}) == 1 and "text" in row:
    row = dict.fromkeys(names, row["text"]) | row
  for match, name in zip(found, names, strict=True):
    text, end = text + template[end : match.start()], match.end()
    value = row if name else match[0][0]
    for part in ([name] if name in row else name.split(".")) if name else ():
      value = value.get(part) if isinstance(value, dict) else None
    number = type(value) in (int, float) and np.isfinite(value)
    if not number and not isinstance(value, str):
      raise ValueError(
        f"no text or number in field {name!r} for the template"
        f" {template!r:.200}: {value!r:.60}; the row has {', '.join(row)}"
      )
    text += str(value)
  return text + template[end:]


def read_manifest(folder):
  """Reads manifest.json; raises if it is missing or not one of ours."""
  path = pathlib.Path(folder) / "manifest.json"
  manifest = _read_json(path)
  wrong = [k for k, kind in FIELDS.items() if type(manifest.get(k)) is not kind]
  if wrong or manifest["format"] != "mpt_jax.stablehlo":
    raise ValueError(f"{path} was not written by `mpt export --to stablehlo`")
  return manifest


@contextlib.contextmanager
def _reading(path, what):
  """Turns whatever a library raises over a file into one line."""
  try:
    yield
  except FileNotFoundError:
    raise
  except Exception as error:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    raise ValueError(f"{path} is not {what}: {text:.300}") from error


def _read_json(path):
  """Reads a JSON object; if it has a "digest", its other fields must fit."""
  with _reading(path, "JSON"):
    fields = json.loads(path.read_text(encoding="utf-8"))
  if not isinstance(fields, dict):
    raise ValueError(f"{path} must hold a JSON object, got {fields!r:.60}")
  expected = fields.pop("digest", None)
  text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
  if expected not in (None, hashlib.sha256(text.encode()).hexdigest()):
    raise ValueError(f"{path} is damaged (its digest differs); copy it again")
  return fields


def read_tensors(path):
  """Yields (name, array) of a safetensors file, mapped rather than read."""
  with _reading(path, "a safetensors file"):
    data = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    for name, tensor in header.items():
      begin, end = (start + offset for offset in tensor["data_offsets"])
      dtype, shape = DTYPES[tensor["dtype"]], tensor["shape"]
      yield name, data[begin:end].view(dtype).reshape(shape)


def _check_sha256(path, expected):
  with open(path, "rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest()
  if found != expected:
    raise ValueError(f"{path} is damaged (its SHA-256 differs); copy it again")


def main():
  """Answers lines of JSON from standard input, from this file's folder."""
  try:
    server = Server(pathlib.Path(__file__).parent)
    rows = []
    for number, line in enumerate(sys.stdin.buffer, 1):
      with _reading(f"line {number}", "JSON"):
        if line.strip():
          rows.append(json.loads(line.decode("utf-8")))
    for row in server.predict(rows):
      print(json.dumps(row, ensure_ascii=False))
  except (ValueError, OSError) as error:
    sys.exit(f"error: {error}")
  if server.num_truncated:
    print(f"{server.num_truncated} inputs were cut", file=sys.stderr)


if __name__ == "__main__":
  main()
