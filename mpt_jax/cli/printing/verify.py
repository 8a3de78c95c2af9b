"""What `mpt verify` checks: runs, prompt files, T5s, exports and sweeps.

Each check returns what it found out about a file that is as it was written, and
raises a ValueError or an OSError about one that is not.
"""

import json
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np
import rich.console
import rich.table
from etils import epath

from mpt_jax.backbones import own_folder
from mpt_jax.backbones.backbone import identify_backbone, open_backbone
from mpt_jax.backbones.t5x_checkpoints import find_checkpoint
from mpt_jax.export import peft
from mpt_jax.io import digests, paths
from mpt_jax.io.finite import check_finite
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import has_digest, load_bank, read_file
from mpt_jax.t5x import sums
from mpt_jax.training import checkpoint_files

OK, OLD, BAD = "ok", "no digest", "damaged"
_EXPORT = "mpt_jax.stablehlo"
_PROMPTS = ("best.safetensors", "last.safetensors")
_MISSING = "it is missing; copy it again"


class Item(NamedTuple):
  """A file or folder that was checked.

  Attributes:
    name: its path in what is checked.
    state: `OK`, `OLD` if it has no digest, or `BAD`.
    note: what else there is to say.
  """

  name: str
  state: str
  note: str


def verify(path, console: rich.console.Console) -> bool:
  """Checks what is at a path and prints a line for each item.

  Returns:
    Whether no item is damaged.

  Raises:
    FileNotFoundError: there is nothing at the path.
    ValueError: it is nothing that can be checked.
  """
  items = list(find_items(path))
  table = rich.table.Table.grid(padding=(0, 2))
  table.add_column()
  table.add_column(overflow="fold")
  styles = {OK: "green", OLD: "yellow", BAD: "bold red"}
  for item in items:
    text = rich.text.Text(item.name)
    if item.note:
      text.append(f": {item.note}", "default" if item.state == BAD else "dim")
    table.add_row(rich.text.Text(item.state, styles[item.state]), text)
  console.print(table)
  counts = {s: sum(i.state == s for i in items) for s in (OK, OLD, BAD)}
  shown = [f"{count} {state}" for state, count in counts.items() if count]
  console.print(f"{path}: {', '.join(shown)}", highlight=False, markup=False)
  return not counts[BAD]


def find_items(path):
  """Yields the items at a path; see `verify`."""
  if str(path) != "default":
    path = paths.absolute(path)
  folder = pathlib.Path(path)
  if str(path) == "default":
    yield from _check_t5("default", "")
  elif "://" in str(path):
    yield from _check_run(epath.Path(path), "")
  elif not folder.exists():
    raise FileNotFoundError(f"there is nothing at {path}")
  elif folder.is_file():
    yield _check(folder.name, _check_file, folder)
  elif (folder / run_settings.FILE).is_file() or (
    (folder / checkpoint_files.FOLDER).is_dir()
    and (folder / "prompts").is_dir()
  ):
    yield from _check_run(epath.Path(folder), "")
  elif _is_export(folder):
    yield from _check_export(folder)
  elif adapters := _adapters(folder):
    for adapter in adapters:
      yield _check(adapter.name, _check_adapter, adapter)
  elif (folder / "config.json").is_file():
    yield from _check_t5(folder, "")
  elif runs := sorted(folder.rglob(run_settings.FILE)):
    for settings in runs:
      run = settings.parent
      yield from _check_run(epath.Path(run), f"{run.relative_to(folder)}/")
  elif find_checkpoint(folder):
    yield from _check_t5(folder, "")
  else:
    raise ValueError(
      f"{path} is none of these: a run folder, a prompt file, the folder of a"
      " T5, an export, or the folder of a sweep"
    )


def _check(name, check, *args) -> Item:
  try:
    state, note = check(*args)
  except (ValueError, TypeError, OSError) as error:
    text = " ".join(str(error).split())
    # The line has the name of the file already.
    for path in args:
      text = text.removeprefix(f"{path} is damaged: ").removeprefix(f"{path}: ")
    return Item(name, BAD, text)
  return Item(name, state, note)


# -------------------------------------------------------------------- runs


