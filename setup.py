"""Installs mpt_jax: `pip install -e .`, or `pip install -e '.[test]'`."""

import pathlib
import re

import setuptools

# The folders tasks/ and gin/ are installed as mpt_jax/tasks and mpt_jax/gin, so
# that the import name `tasks` stays free for users. In a clone mpt_jax/ has
# links to them, which let it run without being installed. An archive may lose
# the links, so nothing here depends on them.
TASKS = setuptools.find_packages(include=["tasks", "tasks.*"])
LIBRARY = setuptools.find_packages(
  include=["mpt_jax", "mpt_jax.*"], exclude=["mpt_jax.tasks*"]
)


def requirements(name):
  """Returns the packages that requirements/NAME.txt lists."""
  lines = pathlib.Path("requirements", f"{name}.txt").read_text().splitlines()
  return [line for line in lines if line and not line.startswith(("#", "-"))]


SERVE = requirements("serve")
# The version stands in the package alone, and no package is imported here.
(VERSION,) = re.findall(
  r'^__version__ = "(.+)"$',
  pathlib.Path("mpt_jax", "__init__.py").read_text(encoding="utf-8"),
  re.MULTILINE,
)

# What takes a T5 from the Hugging Face hub by its name.
HUB = ["huggingface_hub>=1.0"]

setuptools.setup(
  name="mpt_jax",
  version=VERSION,
  description="Multitask Prompt Tuning for T5 in JAX and Flax",
  long_description=pathlib.Path("README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license_expression="Apache-2.0",
  license_files=["LICENSE"],
  author="The mpt_jax authors",
  project_urls={"Paper": "https://arxiv.org/abs/2303.02861"},
  keywords=["prompt tuning", "T5", "JAX", "Flax", "t5x", "few-shot", "NLP"],
  classifiers=[
    "Development Status :: 4 - Beta",
    "Environment :: Console",
    "Intended Audience :: Developers",
    "Intended Audience :: Science/Research",
    "Natural Language :: English",
    "Operating System :: MacOS",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3",
    "Programming Language :: Python :: 3 :: Only",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
  ],
  python_requires=">=3.11,<3.14",
  packages=[*LIBRARY, *(f"mpt_jax.{name}" for name in TASKS), "mpt_jax.gin"],
  package_dir={"mpt_jax.tasks": "tasks", "mpt_jax.gin": "gin"},
  package_data={
    "mpt_jax": ["default_t5/*", "text/byte_vocabulary.json"],
    "mpt_jax.gin": ["**/*.gin"],
    "mpt_jax.report": ["templates/*"],
  },
  install_requires=[
    *requirements("light"),
    # Tasks of seqio's registry and of TensorFlow Datasets, TensorBoard's files
    # and gin files need these.
    "clu>=0.0.12",
    "gin-config>=0.5",
    # tensorflow-datasets imports it, but requires it for old Pythons only.
    "importlib_resources>=6.4",
    "seqio>=0.0.20",
    "tensorboard>=2.21",
    "tensorflow>=2.21",
    "tensorflow-datasets>=4.9.10",
  ],
  extras_require={
    # The TPU's runtime and compiler, libtpu, in the version that fits jax. A
    # wheel of 210 MB; `mpt compile` needs it for slices of TPUs.
    "tpu": ["jax[tpu]>=0.10"],
    "serve": SERVE,
    "hub": HUB,
    # `mkdocs build --strict` makes the site of docs/.
    "docs": ["mkdocs-material>=9.7", "mkdocstrings[python]>=1.0"],
    "test": [
      *SERVE,
      *HUB,
      # The tests talk to the server with clients that others wrote.
      "httpx>=0.28",
      "openai>=3.57",
      "build>=1.6",
      "hypothesis>=6.170",
      "import-linter>=2.17",
      # The tests compare with Hugging Face's T5 and with PEFT, which need
      # PyTorch. The exact version keeps a CPU build that is installed already.
      "peft>=0.21",
      "pytest>=9.2",
      "pytest-xdist>=3.8",
      "ruff>=0.17",
      # The tests build the package without fetching this.
      "setuptools>=77",
      "torch==2.13.0",
      "transformers>=5.23",
      "twine>=7.0",
    ],
  },
  entry_points={"console_scripts": ["mpt = mpt_jax.cli.main:main"]},
)
