"""The names of settings in gin's configuration, for checks and for errors.

Every launcher uses these checks: the native one, and t5x's programs.
"""

import difflib
import inspect
import pathlib
import re

from mpt_jax.io import paths as folders

# The text that gin appends to the error of a function that it called.
_CALL = re.compile(
  r"\n  In call to configurable '[\w.]+' \([^\n]*\)(?: in scope '([\w/]+)')?"
)
# A statement of `gin.config_str`, whose later lines are indented.
_STATEMENT = re.compile(r"^([\w/.]+) = (.*(?:\n[ \t].*)*)", re.MULTILINE)
_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")
_REFERENCE = re.compile(r"[%@]([\w/.]+)")
# What to do instead of a name that exists under another launcher only.
_ELSEWHERE = {
  "NUM_PARTITIONS": "the native launcher calls it train.num_model_partitions",
  "MODEL_PARALLEL_SUBMESH": (
    "the native launcher has train.num_model_partitions"
  ),
  "USE_CACHED_TASKS": (
    "tasks are always read from their sources, never from seqio's cache"
  ),
  "MIXTURE_OR_TASK_MODULE": "write `import MODULE` in a gin file",
  "RANDOM_SEED": "it is called SEED here",
  "num_model_partitions": "under t5x it is called NUM_PARTITIONS",
  "log_period": "under t5x it is called train.stats_period",
  "keep_checkpoints": "under t5x it is called SaveCheckpointConfig.keep",
  "checkpoint_period": "under t5x it is called CHECKPOINT_PERIOD",
  "prompt_steps": (
    "under t5x SaveCheckpointConfig.keep=None keeps all checkpoints"
  ),
  "profile_steps": "only the native launcher has it",
  "checkpoint_minutes": "t5x saves by steps alone, see CHECKPOINT_PERIOD",
  "tensorboard": "t5x always writes TensorBoard's events",
  "stats_period": "the native launcher calls it train.log_period",
}


class UnusedSetting(ValueError):
  """Nothing uses a setting that the user gave."""


def explained(error) -> ValueError:
  """Returns an error of gin in one line, with the names that the user wrote.

  Args:
    error: an error that gin raised, or that a function raised which gin called.
  """
  if isinstance(error, UnusedSetting):
    return error
  text, scope = without_call(error)
  # A function rejected its arguments. All other errors are gin's own.
  if scope is not None and isinstance(error, ValueError | TypeError | OSError):
    return ValueError(as_written(text, scope))
  hints = [
    f" ({name}: {hint})"
    for name, hint in _ELSEWHERE.items()
    if re.search(rf"parameter named '{name}'", text)
  ]
  if not hints:
    hints = [_near_names(text)]
  return ValueError(
    "the gin configuration is invalid: " + first_lines(error) + "".join(hints)
  )


def _near_names(text) -> str:
  """Names what is near a name that gin does not know; "" if nothing is."""
  import gin

  found = re.search(r"'([\w./]+)' doesn't have a parameter named '(\w+)'", text)
  if found:
    owner, name = found.groups()
    made = gin.get_configurable(owner)
    # Gin's subclass of a class hides its arguments.
    made = made.__init__ if inspect.isclass(made) else made
    return _did_you_mean(name, inspect.signature(made).parameters)
  found = re.search(r"No configurable matching '([\w./]+)'", text)
  if not found:
    return ""
  owners = {key.rpartition(".")[0].rpartition(".")[2] for key in statements()}
  return _did_you_mean(found[1].rpartition(".")[2], owners)


def _did_you_mean(name, known) -> str:
  near = difflib.get_close_matches(name, sorted(known), n=3)
  return f" Did you mean {' or '.join(near)}?" if near else ""


def without_call(error) -> tuple[str, str | None]:
  """Returns an error's text without what gin appends to it.

  Returns:
    (text, scope): the scope of the call by gin that raised the error, or None
    if gin did not call a function.
  """
  text = str(error)
  call = _CALL.search(text)
  return (text, None) if call is None else (text[: call.start()], call[1] or "")


def first_lines(error) -> str:
  """Returns the beginning of an error in one line, with its class."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return f"{type(error).__name__}: " + " ".join(lines)[:600]


def as_written(message: str, scope: str = "") -> str:
  """Replaces names of settings by the gin macros that gave their values.

  "Experiment.total_steps" becomes "TRAIN_STEPS" where gin's configuration has
  `experiment.Experiment.total_steps = %TRAIN_STEPS`.

  Args:
    message: the message of an error.
    scope: the gin scope of the call that raised the error.
  """

  def replace(match):
    owner, argument = match.groups()
    # gin files call `batch_config`, which makes a `BatchConfig`.
    maker = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", owner).lower()
    names = (_bound_name(name, argument, scope) for name in (owner, maker))
    return next(filter(None, names), match[0])

  return re.sub(r"\b([A-Za-z_]\w*)\.([A-Za-z_]\w*)", replace, message)


def _bound_name(owner, argument, scope) -> str | None:
  """Returns the macro that an argument is bound to, followed to its value.

  Returns "owner.argument" if it is bound to a plain value, and None if it is
  not bound. If a macro is bound to another macro, the last one is returned.
  """
  import gin

  name = None
  selector = f"{scope}/{owner}" if scope else owner
  for _ in range(10):
    try:
      bound = gin.get_bindings(selector, resolve_references=False)
    except ValueError:
      break  # There is no such function or class.
    if argument not in bound:
      break
    macro = re.fullmatch(r"%(\w+)", repr(bound[argument]))
    if macro is None:
      return name or f"{owner}.{argument}"
    name, selector, argument = macro[1], f"{macro[1]}/gin.macro", "value"
  return name


def statements() -> dict[str, str]:
  """Returns gin's configuration: each name that is bound, and its value."""
  import gin

  return dict(_STATEMENT.findall(gin.config_str()))


