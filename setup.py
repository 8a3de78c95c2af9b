"""Installs mpt_jax: `pip install -e .`, or `pip install -e '.[test]'`."""

import setuptools

setuptools.setup(
  name="mpt_jax",
  version="0.1.0",
  description="Multitask Prompt Tuning for T5 in JAX and Flax",
  license="Apache-2.0",
  python_requires=">=3.11,<3.14",
  # mpt_jax/tasks and mpt_jax/gin are links to the folders beside mpt_jax/, so
  # that the import name `tasks` stays free for users.
  packages=setuptools.find_packages(include=["mpt_jax", "mpt_jax.*"]),
  package_data={
    "mpt_jax": ["default_t5/*", "data/byte_vocabulary.json", "gin/**/*.gin"]
  },
  install_requires=[
    "clu>=0.0.12",
    "etils[epath]>=1.15",
    # jax limits the size of its compilation cache with it.
    "filelock>=4.2",
    # jax.export reads and writes programs with it, and does not require it.
    "flatbuffers>=25.9",
    "flax>=0.12",
    "gin-config>=0.5",
    # tensorflow-datasets imports it, and requires it of old Pythons alone.
    "importlib_resources>=6.4",
    "jax>=0.10",
    "matplotlib>=3.11",
    "ml_dtypes>=0.6",
    "numpy>=2.4",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12",
    "protobuf>=7.36",
    "rich>=15.0",
    "sacrebleu>=2.6",
    "safetensors>=0.8",
    "scikit-learn>=1.9",
    "scipy>=1.17",
    "sentencepiece>=0.2.3",
    "seqio>=0.0.20",
    "tensorboard>=2.21",
    "tensorflow>=2.21",
    "tensorflow-datasets>=4.9.10",
    "tensorstore>=0.1.86",
  ],
  extras_require={
    # Parity with Hugging Face's T5 and PEFT is tested against PyTorch, pinned so
    # that a CPU build installed before is kept.
    "test": [
      "peft>=0.21",
      "pytest>=9.2",
      "ruff>=0.17",
      "torch==2.13.0",
      "transformers>=5.23",
    ],
  },
  entry_points={"console_scripts": ["mpt = mpt_jax.cli.main:main"]},
)
