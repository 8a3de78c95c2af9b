"""The installed package, for each way to install it."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from program_runs import ROOT, needs_t5x
from train_fixtures import CACHE, write_user_folder

import mpt_jax

NOT_IN_AN_ARCHIVE = (
  *(".*", "__pycache__", "*.egg-info", "build", "dist", "runs"),
  "mpt_quickstart",
)


def run(*command, folder, path=(), fails=False):
  """Runs a command in a folder; returns its standard output and errors."""
  made = subprocess.run(
    [str(word) for word in command],
    cwd=folder,
    env={
      **os.environ,
      "PYTHONPATH": os.pathsep.join(map(str, path)),
      "XLA_FLAGS": "",
      "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  assert bool(made.returncode) == fails, made.stdout[-4000:]
  return made.stdout


def own_files(*folders):
  """The tracked kinds of files in folders of this repository."""
  return {
    path.relative_to(ROOT).as_posix()
    for folder in folders
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """The repository, from an archive whose links came out as text files."""
  folder = tmp_path_factory.mktemp("archive") / "mpt_jax-main"
  shutil.copytree(
    ROOT,
    folder,
    symlinks=True,
    ignore=shutil.ignore_patterns(*NOT_IN_AN_ARCHIVE),
  )
  links = [path for path in (folder / "mpt_jax").iterdir() if path.is_symlink()]
  for path in links:
    target = path.readlink()
    path.unlink()
    path.write_text(str(target))
  return folder


@pytest.fixture(scope="module")
def built(source):
  """The folder of the sdist and of the wheel that is built from it."""
  run(
    *(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."),
    folder=source,
  )
  return source / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
  """A folder into which the wheel is installed."""
  folder = tmp_path_factory.mktemp("site")
  (wheel,) = built.glob("*.whl")
  run(
    *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
    *("--target", folder, wheel),
    folder=folder,
  )
  return folder


@pytest.fixture(scope="module")
def editable(source, tmp_path_factory):
  """The Python of an environment with an editable install of the archive."""
  folder = tmp_path_factory.mktemp("editable")
  venv.create(folder / "venv", with_pip=False, symlinks=True)
  python = folder / "venv" / "bin" / "python"
  code = "import sysconfig; print(sysconfig.get_path('purelib'))"
  site = pathlib.Path(run(python, "-c", code, folder=folder).strip())
  # The libraries of the environment that runs the tests.
  libraries = "\n".join(path for path in sys.path if "site-packages" in path)
  (site / "libraries.pth").write_text(libraries)
  run(
    *(python, "-m", "pip", "install", "--quiet", "--no-deps"),
    *("--no-build-isolation", "--editable", source),
    folder=folder,
  )
  return python


@pytest.fixture(scope="module")
def user(tmp_path_factory):
  """A user's folder with `tasks.py`, a `gin/` and `my.gin` of their own."""
  folder = tmp_path_factory.mktemp("user")
  write_user_folder(folder, "tasks", 8, ["glue_colt", "second"])
  (folder / "gin").mkdir()
  (folder / "gin" / "own.gin").write_text(
    "from __gin__ import dynamic_registration\n"
    "import tasks\n"
    'include "gin/mpt_adapt.gin"\n'
    'MIXTURE_OR_TASK_NAME = "glue_colt"\n'
    'INIT = "vocabulary"\n'
    "SOURCE = None\n"
    "PROMPT_LENGTH = 3\n"
    'TASK_FEATURE_LENGTHS = {"inputs": 16, "targets": 4}\n'
    "TRAIN_STEPS = 1\n"
    "BATCH_SIZE = 8\n"
  )
  (folder / "my.gin").write_text('include "gin/own.gin"\n')
  return folder


# ------------------------------------------------------------ the archives


def test_the_wheel_has_every_file_and_no_other(built):
  (wheel,) = built.glob(f"mpt_jax-{mpt_jax.__version__}-*.whl")
  with zipfile.ZipFile(wheel) as archive:
    names = {info.filename for info in archive.infolist() if not info.is_dir()}
  names = {name for name in names if ".dist-info/" not in name}
  library = own_files("mpt_jax")
  expected = library | {f"mpt_jax/{name}" for name in own_files("tasks", "gin")}
  assert names == expected
  assert "mpt_jax/tasks/benchmarks/glue.py" in names
  assert "mpt_jax/gin/tables/glue.gin" in names


def test_the_sdist_has_real_files_and_the_tests(built):
  (sdist,) = built.glob("*.tar.gz")
  with tarfile.open(sdist) as archive:
    members = [m for m in archive.getmembers() if not m.isdir()]
  assert all(member.isreg() for member in members)
  names = {member.name.partition("/")[2] for member in members}
  assert names >= own_files("tasks", "gin", "docs")
  assert {"tests/conftest.py", "README.md", "LICENSE"} <= names


