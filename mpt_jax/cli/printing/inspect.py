"""What `mpt inspect` prints: prompt files, backbones, and counts."""

import json
import pathlib

import rich.table

from mpt_jax.backbones import hub
from mpt_jax.backbones.backbone import identify_backbone, open_backbone
from mpt_jax.backbones.shapes import num_backbone_parameters
from mpt_jax.backbones.t5x_checkpoints import find_checkpoint
from mpt_jax.io import checks
from mpt_jax.model.config import T5Config
from mpt_jax.prompts.bank import check_backbone, load_bank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import KINDS
from mpt_jax.training.inherited import INPUTS_LENGTH


def counts(prompts: PromptConfig, backbone: T5Config | None, emb_dim: int):
  """Counts trainable parameters as the paper does.

  For MPT one target has (l·d) + (l + d), and a group of τ targets that share
  P* has (l·d) + (l + d)·τ (Wang et al., 2023, section 3); factors of rank R
  count R times. Files hold prompts in this form. For comparison, the merged
  form is counted too, if there is one: a plain prompt of l·d for each task.

  Args:
    prompts: the shape of the bank.
    backbone: the T5 that the numbers are compared with; None if it is not
      known.
    emb_dim: d.

  Returns:
    A list of (name, value) strings.
  """
  length, tasks = prompts.prompt_length, prompts.num_slots
  total = prompts.num_parameters(emb_dim)
  per_task = sum(prompts.num_parameters_each(emb_dim).values())
  sizes = prompts.sizes(emb_dim)
  formulas = prompts.find_kind().formulas(sizes)
  in_all = (_times(text, sizes[first]) for first, text in formulas.items())
  rows = [
    ("one task", f"{per_task:,} = {' + '.join(formulas.values())}"),
    ("in all", f"{total:,} = {' + '.join(in_all)}"),
    ("per task", f"{total / tasks:,.0f}"),
    ("bytes in float32", f"{4 * total:,}"),
  ]
  each = length * emb_dim
  can_merge = not (prompts.is_plain or prompts.find_kind().has_offsets)
  if can_merge:
    times = f"{each * tasks / total:.2f} times the bytes above"
    rows += [
      ("merged, each", f"{4 * each:,} bytes = 4·{length}·{emb_dim}"),
      ("merged, in all", f"{4 * each * tasks:,} bytes, {times}"),
    ]
  if backbone is not None:
    size = num_backbone_parameters(backbone)
    rows += [
      ("backbone", f"{size:,} parameters"),
      ("one task's share", f"{100 * per_task / size:.4f} % of the backbone"),
      ("share in all", f"{100 * total / size:.4f} % of the backbone"),
    ]
    if can_merge:
      share = 100 * each * tasks / size
      rows.append(("share if merged", f"{share:.4f} % of the backbone"))
  return rows


def _times(formula, count):
  if count == 1:
    return formula
  return f"({formula})·{count}" if " + " in formula else f"{formula}·{count}"


def describe_preset(
  name: str,
  kind: str,
  prompt_length: int | None,
  rank: int | None,
  num_slots: int,
  inputs_length: int | None,
  console,
):
  """Prints the counts of a bank over a published size of T5.

  Args:
    name: the size.
    kind: the kind of prompt.
    prompt_length: l; None takes the kind's default.
    rank: R, likewise.
    num_slots: prompts of the bank.
    inputs_length: tokens of the longest input, for kinds that add to them;
      None takes an experiment's default.
    console: a `rich.console.Console`.

  Raises:
    ValueError: the preset or the kind is unknown, or a number is out of range.
  """
  config = T5Config.preset(name)
  chosen = KINDS[checks.choice("--kind", kind, choices=tuple(KINDS))]
  length = prompt_length or chosen.default_length
  rank = chosen.default_rank if rank is None else rank
  prompts = PromptConfig(
    num_slots=num_slots,
    prompt_length=length,
    rank=rank,
    kind=kind,
    inputs_length=inputs_length or INPUTS_LENGTH,
  )
  _print_pairs(
    console,
    f"{num_slots} {prompts.kind} prompts of length {length} and rank {rank},"
    f" {name}",
    counts(prompts, config, config.emb_dim),
  )


def describe_path(path, backbone, console):
  """Prints what a prompt file, a run folder or a backbone folder holds.

  Args:
    path: the file or folder, or a T5's name on the Hugging Face hub; "default"
      is the embedded T5.
    backbone: the prompts' T5, or None for the one that their run names.
    console: a `rich.console.Console`.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: the path is none of these, or the file is damaged.
  """
  folder = pathlib.Path(path)
  if str(path) == "default" or _is_backbone(folder) or hub.find_name(path):
    _describe_backbone(path, console)
    return
  if not (folder / "prompts").is_dir() and find_checkpoint(folder):
    _describe_backbone(path, console)
    return
  if folder.is_dir() and _is_backbone(folder / "backbone"):
    _describe_backbone(folder / "backbone", console)
    if not (folder / "prompts").is_dir():
      return
  _describe_bank(path, backbone, console)


def _is_backbone(folder):
  return (folder / "config.json").is_file()


def _describe_backbone(path, console):
  opened = open_backbone(path)
  config, fingerprint = identify_backbone(path)
  rows = [
    ("format", opened.kind),
    ("parameters", f"{num_backbone_parameters(config):,}"),
    ("fingerprint", fingerprint),
    ("vocabulary", opened.find_vocabulary() or "none"),
  ]
  rows += [(k, str(v)) for k, v in vars(config).items()]
  _print_pairs(console, f"backbone {path}", rows)


def _describe_bank(path, backbone, console):
  from mpt_jax.prompts import run_settings

  bank = load_bank(path)
  config = bank.config
  name = backbone or run_settings.backbone(run_settings.read(path))
  t5 = fingerprint = None
  try:
    t5, fingerprint = identify_backbone(name)
    fits = fingerprint == bank.backbone
  except (OSError, ValueError):
    # Without --backbone, describe prompts even if their T5 is missing.
    if backbone is not None:
      raise
    fits = False
  rows = [
    ("prompts", str(len(bank.names))),
    ("groups", str(config.num_groups)),
    ("trained on", bank.backbone + (f" ({name})" if fits else "")),
  ]
  rows += [
    (k, " × ".join(map(str, v.shape))) for k, v in sorted(bank.params.items())
  ]
  rows += counts(config, t5 if fits else None, bank.emb_dim)
  _print_pairs(console, f"prompts of {path}", rows)
  if backbone is not None:
    check_backbone(bank, fingerprint, f"the prompts of {path}", backbone)
  table = rich.table.Table()
  for column in ("prompt", "group", "task", "labels", "metrics"):
    table.add_column(column, overflow="fold")
  for prompt, group, slot in zip(
    bank.names, bank.groups, bank.slots, strict=True
  ):
    table.add_row(
      prompt,
      str(group),
      str(slot.get("task", "")),
      ", ".join(slot.get("label_names") or ()),
      ", ".join(_metrics(slot)),
    )
  console.print(table)


def _metrics(slot):
  for name, value in (slot.get("metrics") or {}).items():
    yield f"{name} {json.dumps(value)}"


def _print_pairs(console, title, rows):
  console.print(title, style="bold", highlight=False)
  width = max(len(name) for name, _ in rows)
  for name, value in rows:
    console.print(f"  {name:<{width}}  {value}", highlight=False, markup=False)
