"""Exports prompts to files of other programs, and imports them from there.

  peft         a folder that PEFT loads; see `peft`
  npz          all arrays and fields of the bank in one NumPy file
  safetensors  our own format, for a part of a bank or for merged prompts
  npy          import only: one [P, D] prompt of google-research/prompt-tuning

Axis letters: P prompt_length, D emb_dim, N num_slots, G groups.
"""

import dataclasses
import json
import pathlib
import re
import warnings

import numpy as np

from mpt_jax.backbones.backbone import identify_backbone, is_hugging_face
from mpt_jax.export import card, peft
from mpt_jax.export.numpy_files import read_npy, read_npz, to_float32
from mpt_jax.io import digests, files
from mpt_jax.io.errors import reading
from mpt_jax.prompts.bank import (
  FORMAT,
  PromptBank,
  check_backbone,
  concatenate,
  select,
)
from mpt_jax.prompts.kind import GROUPS, SLOTS
from mpt_jax.prompts.kinds import read_sizes, recognise_kind
from mpt_jax.prompts.plain import plain_params

EXPORTS = ("peft", "npz", "safetensors")
IMPORTS = ("peft", "npz", "npy")
# The file of the fields that PEFT's files cannot hold. Each adapter has one. A
# folder of several adapters has another one, with their order.
NOTES = "mpt_jax.json"
# The field of the notes with the SHA-256 of the file of the tensors.
_SHA256 = "tensors_file_sha256"


# -------------------------------------------------------------------- out


def export_prompts(
  bank: PromptBank,
  how: str,
  out,
  *,
  backbone=None,
  base_model=None,
  facts=None,
) -> list[str]:
  """Writes a bank for other programs.

  An adapter of PEFT's holds one P*. If the bank has several, or several plain
  prompts, `out` becomes a folder of adapters: one for each P*.

  Args:
    bank: the prompts; `bank.select` and `bank.merge` make such banks.
    how: one of `EXPORTS`.
    out: the file or, for PEFT, the folder. It must not exist.
    backbone: the prompts' T5, to be checked; PEFT's config describes it.
    base_model: the model that PEFT's config names. By default it is the
      backbone's folder, if that is one of Hugging Face's.
    facts: what `card.read_facts` says of the prompts' run, for the README.md of
      an adapter; None if the run is not known.

  Returns:
    Lines that say what was written.

  Raises:
    ValueError: `out` exists, the prompts belong to another T5, PEFT has no
      method for them, or `how` is unknown.
  """
  if how not in EXPORTS:
    raise ValueError(f"--to must be one of {', '.join(EXPORTS)}, got {how!r}")
  out = files.check_free(out, folder=how == "peft")
  # Merging multiplies, so it may make infinite numbers of finite ones.
  bank.check_finite("the prompts for the export")
  details = {"base_model": base_model}
  if backbone is not None:
    config, fingerprint = identify_backbone(backbone)
    check_backbone(bank, fingerprint, backbone=backbone)
    details["num_layers"] = config.num_encoder_layers
    details["num_heads"] = config.num_heads
    if base_model is None and is_hugging_face(backbone):
      details |= peft.name_base(backbone)
  if how == "safetensors":
    bank.save(out)
  elif how == "npz":
    _write_npz(bank, out)
  else:
    return _write_adapters(bank, out, details, facts or {})
  return [f"{out}: {bank.listing}"]


def _write_npz(bank, out):
  arrays = {k: np.asarray(v, np.float32) for k, v in bank.params.items()}
  arrays[FORMAT] = np.array(json.dumps(bank.fields))
  with files.replacing(out) as temporary, temporary.open("wb") as file:
    np.savez(file, **arrays)


def _write_adapters(bank, out, details, facts):
  """Writes adapters into a folder that appears when it is complete."""
  parts = _one_adapter_each(bank)
  folders = [pathlib.Path()]
  if len(parts) > 1:
    folders = [pathlib.Path(name) for name in _folder_names(parts)]
  lines = []
  with files.new_folder(out) as temporary:
    for folder, part in zip(folders, parts, strict=True):
      (temporary / folder).mkdir(parents=True, exist_ok=True)
      peft.write_adapter(
        temporary / folder, part.params, part.groups, **details
      )
      tensors = digests.file_sha256(temporary / folder / peft.TENSORS)
      _write_notes(temporary / folder, {**part.fields, _SHA256: tensors})
      text = card.make_card(
        part, (out / folder).name, details["base_model"], facts
      )
      (temporary / folder / card.FILE).write_text(text, encoding="utf-8")
      lines.append(f"{out / folder}: {_describe(part)}")
    if len(parts) > 1:
      _write_notes(temporary, {"names": bank.names})
      if not bank.config.is_plain:
        lines.append(
          f"The bank has {len(parts)} shared prompts and an adapter of PEFT's"
          " holds one, so there is a folder for each. --merge writes every"
          " prompt as a plain one of its own instead."
        )
  return lines