def test_twine_accepts_the_metadata(built):
  output = run(
    *(sys.executable, "-m", "twine", "check", "--strict"),
    *sorted(built.glob("mpt_jax-*")),
    folder=built,
  )
  assert output.count("PASSED") == 2


# --------------------------------------------------------- from other folders


@pytest.fixture(params=["wheel", "editable", "clone"])
def way(request):
  """(the Python, PYTHONPATH) of each way to install; a clone is not."""
  if request.param == "editable":
    return request.getfixturevalue("editable"), ()
  if request.param == "clone":
    return sys.executable, (ROOT,)
  return sys.executable, (request.getfixturevalue("installed"),)


def test_tasks_and_gin_files_are_found_from_any_folder(way, user):
  python, path = way
  # The error comes after all files are read and all tasks are registered: the
  # user's own from `tasks.py`, and the library's.
  output = run(
    *(python, "-m", "mpt_jax.train", "--gin_file=my.gin"),
    *("--gin.MODEL_DIR='run'", "--gin.MIXTURE_OR_TASK_NAME='glue_cole'"),
    folder=user,
    path=path,
    fails=True,
  )
  assert "unknown task 'glue_cole'" in output and "Traceback" not in output
  assert "glue_cola" in output and "glue_colt" in output


def test_an_installed_wheel_trains(installed, user):
  run(
    *(sys.executable, "-m", "mpt_jax.train", "--gin_file=my.gin"),
    f"--gin.INITIAL_CHECKPOINT_PATH={str(user / 't5')!r}",
    "--gin.MODEL_DIR='trained'",
    folder=user,
    path=[installed],
  )
  assert (user / "trained" / "prompts" / "best.safetensors").is_file()


def test_an_installed_wheel_has_its_own_gin_files(installed, tmp_path):
  code = (
    "from mpt_jax.launchers import gin_config\n"
    "for name in 'gin/mpt_adapt.gin', 'mpt_jax/gin/mpt_adapt.gin':\n"
    "  gin_config.main([f'--gin_file={name}', '--gin.MODEL_DIR=1'])"
  )
  output = run(sys.executable, "-c", code, folder=tmp_path, path=[installed])
  # A setting of the stage itself is missing.
  assert output.count("error: ") == output.count("SOURCE") == 2


def test_an_installed_wheel_lists_a_table(installed, tmp_path):
  output = run(
    *(sys.executable, "-m", "mpt_jax", "sweep", "--list"),
    *("--gin_file=gin/tables/glue.gin", "--gin.MODEL_DIR='runs'"),
    folder=tmp_path,
    path=[installed],
  )
  assert "glue/adapt" in output
  assert not list(tmp_path.iterdir())


def test_an_installed_wheel_has_the_quickstart(installed, tmp_path):
  output = run(
    *(sys.executable, "-m", "mpt_jax", "quickstart", "--help"),
    folder=tmp_path,
    path=[installed],
  )
  assert "--short" in output


@needs_t5x
def test_t5x_trains_from_the_users_gin_file(installed, user):
  run(
    *(sys.executable, "-m", "t5x.train", "--gin_file=my.gin"),
    f"--gin.INITIAL_CHECKPOINT_PATH={str(user / 't5')!r}",
    *("--gin.MODEL_DIR='under_t5x'", "--gin.CHECKPOINT_PERIOD=1"),
    "--gin.EVAL_PERIOD=1",
    folder=user,
    path=[installed, *sys.path],
  )
  assert (user / "under_t5x" / "prompts" / "last.safetensors").is_file()


@needs_t5x
@pytest.mark.parametrize("by_path", [False, True])
def test_t5x_finds_the_librarys_gin_files(installed, tmp_path, by_path):
  # By its path, Python puts the folder of train.py first, with t5x's tasks.py.
  folder = pathlib.Path(importlib.util.find_spec("t5x").origin).parent
  program = [folder / "train.py"] if by_path else ["-m", "t5x.train"]
  output = run(
    *(sys.executable, *program, "--gin_file=mpt_jax/gin/mpt_adapt.gin"),
    "--gin.MODEL_DIR='run'",
    folder=tmp_path,
    path=[installed, *sys.path],
    fails=True,
  )
  assert "SOURCE/macro.value" in output


# ------------------------------------------------------------------ the rooms


def test_rooms_import_only_downwards_and_in_no_circle():
  output = run(
    pathlib.Path(sys.executable).with_name("lint-imports"),
    *("--no-cache", "--verbose"),
    folder=ROOT,
  )
  assert "0 broken" in output


def test_the_contract_sees_the_tasks_through_their_link():
  import grimp

  graph = grimp.build_graph("mpt_jax", cache_dir=None)
  assert "mpt_jax.tasks.benchmarks.glue" in graph.modules
  assert "mpt_jax.data.text_tasks" in graph.find_modules_directly_imported_by(
    "mpt_jax.tasks.registry"
  )
