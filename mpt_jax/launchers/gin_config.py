"""The native launcher: reads gin files and reports errors in one line."""

import logging
import os
import re
import tokenize

from mpt_jax.io import paths as folders
from mpt_jax.io.compilation_cache import use_compilation_cache
from mpt_jax.io.errors import ExitCode, run_and_report
from mpt_jax.launchers import gin_names
from mpt_jax.process import signals

# The function whose arguments `gin/launchers/mpt_jax.train.gin` binds.
TRAIN = "mpt_jax.training.loop.train"
PROCESS_ARGUMENTS = (
  "--multiprocess",
  "--coordinator_address",
  "--process_count",
  "--process_index",
)
USAGE = """\
usage: python -m mpt_jax.train --gin_file=FILE [--gin.NAME=VALUE ...]

  --gin_file=FILE       a gin file; may be given several times, later ones win
  --gin.NAME=VALUE      binds a macro (--gin.TRAIN_STEPS=100) or an argument
                        (--gin.MixConfig.batch_size=16); strings need quotes
                        of their own: --gin.MODEL_DIR=\\"/tmp/run\\"
  --gin_search_paths=A,B  more folders to search for gin files
  --traceback           show where an error comes from
  --multiprocess        this process trains together with others, and JAX finds
                        them by itself, as on a TPU pod or under SLURM.
                        Elsewhere, give each process these three arguments:
  --coordinator_address=HOST:PORT --process_count=N --process_index=I
                        HOST:PORT is the address of process 0. All processes
                        must see the folder MODEL_DIR

The files in gin/ list the macros.
"""


def parse_args(argv):
  """Splits a command line.

  Returns:
    (gin files, bindings, search paths, whether to show tracebacks).

  Raises:
    ValueError: an argument is unknown, or no gin file is given.
  """
  files, bindings, paths, show = [], [], [], False
  argv = list(argv)
  while argv:
    argument = argv.pop(0)
    name, equals, value = argument.partition("=")
    if name in ("--gin_file", "--gin_search_paths") and not equals:
      if not argv:
        raise ValueError(f"{name} needs a value")
      value = argv.pop(0)
    if name == "--gin_file":
      files.append(folders.expand(value))
    elif name == "--gin_search_paths":
      paths += map(folders.expand, value.split(","))
    elif name.startswith("--gin.") and equals:
      bindings.append(f"{name.removeprefix('--gin.')} = {value}")
    elif name == "--traceback":
      show = True
    else:
      raise ValueError(f"unknown argument {argument!r}; see --help")
  if not files:
    raise ValueError(
      "give at least one --gin_file, for instance"
      " --gin_file=gin/mpt_teacher.gin"
    )
  return files, bindings, paths, show


def join_processes(argv):
  """Connects this process to the other processes of its run, if there are any.

  Call this before anything else asks JAX for its devices.

  Args:
    argv: the command line.

  Returns:
    The command line without the arguments in `PROCESS_ARGUMENTS`.

  Raises:
    ValueError: a value is missing or not a number, or the connection failed.
  """
  values, rest = {}, []
  for argument in argv:
    name, _, value = argument.partition("=")
    if name in PROCESS_ARGUMENTS:
      values[name] = value
    else:
      rest.append(argument)
  if not values:
    return rest
  given = all(values.get(name) for name in PROCESS_ARGUMENTS[1:])
  if not given and values.keys() != {PROCESS_ARGUMENTS[0]}:
    raise ValueError(
      "several processes need all of"
      f" {', '.join(f'{n}=VALUE' for n in PROCESS_ARGUMENTS[1:])}, or"
      " --multiprocess alone where JAX finds the others; got " + " ".join(argv)
    )
  import jax

  address, count, index = (values.get(name) for name in PROCESS_ARGUMENTS[1:])
  try:
    if given:
      jax.distributed.initialize(address, int(count), int(index))
    else:
      jax.distributed.initialize()
  except (ValueError, RuntimeError) as error:
    raise ValueError(
      f"cannot join the processes of this run: {gin_names.first_lines(error)}"
    ) from error
  return rest


def load_config(
  files,
  bindings,
  paths,
  function=TRAIN,
  partly=False,
  strict=False,
  stand_ins=(),
):
  """Parses gin files and bindings.

  Args:
    files: gin files.
    bindings: "NAME = VALUE" lines, which override the files.
    paths: more folders to search for the files.
    function: name of the function whose arguments are returned.
    partly: skip bindings of functions that gin does not know.
    strict: refuse settings that the function does not use.
    stand_ins: macros that the files may require and that name a folder. Each
      that is not bound names one that does not exist.

  Returns:
    ({argument: value} of the function, the configuration as text).

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: gin rejects the files or bindings; the message is one line.
  """
  import gin

  for binding in bindings:
    _check_syntax(binding)
  _parse_files(files, paths)
  try:
    required = gin_names.statements()
    for name in stand_ins:
      if required.get(name) == "%gin.REQUIRED":
        gin.parse_config(f"{name} = 'not given'")
    gin.parse_config(bindings, skip_unknown=partly)
  except Exception as error:
    raise gin_names.explained(error) from error
  if strict:
    gin_names.check_used(bindings, "loop.train")
  try:
    gin.finalize()
    # This resolves every reference, and so builds all settings.
    arguments = gin.get_bindings(function, resolve_references=True)
    # Gin does not call the function, so gin's operative configuration lacks it.
    bound = gin.get_bindings(function, resolve_references=False)
  except Exception as error:
    raise gin_names.explained(error) from error
  lines = [f"loop.train.{k} = {v!r}\n" for k, v in sorted(bound.items())]
  return arguments, gin.operative_config_str() + "\n" + "".join(lines)