def _one_adapter_each(bank):
  """Splits a bank into banks of one group each."""
  members = [[] for _ in range(bank.config.num_groups)]
  for name, group in zip(bank.names, bank.groups, strict=True):
    members[group].append(name)
  if bank.config.is_plain:
    # Slots that share a plain prompt become one prompt.
    members = [[name] for name in bank.names]
  return [select(bank, names) for names in members]


def _folder_names(parts):
  """Names a folder for each part: by its one prompt, or by its group."""
  taken = set()
  for number, part in enumerate(parts):
    name = part.names[0] if len(part.names) == 1 else f"group_{number}"
    name = re.sub(r"[^\w.-]", "_", name).lstrip(".") or "prompt"
    while name in taken:
      name += f"_{number}"
    taken.add(name)
    yield name


def _write_notes(folder, fields):
  text = json.dumps(digests.seal(fields), indent=2, ensure_ascii=False)
  (folder / NOTES).write_text(text + "\n", encoding="utf-8")


def _describe(part):
  method = part.config.find_kind().peft_type
  if part.config.is_plain:
    return f"{method}, {part.names[0]}"
  ids = ", ".join(f"{i} {name}" for i, name in enumerate(part.names))
  return f"{method}, task_ids {ids}"


# --------------------------------------------------------------------- in


def import_prompts(
  sources, how: str, *, backbone=None, names=(), encoder_half=False
) -> PromptBank:
  """Reads other programs' prompts as one bank.

  Args:
    sources: files, or PEFT's folders (or folders of them).
    how: one of `IMPORTS`.
    backbone: the T5 that the prompts were trained on. None takes the one that
      the source names.
    names: names of all prompts, in their order. If empty, they are those in
      the source, or are made from the names of files and folders.
    encoder_half: see `peft.read_adapter`.

  Returns:
    The bank. If the labels and the template of a prompt are not known,
    prediction generates text and takes the input text as it is.

  Raises:
    FileNotFoundError: a source does not exist.
    ValueError: a source has another format, or does not fit the T5.
  """
  if how not in IMPORTS:
    raise ValueError(f"--from must be one of {', '.join(IMPORTS)}, got {how!r}")
  base = None if backbone is None else peft.Base.open(backbone)
  known = None if base is None else base.fingerprint
  read = {
    "peft": lambda path: _read_peft(path, base, encoder_half),
    "npz": lambda path: _read_npz(path, known),
    "npy": lambda path: _read_npy(path, known),
  }[how]
  banks = []
  for path in map(pathlib.Path, sources):
    with reading(path, f"prompts of --from {how}"):
      banks.append(read(path))
  if names:
    # Rename first: files of several folders may have the same name.
    banks = _rename(banks, names)
  bank = concatenate(banks)
  bank.check_finite(", ".join(map(str, sources)))
  if base is not None and bank.emb_dim != base.config.emb_dim:
    raise ValueError(
      f"the prompts have width {bank.emb_dim}, the T5 {str(backbone)!r} has"
      f" emb_dim={base.config.emb_dim}"
    )
  return bank


def _rename(banks, names):
  """Gives the prompts of all banks new names, in their order."""
  old = [name for bank in banks for name in bank.names]
  if len(names) != len(old) or len(set(names)) < len(names):
    raise ValueError(
      f"--task must give {len(old)} different names, one for each"
      f" prompt ({', '.join(old)}), got {', '.join(names)}"
    )
  left, renamed = iter(names), []
  for bank in banks:
    slots = tuple(
      {**slot, "task": name}
      for slot, name in zip(bank.slots, left, strict=False)
    )
    renamed.append(
      dataclasses.replace(
        bank, names=tuple(slot["task"] for slot in slots), slots=slots
      )
    )
  return renamed


def _bank(params, names, groups, fingerprint, where):
  """Makes a bank of prompts whose labels and templates are not known."""
  if fingerprint is None:
    raise ValueError(
      f"{where} does not say which T5 its prompts belong to; give --backbone"
    )
  slots = tuple(
    {"task": name, "label_names": None, "template": None} for name in names
  )
  bank = PromptBank(params, tuple(names), tuple(groups), fingerprint, slots)
  bank.check_shapes(where)
  return bank


