"""Exports prompts and their T5 as a folder that serves without mpt_jax.

`jax.export` compiles programs that take the weights and the prompts as
arguments, for any number of rows. The folder holds

  programs/greedy_L.stablehlo   greedy decoding of inputs of up to L tokens
  programs/score_L.stablehlo    log-probabilities of labels
  weights.safetensors           the T5, tensors under t5x's names
  prompts/NAME.npy, NAME.json   a task: [P, D] float32; template and labels
  sentencepiece.model           or byte_vocabulary.json
  manifest.json                 shapes, versions, SHA-256 of the files; it and
                                prompts/NAME.json have a digest of their own
  serve.py, README.md           `stablehlo_serve`, and how to run it

Axis letters: B batch, L inputs_length, P prompt_length, D emb_dim,
T targets_length, C labels_length.
"""

import hashlib
import json
import pathlib
import shutil
import urllib.parse

import jax
import numpy as np
from flax import traverse_util

from mpt_jax.backbones.backbone import (
  check_vocabulary,
  identify_backbone,
  load_backbone,
)
from mpt_jax.backbones.shapes import parameter_shapes
from mpt_jax.backbones.tensor_files import DTYPES, write_tensors
from mpt_jax.data.batches import EOS_ID
from mpt_jax.export import stablehlo_serve
from mpt_jax.export.stablehlo_programs import write_programs
from mpt_jax.io import digests, files
from mpt_jax.io.finite import check_finite
from mpt_jax.model.network import T5
from mpt_jax.prompts.bank import PromptBank, check_backbone
from mpt_jax.text import vocabularies, vocabulary_files
from mpt_jax.text.vocabularies import Tokenizer

PLATFORMS = ("cpu", "cuda", "tpu")  # The default; "rocm" is possible too.
# Bounds of the number of label tokens that are scored together, because the
# logits are [B, C, V]. Further labels need another call of the program.
LEAST_LABELS_LENGTH, MOST_LABELS_LENGTH = 64, 128
_SHORTEST = 32
# The arguments of the programs, for callers without serve.py.
_SIGNATURES = {
  "greedy_L": "weights {name: array}, prompts float32 [B, P, D], tokens"
  " int32 [B, L], lengths int32 [B] -> int32 [B, targets_length]",
  "score_L": "weights, prompts, tokens, lengths, labels int32 [B, C],"
  " label_numbers int32 [B, C] -> float32 [B, C]; C = labels_length",
}
_README = """\
# A T5 with prompts, compiled ahead of time

Made by `mpt export --to stablehlo`. It needs jax and `flatbuffers`, with
which jax reads such files, and `sentencepiece` for text:

```sh
pip install jax flatbuffers sentencepiece
echo '{"task": "NAME", "text": "..."}' | python serve.py
```

The tasks are the files in `prompts/`. Instead of `"text"` a row may give the
other fields of the task's template, or `"ids"`, the token ids of the finished
input with the end of sequence (1). In Python: `Server(folder).predict(rows)` of
`serve.py`, and `generate` and `score` for arrays of ids.

**A new task** is a new prompt and needs no compiling: `mpt export NEW_RUN --to
stablehlo --add --out THIS_FOLDER`. A float32 array [prompt_length, emb_dim]
saved by `numpy.save` as `prompts/NAME.npy` is a prompt too; without a
`prompts/NAME.json` like the others it generates text. A running server finds it
at once. If you replace a prompt, call `Server.reload()`.

| | |
| --- | --- |
| `programs/` | StableHLO of `jax.export`, see below |
| `weights.safetensors` | the T5 |
| `prompts/` | [prompt_length, emb_dim] float32; template and labels as JSON |
| `manifest.json` | shapes, versions, platforms, SHA-256 of the files |

Some programs decode greedily, and some score labels. They take any number of
rows, and each file name has the largest number of input tokens.

jax supports such programs for six months after the version in `manifest.json`.
If a later version refuses them, export again. Each program is compiled when it
is first called with a new number of rows. Set `JAX_COMPILATION_CACHE_DIR` to a
folder to keep the compiled programs.
"""


def default_lengths(inputs_length: int) -> list[int]:
  """Lengths to make programs for: doubled until the longest input fits.

  >>> default_lengths(200)
  [32, 64, 128, 200]
  >>> default_lengths(16)
  [16]
  """
  lengths = []
  while _SHORTEST << len(lengths) < inputs_length:
    lengths.append(_SHORTEST << len(lengths))
  return [*lengths, inputs_length]


