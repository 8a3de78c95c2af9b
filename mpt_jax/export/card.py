"""The model card of a PEFT adapter: README.md in its folder.

It says what the prompts are, what they were trained on, how they scored, and
how PEFT loads them. All of it comes from the bank and from the files of its
run; what they do not say is left out.
"""

import json
import pathlib

from etils import epath

from mpt_jax.io import digests, paths, provenance
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank

FILE = "README.md"
# The file in which `mpt fit` keeps its scores.
SCORES = "scores.json"
_METHODS = {
  True: "Multitask prompt tuning (Wang et al., ICLR 2023): one shared prompt,"
  " times a low-rank factor of each task.",
  False: "Prompt tuning (Lester et al., EMNLP 2021): one soft prompt.",
}


def read_facts(prompts) -> dict:
  """Reads what the run of some prompts says about them.

  Args:
    prompts: a prompt file or a run folder.

  Returns:
    "settings", "about" (the last start) and "scores", as far as there are such
    files.

  Raises:
    ValueError: a file is damaged.
  """
  facts = {"settings": run_settings.read(prompts)}
  path = epath.Path(paths.absolute(prompts))
  for folder in (path, path.parent.parent):
    if (folder / run_settings.FILE).is_file():
      starts = provenance.read(folder).get("starts")
      facts["about"] = starts[-1] if starts else {}
      if (folder / SCORES).is_file():
        facts["scores"] = digests.read_sealed(folder / SCORES, "a fit's scores")
      break
  return facts


def make_card(bank: PromptBank, title: str, base_model, facts) -> str:
  """Returns the text of a card.

  Args:
    bank: the prompts of one adapter.
    title: its heading.
    base_model: the name or the folder of the T5 for transformers, or None.
    facts: the result of `read_facts`, or an empty dict.
  """
  settings = facts.get("settings", {})
  parts = [
    _front_matter(base_model),
    f"# {title}",
    f"{_METHODS[bank.config.can_share]} {_shape(bank)}",
    "## Data",
    _data(bank, settings),
    _scores(bank, facts.get("scores", {})),
    "## Training",
    "\n".join(f"- {line}" for line in _training(bank, facts)),
    "## Use",
    _use(bank, base_model, settings),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(base_model):
  lines = ["library_name: peft", "tags:", "- prompt-tuning", "- mpt_jax"]
  # A folder of one machine is no model that a reader of the card has.
  if base_model and not pathlib.Path(base_model).is_absolute():
    lines.insert(0, f"base_model: {json.dumps(base_model)}")
  return "\n".join(("---", *lines, "---"))


def _shape(bank):
  config = bank.config
  rank = f", rank {config.rank}" if config.can_share else ""
  return f"{config.prompt_length} rows of {bank.emb_dim} numbers{rank}."


def _data(bank, settings):
  hashes = settings.get(run_settings.ROWS_SHA256) or {}
  lines = ["| task_id | task | input | labels |", "| --- | --- | --- | --- |"]
  for i, slot in enumerate(bank.slots):
    task = slot.get("task") or bank.names[i]
    names = slot.get("label_names")
    cells = (
      str(i),
      task,
      slot.get("template") or "the text as it is",
      ", ".join(names) if names else "none; the text is generated",
    )
    lines.append(f"| {' | '.join(_cell(text) for text in cells)} |")
  for slot in bank.slots:
    if slot.get("task") in hashes:
      lines.append(f"\nSHA-256 of the rows of {slot['task']}:")
      lines.append(f"`{hashes[slot['task']]}`")
  return "\n".join(lines)


def _cell(text):
  return " ".join(str(text).split()).replace("|", "\\|")


def _scores(bank, scores):
  """The section with the scores of `mpt fit`, else those of validation."""
  lines = [
    "## Scores",
    "",
    "| task | metric | score | 95 % interval | examples |",
    "| --- | --- | --- | --- | --- |",
  ]
  tasks = scores.get("tasks", {})
  for name, slot in zip(bank.names, bank.slots, strict=True):
    own = tasks.get(slot.get("task"))
    if own is not None:
      interval = " to ".join(map(_number, own["interval"]))
      score, count = _number(own["score"]), own["examples"]
      row = (name, own["metric"], score, interval, count)
      lines.append(f"| {' | '.join(map(_cell, row))} |")
      continue
    for metric, value in (slot.get("metrics") or {}).items():
      if isinstance(value, int | float) and metric not in ("step", "examples"):
        row = (name, f"validation {metric}", _number(value), "", "")
        lines.append(f"| {' | '.join(map(_cell, row))} |")
  return "\n".join(lines) if len(lines) > 4 else ""


def _number(value) -> str:
  """A score as the card shows it. A score that is not finite is kept as None.

  >>> _number(0.25), _number(None)
  ('0.2500', 'none')
  """
  return "none" if value is None else f"{value:.4f}"


def _training(bank, facts):
  """Yields what is known of the training: steps, seeds, program."""
  settings, about = facts.get("settings", {}), facts.get("about", {})
  yield f"fingerprint of the T5: `{bank.backbone}`"
  if settings:
    yield f"T5: `{run_settings.backbone(settings)}`"
  steps = [
    f"{name} {slot['metrics']['step']:,}"
    for name, slot in zip(bank.names, bank.slots, strict=True)
    if isinstance((slot.get("metrics") or {}).get("step"), int)
  ]
  if steps:
    yield f"kept step: {', '.join(steps)}"
  if "total_steps" in settings:
    yield f"steps: at most {settings['total_steps']:,}"
  seeds = {
    "run": settings.get("seed"),
    "order of the examples": (settings.get("mix") or {}).get("seed"),
  }
  told = [f"{name} {seed}" for name, seed in seeds.items() if seed is not None]
  if told:
    yield f"seeds: {', '.join(told)}"
  for name in ("version", "command", "date"):
    if name in about:
      yield f"{name}: `{_cell(about[name])}`"


def _use(bank, base_model, settings):
  """The section with code that runs in the adapter's folder."""
  text, base = "", base_model or "t5"
  if base_model is None:
    source = run_settings.backbone(settings) if settings else "T5"
    text = (
      "The adapter does not name its T5. This writes it for transformers:\n\n"
      f"```sh\nmpt convert {source} --to huggingface --out t5\n```\n\n"
    )
  slot = bank.slots[0]
  example = "a text"
  if slot.get("template"):
    # The fields of a template stand in braces.
    example = slot["template"]
  more = ""
  if bank.config.can_share:
    more = ", task_ids=torch.tensor([0])"
  code = [
    "import torch",
    "from peft import PeftModel",
    "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
    "",
    f"tokenizer = AutoTokenizer.from_pretrained({base!r})",
    f"model = AutoModelForSeq2SeqLM.from_pretrained({base!r})",
    'model = PeftModel.from_pretrained(model, ".").eval()  # this folder',
    f"text = {example!r}  # fill the braces",
    'inputs = tokenizer(text, return_tensors="pt")',
  ]
  if slot.get("label_names"):
    code += [
      f"for label in {list(slot['label_names'])!r}:",
      '  labels = tokenizer(label, return_tensors="pt").input_ids',
      "  with torch.no_grad():",
      f"    loss = model(**inputs, labels=labels{more}).loss",
      "  print(label, -loss.item() * labels.shape[1])  # log-probability",
    ]
  else:
    code += [
      f"ids = model.generate(**inputs, max_new_tokens=64{more})",
      "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
    ]
  return text + "```python\n" + "\n".join(code) + "\n```"