def _check_run(folder, prefix):
  """Yields the items of a run's folder."""
  if (folder / run_settings.FILE).is_file():
    yield _check(f"{prefix}{run_settings.FILE}", _check_json, folder, "")
  else:
    yield Item(f"{prefix}{run_settings.FILE}", BAD, _MISSING)
  for step in checkpoint_files.find_steps(folder):
    yield _check(f"{prefix}checkpoints/{step}", _check_step, folder, step)
  aside = folder / checkpoint_files.ASIDE
  if aside.is_dir():
    for path in sorted(aside.iterdir()):
      note = "was damaged and is not used; you may remove it"
      yield Item(f"{prefix}{aside.name}/{path.name}", OK, note)
  for step in sums.find_steps(folder):
    path = folder / f"checkpoint_{step}"
    yield _check(f"{prefix}{path.name}", _check_step_of_t5x, path)
  for path in checkpoint_files.find_others(folder):
    broken = "it is a link to nothing" if not path.exists() else None
    note = broken or "is no checkpoint and is not read"
    yield Item(f"{prefix}checkpoints/{path.name}", BAD if broken else OK, note)
  yield from _check_prompts(folder, f"{prefix}prompts/")
  if (folder / "backbone" / own_folder.CONFIG).is_file():
    yield from _check_t5(folder / "backbone", f"{prefix}backbone/")
  if (folder / "metrics.jsonl").is_file():
    yield _check(f"{prefix}metrics.jsonl", _check_metrics, folder)
  elif _last_evaluation(folder):
    yield Item(f"{prefix}metrics.jsonl", BAD, _MISSING)
  for name in ("results.json", "finished.json", "about.json"):
    if (folder / name).is_file():
      yield _check(f"{prefix}{name}", _check_json, folder, name)


def _check_prompts(folder, prefix):
  """Yields the items of the prompts of a run."""
  has_prompts = _settings(folder).get("trainable") == "prompt"
  if has_prompts and checkpoint_files.find_steps(folder):
    for name in _PROMPTS:
      if not (folder / "prompts" / name).is_file():
        yield Item(f"{prefix}{name}", BAD, _MISSING)
  for path in sorted((folder / "prompts").glob("*.safetensors")):
    run = folder if has_prompts and path.name in _PROMPTS else None
    yield _check(f"{prefix}{path.name}", _check_file, path, run)


def _settings(folder):
  try:
    return run_settings.read(folder)
  except ValueError:
    return {}


def _saved_prompts(folder) -> list[dict]:
  """The prompts in a run's checkpoints; none if one is damaged or too old."""
  steps = checkpoint_files.find_steps(folder)
  paths = [folder / checkpoint_files.FOLDER / str(step) for step in steps]
  for path in paths:
    whole = checkpoint_files.find_damage(path) is None
    if not whole or not checkpoint_files.is_compared(path):
      return []
  return [x for path in paths for x in checkpoint_files.read_prompts(path)]


def _check_json(folder, name):
  path = folder / (name or run_settings.FILE)
  fields = digests.read_sealed(path, "the file")
  sealed = digests.FIELD in json.loads(path.read_text(encoding="utf-8"))
  del fields
  return (OK, "") if sealed else (OLD, "")


def _check_step(folder, step):
  path = folder / checkpoint_files.FOLDER / str(step)
  damage = checkpoint_files.find_damage(path)
  if damage is not None:
    raise ValueError(
      f"{damage}. The run's command sets it aside and resumes from an older"
      " checkpoint; or copy it again"
    )
  return (OK, "") if checkpoint_files.is_compared(path) else (OLD, "")


def _check_step_of_t5x(path):
  damage = sums.find_damage(path)
  if damage is not None:
    raise ValueError(damage)
  return (OK if (path / digests.SUMS).is_file() else OLD), ""


def _check_metrics(folder):
  lines = list(digests.read_lines(folder / "metrics.jsonl"))
  bad = [number for number, fields in lines if fields is None]
  is_cut = bad == [len(lines)]
  if bad and not is_cut:
    raise ValueError(
      f"line {bad[0]} is damaged ({len(bad)} of {len(lines)}); reports leave"
      " such lines out"
    )
  due = _last_evaluation(folder)
  found = max((f.get("step", 0) for _, f in lines if f is not None), default=0)
  if found < due:
    raise ValueError(
      f"it ends at step {found}, but there was an evaluation at step {due};"
      " copy it again"
    )
  note = "the last line is not finished" if is_cut else f"{len(lines)} lines"
  return OK, note


def _last_evaluation(folder) -> int:
  """The last step before the newest checkpoint that a run has evaluated."""
  period = (_settings(folder).get("eval") or {}).get("period")
  steps = checkpoint_files.find_steps(folder)
  return (steps[0] - 1) // period * period if period and steps else 0


# ----------------------------------------------------------- prompts and T5s


