"""Checks of what a prompt file says about its prompts."""

# The fields of a prompt file; see `bank.PromptBank`.
NAMES = ("names", "groups", "backbone", "slots")


def checked(fields, where) -> dict:
  """Checks the fields of a file that says what its prompts are.

  Args:
    fields: the JSON value.
    where: the beginning of the message.

  Returns:
    The fields.

  Raises:
    ValueError: a field is missing, unknown or of another type.
  """
  if not isinstance(fields, dict):
    raise ValueError(
      f"{where} does not describe prompts: expected a JSON object, got"
      f" {fields!r:.40}"
    )
  missing = [name for name in NAMES if name not in fields]
  if missing:
    raise ValueError(
      f"{where} does not describe prompts: no {', '.join(missing)}"
    )
  more = [name for name in fields if name not in NAMES]
  if more:
    raise ValueError(
      f"{where} has the field {more[0]!r}, which this version does not know: a"
      " newer version wrote the file, or it is damaged"
    )
  names, groups, slots = fields["names"], fields["groups"], fields["slots"]
  _check(
    _is_list(names, str) and all(names) and len(set(names)) == len(names),
    "names must be different names",
    names,
    where,
  )
  _check(
    _is_list(groups, int) and bool not in map(type, groups),
    "groups must be whole numbers",
    groups,
    where,
  )
  _check(
    isinstance(fields["backbone"], str),
    "backbone must be the fingerprint of a T5",
    fields["backbone"],
    where,
  )
  _check(_is_list(slots, dict), "slots must be objects", slots, where)
  for i, slot in enumerate(slots):
    _check_slot(slot, f"{where}: slots[{i}]")
  return fields


def _check_slot(slot, where):
  labels, template = slot.get("label_names"), slot.get("template")
  _check(
    isinstance(slot.get("task"), str),
    "task must be a name",
    slot.get("task"),
    where,
  )
  _check(
    labels is None or (_is_list(labels, str) and labels),
    "label_names must be texts, or null",
    labels,
    where,
  )
  _check(
    template is None or isinstance(template, str),
    "template must be a text, or null",
    template,
    where,
  )
  _check(
    isinstance(slot.get("metrics") or {}, dict),
    "metrics must be an object",
    slot.get("metrics"),
    where,
  )


def _is_list(value, cls):
  return isinstance(value, list) and all(isinstance(x, cls) for x in value)


def _check(holds, expected, value, where):
  if not holds:
    raise ValueError(f"{where}: {expected}, got {value!r:.60}")