def _references() -> dict[str, set[str]]:
  """Returns what each macro and function of gin's configuration refers to.

  A macro's name is without scope: the scope does not change which one is
  meant. A function's name is the selector of `gin.config_str`.
  """
  found = {}
  for key, value in statements().items():
    name = key.rpartition("/")[2]
    owner = name.rpartition(".")[0] or name
    references = _REFERENCE.findall(_STRING.sub("''", value))
    names = {reference.rpartition("/")[2] for reference in references}
    found.setdefault(owner, set()).update(names)
  return found


def _ours() -> tuple[str, ...]:
  """Returns the beginnings of selectors of this package's functions."""
  import gin

  names = []
  for line in gin.config_str().splitlines():
    found = re.fullmatch(r"(?:from (\S+) )?import (\S+)(?: as (\w+))?", line)
    if found and (found[1] or found[2]).split(".")[0] == "mpt_jax":
      names.append(f"{found[3] or found[2]}.")
  return tuple(names)


def _used(references, root) -> set[str]:
  """Returns the names that the launched function refers to, by any way.

  Args:
    references: see `_references`.
    root: selector of the launched function. Functions of other packages are
      roots too, because t5x calls functions that no binding refers to.
  """
  ours = _ours()
  waiting = [
    name
    for name in references
    if name == root or ("." in name and not name.startswith(ours))
  ]
  used = set()
  while waiting:
    name = waiting.pop()
    if name not in used:
      used.add(name)
      waiting += references.get(name, ())
  return used


def own_macros() -> set[str]:
  """Returns the macros that this package's gin files bind."""
  files = [*folders.GIN.glob("*.gin"), *folders.GIN.glob("*/*.gin")]
  return {name for file in files for name in _bound_in(file)}


def _bound_in(file) -> list[str]:
  text = pathlib.Path(file).read_text(encoding="utf-8")
  return re.findall(r"^(?:[\w/]+/)?(\w+)[ \t]*=", text, re.MULTILINE)


def check_used(bindings, root: str | None = None, describes: bool = False):
  """Refuses a setting that gin knows and that nothing uses.

  Call this after all files and bindings are parsed. It covers misspelt macros,
  on the command line and in files, and arguments of functions that are not
  called. A macro of this package in a file may be for another stage.

  Args:
    bindings: "NAME = VALUE" lines of the command line.
    root: selector of the launched function, such as "loop.train".
    describes: whether the macros describe a run that another program trained,
      so that this program does not use all of them.

  Raises:
    UnusedSetting: nothing uses a setting; the message has the nearest names.
  """
  references = _references()
  used, own = _used(references, root), own_macros()
  macros = {name for name in used if "." not in name}
  for binding in bindings:
    name = binding.partition("=")[0].strip().rpartition("/")[2]
    if name.isidentifier():
      if name not in used and not (describes and name in own):
        raise _unknown(f"--gin.{name}", name, macros)
      continue
    owner = name.rpartition(".")[0]
    found = [n for n in references if f".{n}".endswith(f".{owner}")]
    if found and not used.intersection(found) and found[0].startswith(_ours()):
      raise UnusedSetting(
        f"--gin.{name}: this run does not use {owner}, so the setting would"
        " change nothing"
      )
  for name in sorted(references.keys() - used - own):
    if "." not in name:
      raise _unknown(f"the macro {name} in a gin file", name, macros)


def _unknown(shown, name, known) -> UnusedSetting:
  hint = _did_you_mean(name, known)
  if name in _ELSEWHERE:
    hint = f" {_ELSEWHERE[name][0].upper()}{_ELSEWHERE[name][1:]}."
  return UnusedSetting(
    f"{shown}: no gin file of this command uses a macro of this name.{hint}"
  )


def check_known(bindings, known):
  """Refuses a binding of a macro that is not among the known ones.

  Args:
    bindings: "NAME = VALUE" lines.
    known: names of macros.

  Raises:
    UnusedSetting: a macro is unknown; the message has the nearest names.
  """
  known = known | {n for b in bindings for n in re.findall(r"%(\w+)", b)}
  for binding in bindings:
    name = binding.partition("=")[0].strip().rpartition("/")[2]
    if name.isidentifier() and name not in known:
      raise _unknown(f"--gin.{name}", name, known)