def _check_file(path, run=None):
  """Checks a prompt file.

  Args:
    path: the file.
    run: the folder of the run that has its prompts in a checkpoint, or None.
  """
  if path.suffix == ".npz":
    return _check_npz(path)
  bank = load_bank(path)
  _, fields = read_file(epath.Path(path))
  settings = run_settings.read(path)
  expected = settings.get("backbone_fingerprint", bank.backbone)
  if bank.backbone != expected:
    raise ValueError(
      f"its prompts belong to the T5 {bank.backbone}, but the run trained on"
      f" {expected}; copy it again"
    )
  saved = [] if run is None else _saved_prompts(run)
  if saved and not any(_same(bank.params, arrays) for arrays in saved):
    raise ValueError(
      "its prompts are in no checkpoint of this run, so they are another run's;"
      " copy it again"
    )
  return (OK if has_digest(fields) else OLD), bank.listing


def _same(one, other):
  return one.keys() == other.keys() and all(
    np.array_equal(one[name], other[name]) for name in one
  )


def _check_npz(path):
  from mpt_jax.export.prompt_files import import_prompts

  try:
    with zipfile.ZipFile(path) as archive:
      damaged = archive.testzip()
  except zipfile.BadZipFile as error:
    raise ValueError(f"it is no .npz file: {error}") from error
  if damaged is not None:
    raise ValueError(f"{damaged} differs from its checksum; copy it again")
  return OK, import_prompts([path], "npz").listing


def _adapters(folder):
  """The PEFT adapters of a folder: itself, or those in it."""
  found = [folder, *sorted(folder.iterdir())]
  return [p for p in found if peft.is_adapter(p)]


def _check_adapter(folder):
  from mpt_jax.export import prompt_files

  if (folder / prompt_files.NOTES).is_file():
    return OK, prompt_files.import_prompts([folder], "peft").listing
  params, _ = peft.read_adapter(folder, True)
  for name, array in params.items():
    check_finite(array, name, folder)
  return OLD, "PEFT writes no digests; all numbers are finite"


def _check_t5(path, prefix):
  """Yields the items of the folder of a T5."""
  opened = None

  def check_config():
    nonlocal opened
    opened = open_backbone(path)
    if opened.kind != own_folder.FORMAT:
      return OLD, f"{opened.kind} writes no digests"
    return _check_json(opened.folder, own_folder.CONFIG)

  def check_tensors():
    _, fingerprint = identify_backbone(path)
    state = OK if opened.tensors_sha256 else OLD
    return state, f"all numbers are finite, fingerprint {fingerprint}"

  def check_vocabulary():
    found = opened.find_vocabulary()
    if found is None:
      return OLD, "there is none"
    fields = json.loads((opened.folder / own_folder.CONFIG).read_text("utf-8"))
    state = OK if own_folder.VOCABULARY_SHA256 in fields else OLD
    return state, pathlib.Path(found).name

  yield _check(f"{prefix}config", check_config)
  if opened is not None:
    yield _check(f"{prefix}tensors", check_tensors)
    if opened.kind != "t5x":
      yield _check(f"{prefix}vocabulary", check_vocabulary)


# ----------------------------------------------------------------- exports


def _is_export(folder):
  path = folder / "manifest.json"
  return path.is_file() and _EXPORT.encode() in path.read_bytes()


def _check_export(folder):
  """Yields the items of a folder of `mpt export --to stablehlo`."""
  yield _check("manifest.json", _check_json, folder, "manifest.json")
  text = (folder / "manifest.json").read_text(
    encoding="utf-8", errors="replace"
  )
  try:
    expected = dict(json.loads(text)["sha256"])
  except (ValueError, KeyError, TypeError):
    return  # The line before says that it is damaged.
  for name, digest in sorted(expected.items()):
    yield _check(name, _check_sha256, folder / name, digest)
  for path in sorted((folder / "prompts").glob("*.npy")):
    yield _check(f"prompts/{path.name}", _check_exported_prompt, path)


def _check_sha256(path, digest):
  if digests.file_sha256(path) != digest:
    raise ValueError("its SHA-256 differs from the manifest's; copy it again")
  return OK, ""


def _check_exported_prompt(path):
  notes = path.with_suffix(".json")
  if not notes.is_file():
    return OLD, "it has no .json beside it"
  fields = digests.read_sealed(notes, "the file")
  if digests.file_sha256(path) != fields.get("sha256"):
    raise ValueError(f"its SHA-256 differs from that in {notes.name}")
  return OK, ""