def export_stablehlo(
  bank: PromptBank,
  out,
  backbone,
  *,
  inputs_lengths,
  targets_length: int,
  platforms=PLATFORMS,
  dtype: str | None = None,
  report=lambda done, total: None,
) -> list[str]:
  """Writes the folder.

  Args:
    bank: the prompts; each becomes a plain one.
    out: the folder; it must not exist, or be empty.
    backbone: the prompts' T5, see `load_backbone`.
    inputs_lengths: L of each pair of programs; an input takes the shortest
      program that it fits.
    targets_length: T, the largest number of tokens to generate.
    platforms: some of "cpu", "cuda", "tpu" and "rocm".
    dtype: type of weights and computation; None keeps that of the T5.
    report: called with the numbers of programs made and to be made.

  Returns:
    Lines for the user about the folder.

  Raises:
    FileNotFoundError: the T5 or its vocabulary is missing.
    ValueError: `out` is not free, the prompts belong to another T5, a length
      is below 1, or a platform is unknown.
  """
  out = files.check_free(out)
  composed = _compose(bank)
  lengths = _checked_lengths(inputs_lengths, targets_length)
  _check_platforms(platforms)
  loaded = load_backbone(backbone, dtype)
  check_backbone(bank, loaded.fingerprint)
  check_vocabulary(loaded)
  label_tokens = _label_tokens(bank, Tokenizer(loaded.vocabulary_path))
  labels_length = _labels_length(label_tokens)
  with files.new_folder(out) as folder:
    for name in ("programs", "prompts"):
      (folder / name).mkdir()
    flat = traverse_util.flatten_dict(loaded.params, sep="/")
    _write_weights(folder / "weights.safetensors", loaded.config, flat)
    vocabulary = _write_vocabulary(folder, loaded.vocabulary_path)
    shutil.copyfile(stablehlo_serve.__file__, folder / "serve.py")
    (folder / "README.md").write_text(_README, encoding="utf-8")
    version = write_programs(
      folder / "programs",
      T5(loaded.config),
      {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in flat.items()},
      bank.config.prompt_length,
      lengths,
      targets_length,
      labels_length,
      tuple(platforms),
      report,
    )
    manifest = {
      "format": "mpt_jax.stablehlo",
      "jax_version": jax.__version__,
      "calling_convention_version": version,
      "platforms": list(platforms),
      "backbone": loaded.fingerprint,
      "dtype": loaded.config.dtype,
      "prompt_length": bank.config.prompt_length,
      "emb_dim": loaded.config.emb_dim,
      "vocab_size": loaded.config.vocab_size,
      "inputs_lengths": lengths,
      "targets_length": targets_length,
      "labels_length": labels_length,
      "vocabulary": vocabulary,
      "programs": _SIGNATURES,
      "sha256": _digests(folder),
    }
    _write_json(folder / "manifest.json", manifest)
    _write_tasks(folder / "prompts", bank, composed, label_tokens)
  return [
    f"{out}: {bank.listing}",
    f"programs for inputs of up to {', '.join(map(str, lengths))} tokens, any"
    f" number of rows, on {', '.join(platforms)}; see {out / 'README.md'}",
  ]


def _checked_lengths(inputs_lengths, targets_length):
  lengths = sorted(set(inputs_lengths))
  if not lengths or lengths[0] < 1 or targets_length < 1:
    raise ValueError(
      "inputs_length and targets_length must be at least 1, got"
      f" {lengths} and {targets_length}"
    )
  return lengths


def _check_platforms(platforms):
  unknown = sorted(set(platforms) - {*PLATFORMS, "rocm"})
  if unknown or not platforms:
    raise ValueError(
      f"platforms must be some of cpu, cuda, rocm and tpu, got {platforms}"
    )