def _own_files() -> list[str]:
  """Returns the names of the package's gin files, e.g. "gin/mpt_adapt.gin"."""
  return [f"gin/{file.name}" for file in folders.GIN.glob("*.gin")]


def _parse_files(files, paths):
  """Clears gin's configuration and reads files into it.

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: gin, or a module that a file imports, raised an error.
  """
  import gin

  gin.clear_config()
  for file in files:
    found = [
      os.path.join(p, file) for p in ["", *paths, *folders.GIN_SEARCH_PATHS]
    ]
    if not any(os.path.isfile(p) for p in found):
      raise FileNotFoundError(
        f"no gin file {file!r} in {os.getcwd()} or the search paths, and"
        " mpt_jax has none of this name; its own are"
        f" {', '.join(sorted(_own_files()))}"
      )
  logging.getLogger().addFilter(_is_wanted)
  # Gin has no public way to take a folder out of its search path again. Without
  # that, a file would include another that lies beside a file read before it.
  searched = gin.config._LOCATION_PREFIXES
  before = list(searched)
  try:
    for file in files:
      more = [*paths, *folders.GIN_SEARCH_PATHS, os.path.dirname(file)]
      # Gin takes a relative folder for the name of a Python package as well.
      searched[:] = [*before, *map(os.path.abspath, more)]
      gin.parse_config_file(file)
  except Exception as error:
    raise gin_names.explained(error) from error
  finally:
    searched[:] = before
    logging.getLogger().removeFilter(_is_wanted)


def _is_wanted(record) -> bool:
  """Drops gin's log line for each folder that lacks an included file."""
  return not str(record.msg).startswith("Path not found")


def known_macros(files, paths=()) -> set[str]:
  """Returns the names of the macros that gin files bind or refer to.

  Args:
    files: gin files, which are read into gin's configuration.
    paths: more folders to search for the files.

  Raises:
    FileNotFoundError, ValueError: see `load_config`.
  """
  import gin

  _parse_files(files, paths)
  text = gin.config_str()
  bound = re.findall(r"^(\w+) =", text, re.MULTILINE)
  return {"MODEL_DIR", *bound, *re.findall(r"%(\w+)", text)}


def unused_macros() -> set[str]:
  """Returns the macros of gin's configuration that nothing refers to."""
  import gin

  text = gin.config_str()
  bound = re.findall(r"^(\w+) =", text, re.MULTILINE)
  return {*bound} - {*re.findall(r"%(\w+)", text)}


def check_macros(bindings, groups, paths):
  """Refuses a binding of a macro that no gin file uses.

  Args:
    bindings: "NAME = VALUE" lines.
    groups: lists of gin files. Each list is read separately, and a macro that
      any of them binds or refers to is known.
    paths: more folders to search for the files.

  Raises:
    FileNotFoundError, ValueError: see `load_config`.
    ValueError: a macro is unknown; the message has the nearest names.
  """
  known = set()
  for files in groups:
    known |= known_macros(files, paths)
  gin_names.check_known(bindings, known)


def _check_syntax(binding):
  """Names a malformed binding; gin would report only a line number."""
  import gin.config

  name, _, value = binding.partition(" = ")
  try:
    gin.config.parse_value(value)
  except (SyntaxError, tokenize.TokenError) as error:
    # Python's error ends in the address of an object.
    reason = re.sub(r": <.*? at 0x\w+>", "", str(error.args[0])).rstrip(".")
    raise ValueError(
      f"--gin.{name}={value} is malformed: {reason}. Values are Python"
      f" literals, and strings need quotes: --gin.{name}='\"text\"'"
    ) from error
  except ValueError:
    return  # A reference; only the whole configuration can resolve it.


def main(argv) -> int:
  """Runs `loop.train` as the command line says; returns the exit code."""
  if not argv or "--help" in argv or "-h" in argv:
    print(USAGE)
    return 0 if argv else 2
  use_compilation_cache()
  return run_and_report(_run, argv, show="--traceback" in argv)


def _run(argv):
  names = {argument.partition("=")[0] for argument in argv}
  if names.isdisjoint(PROCESS_ARGUMENTS):
    return _train(argv)
  # The other processes would wait for one that a signal ends now.
  with signals.deferred():
    return _train(join_processes(argv))


def _train(argv):
  # Import these late: a module may ask for the devices on import. TensorFlow
  # comes first, because modules of users import it in their own way.
  import mpt_jax.process.tensorflow_quietly  # noqa: F401
  from mpt_jax.training import agreement
  from mpt_jax.training import loop as trainer

  with agreement.stopping():
    with agreement.together():
      files, bindings, paths, _ = parse_args(argv)
      arguments, config_text = load_config(files, bindings, paths, strict=True)
    try:
      result = trainer.train(**arguments, config_text=config_text)
    except (ValueError, TypeError) as error:
      raise ValueError(gin_names.as_written(str(error))) from error
  return ExitCode.DIVERGED if result.diverged else ExitCode.DONE