def _check_noted(bank, fingerprint, path):
  if fingerprint is not None:
    check_backbone(bank, fingerprint, f"the prompts of {path}", "--backbone")


def _read_peft(path, base, encoder_half):
  if not path.exists():
    raise FileNotFoundError(f"no PEFT adapter at {path}")
  inner = []
  if path.is_dir() and not peft.is_adapter(path):
    inner = sorted(p for p in path.iterdir() if peft.is_adapter(p))
  if inner:
    bank = concatenate([_read_adapter(p, base, encoder_half) for p in inner])
    order = _names(_read_notes(path))
    return select(bank, order) if set(order) == set(bank.names) else bank
  if path.is_dir():
    below = [p.name for p in sorted(path.iterdir()) if peft.is_adapter(p)]
    if below:
      warnings.warn(
        f"{path} has other adapters in it ({', '.join(below)}), which are not"
        " read; name their folders too",
        stacklevel=2,
      )
  return _read_adapter(path, base, encoder_half)


def _read_adapter(path, base, encoder_half):
  params, fields = peft.read_adapter(path, encoder_half)
  num_slots = read_sizes(params).get(SLOTS, 1)
  notes = _read_notes(path)
  if notes is not None:
    named = _names(notes)
    if len(named) not in (0, num_slots):
      raise ValueError(
        f"{path / NOTES} names {len(named)} prompts, but the adapter has"
        f" {num_slots}; remove the file if the adapter was trained again"
      )
    expected = notes.pop(_SHA256, None)
    if expected not in (None, digests.file_sha256(path / peft.TENSORS)):
      raise ValueError(
        f"{path / peft.TENSORS} is not the file that was exported: its SHA-256"
        f" differs from that in {NOTES}; copy it again, or remove {NOTES} if"
        " the adapter was trained since"
      )
    bank = PromptBank.from_fields(params, notes, path / NOTES)
    _check_noted(bank, base and base.fingerprint, path)
    return bank
  base = peft.check_base(path, fields, base)
  stem = path.resolve().name
  names = (
    [stem] if num_slots == 1 else [f"{stem}_{i}" for i in range(num_slots)]
  )
  fingerprint = None if base is None else base.fingerprint
  return _bank(params, names, [0] * num_slots, fingerprint, path)


def _names(notes) -> list[str]:
  """The names of prompts in a description, as far as there are any."""
  names = notes.get("names") if isinstance(notes, dict) else None
  is_list = isinstance(names, list) and all(isinstance(n, str) for n in names)
  return names if is_list else []


def _read_notes(folder):
  path = folder / NOTES
  if not path.is_file():
    return None
  return digests.read_sealed(path, "the notes about an adapter")


def _read_npz(path, fingerprint):
  arrays = read_npz(path)
  fields = arrays.pop(FORMAT, None)
  try:
    leaves = recognise_kind(arrays).leaves
  except ValueError as error:
    raise ValueError(f"{path} does not hold prompts: {error}") from error
  params = {}
  for name, array in arrays.items():
    array = to_float32(path, name, array)
    # Other programs write one shared array without the axis of groups.
    if (
      leaves[name].axes[0] == GROUPS
      and array.ndim == len(leaves[name].axes) - 1
    ):
      array = array[None]
    params[name] = array
  sizes = read_sizes(params)
  num_groups = sizes.get(GROUPS, sizes.get(SLOTS))
  num_slots = sizes.get(SLOTS, num_groups)
  if not num_slots or not num_groups:
    raise ValueError(f"{path} holds no prompt")
  if fields is not None:
    try:
      fields = json.loads(str(fields))
    except ValueError as error:
      raise ValueError(f"{path}: {FORMAT} is not JSON: {error}") from error
    bank = PromptBank.from_fields(params, fields, path)
    _check_noted(bank, fingerprint, path)
  else:
    if num_groups not in (1, num_slots):
      raise ValueError(
        f"{path} does not say which of the {num_slots} prompts share which of"
        f" the {num_groups} shared prompts"
      )
    names = [path.stem]
    if num_slots > 1:
      names = [f"{path.stem}_{i}" for i in range(num_slots)]
    groups = [0] * num_slots if num_groups == 1 else range(num_slots)
    bank = _bank(params, names, groups, fingerprint, path)
  return bank


def _read_npy(path, fingerprint):
  prompt = to_float32(path, "the prompt", read_npy(path))
  if prompt.ndim != 2:
    raise ValueError(
      f"{path} must hold one prompt [length, width], got shape {prompt.shape}"
    )
  params = plain_params(prompt[None])
  return _bank(params, [path.stem], [0], fingerprint, path)