def _digests(folder):
  """The SHA-256 of all files of a folder, by relative path."""
  return {
    path.relative_to(folder).as_posix(): digests.file_sha256(path)
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def add_prompts(bank: PromptBank, folder, backbone=None) -> list[str]:
  """Adds prompts to a folder; nothing else in it changes.

  Args:
    bank: prompts of the same T5 and of the same length.
    folder: a folder of `export_stablehlo`.
    backbone: the prompts' T5, to check; None compares only the fingerprints.

  Returns:
    Lines for the user about the folder.

  Raises:
    FileNotFoundError: there is no such folder.
    ValueError: it has a prompt of that name, or the prompts do not fit.
  """
  folder = pathlib.Path(folder)
  manifest = stablehlo_serve.read_manifest(folder)
  check_backbone(bank, manifest["backbone"])
  if backbone is not None:
    check_backbone(bank, identify_backbone(backbone)[1])
  if bank.config.prompt_length != manifest["prompt_length"]:
    raise ValueError(
      f"the prompts have {bank.config.prompt_length} rows, those of {folder}"
      f" {manifest['prompt_length']}; export them to a folder of their own"
    )
  taken = [n for n in bank.names if _task_file(folder, n, ".npy").exists()]
  if taken:
    raise ValueError(
      f"{folder} has a prompt {taken[0]!r} already; remove"
      f" {_task_file(folder, taken[0], '.npy')}, or leave it out with --task"
    )
  label_tokens = _label_tokens(bank, Tokenizer(folder / manifest["vocabulary"]))
  for name, labels in zip(bank.names, label_tokens, strict=True):
    longest = max(map(len, labels or [[]]))
    if longest > manifest["labels_length"]:
      raise ValueError(
        f"a label of {name!r} has {longest} tokens, and the programs of"
        f" {folder} score at most {manifest['labels_length']}; export it to a"
        " folder of its own"
      )
  _write_tasks(folder / "prompts", bank, _compose(bank), label_tokens)
  return [f"{folder}: added {bank.listing}"]


def _task_file(folder, name, suffix):
  return folder / "prompts" / (urllib.parse.quote(name, safe="") + suffix)


def _label_tokens(bank, tokenizer):
  """The token ids of each prompt's labels; None for prompts without labels."""
  tokens = []
  for slot in bank.slots:
    labels = slot.get("label_names")
    tokens.append(labels and [[*tokenizer.encode(x), EOS_ID] for x in labels])
  return tokens


def _labels_length(label_tokens):
  """C: the tokens of all labels of a task, or fewer if they are many."""
  together = [sum(map(len, labels)) for labels in label_tokens if labels]
  longest = [max(map(len, labels)) for labels in label_tokens if labels]
  length = min(max(together, default=0), MOST_LABELS_LENGTH)
  return max(LEAST_LABELS_LENGTH, length, *longest, 0)


def _compose(bank):
  prompts = np.asarray(bank.composed, np.float32)
  check_finite(prompts, "the prompts", "the export")
  return prompts


def _write_tasks(folder, bank, prompts, label_tokens):
  for name, slot, prompt, tokens in zip(
    bank.names, bank.slots, prompts, label_tokens, strict=True
  ):
    path = _task_file(folder.parent, name, ".npy")
    # Rename the prompt last, because a server finds the task by this file.
    with files.replacing(path) as temporary:
      with temporary.open("wb") as file:
        np.save(file, prompt)
      fields = {
        "name": name,
        "backbone": bank.backbone,
        "template": slot.get("template"),
        "label_names": slot.get("label_names"),
        "label_tokens": tokens,
        "sha256": digests.file_sha256(temporary),
      }
      _write_json(_task_file(folder.parent, name, ".json"), fields)


def _write_json(path, fields):
  text = json.dumps(digests.seal(fields), indent=2, ensure_ascii=False)
  path.write_text(text + "\n", encoding="utf-8")


def _write_weights(path, config, flat):
  shapes = parameter_shapes(config)
  items = ((name, flat[name]) for name in shapes)
  digest = {"tensors": hashlib.sha256()}
  write_tensors(path, shapes, DTYPES[config.dtype], items, digest)


def _write_vocabulary(folder, path):
  """Copies the vocabulary and adds T5's sentinels; returns its name."""
  tokens = vocabularies.read_added_tokens(path)
  if tokens:
    raise ValueError(
      f"the tokenizer of {path} has added tokens ({tokens[0].content!r:.40}),"
      " which the exported folder cannot cut out of texts; export with a T5"
      " whose folder has the plain vocabulary (mpt convert --vocabulary)"
    )
  name = vocabulary_files.own_file_name(path)
  extra_ids = vocabularies.num_extra_ids(path)
  if vocabularies.is_bytes(path) or not extra_ids:
    shutil.copyfile(path, folder / name)
    return name
  from sentencepiece import sentencepiece_model_pb2

  model = sentencepiece_model_pb2.ModelProto()
  model.ParseFromString(pathlib.Path(path).read_bytes())
  model.MergeFromString(vocabularies.sentinel_pieces(extra_ids))
  (folder / name).write_bytes(model.SerializeToString())
  return name
