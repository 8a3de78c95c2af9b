"""Writes and reads PEFT's adapters of soft prompts, without PEFT or PyTorch.

An adapter is a folder with `adapter_config.json` and
`adapter_model.safetensors`. It holds the prompts of one group. `Kind.peft_type`
says which of PEFT's methods holds a kind of prompt:

  MULTITASK_PROMPT_TUNING   P* and the factors of tasks that share it
  PROMPT_TUNING             one plain soft prompt: a teacher, a merged prompt

PEFT's `num_transformer_submodules`, S below, is the number of stacks that have
a prompt. It is 1 for our prompts, which belong to the encoder alone.
"""

import json
import pathlib

import numpy as np
from safetensors.numpy import save

from mpt_jax.backbones.tensor_files import TensorFiles, TorchFiles
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import EMBED, GROUPS, LENGTH, RANK, TASKS
from mpt_jax.prompts.kinds import KINDS, read_sizes

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PROMPT = "prompt_embeddings"  # Both methods have this tensor.


def is_adapter(folder) -> bool:
  return (pathlib.Path(folder) / CONFIG).is_file()


def write_adapter(
  folder, params, groups, *, base_model=None, num_layers=None, num_heads=None
):
  """Writes the prompts of one group as an adapter.

  Args:
    folder: an existing folder.
    params: the arrays of the bank by name.
    groups: the group of each prompt; all must be 0.
    base_model: name or folder of the T5, for `base_model_name_or_path`.
    num_layers: the encoder's layers; with None, PEFT asks the model.
    num_heads: the encoder's heads; None as above.

  Raises:
    ValueError: there are several groups, or PEFT has no method for the prompts.
  """
  config = PromptConfig.of_params(params, groups)
  kind = config.find_kind()
  if kind.peft_type is None:
    raise ValueError(
      f"PEFT has no method for {kind.name} prompts; --merge writes each as a"
      " plain one"
    )
  if config.num_groups != 1:
    raise ValueError(
      f"an adapter holds one shared prompt, got {config.num_groups}"
    )
  fields = {
    "auto_mapping": None,
    "base_model_name_or_path": base_model,
    # Loading for training asks PEFT for is_trainable=True.
    "inference_mode": True,
    "modules_to_save": None,
    "num_attention_heads": num_heads,
    "num_layers": num_layers,
    # By default PEFT takes 2 and puts a second prompt before the decoder.
    "num_transformer_submodules": 1,
    "num_virtual_tokens": config.prompt_length,
    "peft_type": kind.peft_type,
    # Any other start needs a file or a tokenizer when the adapter is loaded.
    "prompt_tuning_init": "RANDOM",
    "prompt_tuning_init_text": None,
    "revision": None,
    "task_type": "SEQ_2_SEQ_LM",
    "token_dim": read_sizes(params)[EMBED],
    "tokenizer_name_or_path": None,
  }
  if config.can_share:
    fields |= {
      "num_ranks": config.rank,
      "num_tasks": config.num_tasks,
      "prompt_tuning_init_state_dict_path": None,
      "prompt_tuning_init_task": 0,
    }
  tensors = {}
  for theirs, name in kind.peft_names.items():
    array = np.asarray(params[name], np.float32)
    if kind.leaves[name].axes[0] == GROUPS:
      array = array[0]
    tensors[theirs] = np.ascontiguousarray(array)
  folder = pathlib.Path(folder)
  (folder / TENSORS).write_bytes(save(tensors, {"format": "pt"}))
  text = json.dumps(fields, indent=2, sort_keys=True)
  (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_adapter(folder, encoder_half: bool = False):
  """Reads an adapter.

  Args:
    folder: a folder of PEFT's `save_pretrained`, or of `write_adapter`.
    encoder_half: if an adapter prompts the decoder too (S = 2), take the
      encoder's prompt and drop the other. PEFT's own `generate` does the same,
      but the logits of its `forward`, and so of its training, used both.

  Returns:
    The arrays of a bank of one group, float32, and the name of the base model
    or None.

  Raises:
    FileNotFoundError: there is no such adapter.
    ValueError: the adapter has another method or a decoder prompt, or its
      tensors do not fit.
  """
  folder = pathlib.Path(folder)
  if not is_adapter(folder):
    raise FileNotFoundError(
      f"{folder} is not a PEFT adapter: no {CONFIG}. Give the folder that"
      " save_pretrained wrote."
    )
  try:
    fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from error
  if not isinstance(fields, dict):
    raise ValueError(f"{folder / CONFIG} must hold a JSON object")
  method = fields.get("peft_type")
  kinds = {k.peft_type: k for k in KINDS.values() if k.peft_type is not None}
  if method not in kinds:
    raise ValueError(
      f"{folder} is a PEFT adapter of {method}; only {' and '.join(kinds)} are"
      " soft prompts in front of the encoder's input"
    )
  kind = kinds[method]
  names = kind.peft_names
  tensors = _tensors(folder)
  if set(tensors) != set(names):
    raise ValueError(
      f"the tensors of {folder} must be {', '.join(names)}, got"
      f" {', '.join(sorted(tensors))}"
    )
  # float32 represents every float of 16 bits exactly.
  arrays = {
    theirs: np.ascontiguousarray(tensors[theirs], np.float32)
    for theirs in names
  }
  rows = _check_shapes(folder, kind, arrays, fields)
  length = fields["num_virtual_tokens"]
  if rows > length and not encoder_half:
    raise ValueError(
      f"{folder} has num_transformer_submodules=2: a prompt for the decoder"
      " beside the encoder's, which prompts here do not have. Train it with"
      " num_transformer_submodules=1, or take only the encoder's half (mpt"
      " import: --encoder-half), as PEFT's generate does. PEFT's training used"
      " both halves, so the logits differ"
    )
  params = {}
  for theirs, name in names.items():
    axes, array = kind.leaves[name].axes, arrays[theirs]
    if axes[0] == GROUPS:
      array = array[None]
    if LENGTH in axes:
      array = array.take(range(length), axis=axes.index(LENGTH))
    params[name] = np.ascontiguousarray(array)
  return params, fields.get("base_model_name_or_path") or None


def _tensors(folder):
  """Opens the adapter's tensors. PEFT before 0.7 wrote them with PyTorch."""
  old = folder / "adapter_model.bin"
  if old.is_file() and not (folder / TENSORS).is_file():
    return TorchFiles(folder, [old])
  if not (folder / TENSORS).is_file():
    raise FileNotFoundError(f"{folder} has {CONFIG} but no {TENSORS}")
  return TensorFiles(folder, [folder / TENSORS])


def _check_shapes(folder, kind, arrays, fields):
  """Checks the tensors against each other and the config's numbers.

  Returns:
    The rows of a prompt: `num_virtual_tokens`, or twice as many if there is a
    prompt for the decoder too.
  """
  length, shape = fields.get("num_virtual_tokens"), arrays[PROMPT].shape
  if len(shape) != 2 or not isinstance(length, int) or length < 1:
    raise ValueError(
      f"{folder}: {PROMPT} must be [num_virtual_tokens, token_dim] with"
      f" num_virtual_tokens={length!r} of {CONFIG}, got shape {shape}"
    )
  rows, emb_dim = shape
  if rows not in (length, 2 * length):
    raise ValueError(
      f"{folder}: {PROMPT} has {rows} rows, but {CONFIG} says"
      f" num_virtual_tokens={length}"
    )
  num_tasks, rank = fields.get("num_tasks"), fields.get("num_ranks")
  sizes = {TASKS: num_tasks, LENGTH: rows, RANK: rank, EMBED: emb_dim}
  for theirs, name in kind.peft_names.items():
    expected = tuple(
      sizes[axis] for axis in kind.leaves[name].axes if axis != GROUPS
    )
    if arrays[theirs].shape != expected:
      raise ValueError(
        f"{folder}: {theirs} has shape {arrays[theirs].shape}, but {CONFIG}"
        f" (num_tasks={num_tasks}, num_ranks={rank}) and {PROMPT} make it"
        f" {expected}"
      )
  return rows
