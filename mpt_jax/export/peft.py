"""PEFT's adapters of soft prompts, written and read without PEFT or PyTorch.

An adapter is a folder with `adapter_config.json` and
`adapter_model.safetensors`. Two of PEFT's methods hold what we train:

  MULTITASK_PROMPT_TUNING   P* and the factors of tasks that share it
  PROMPT_TUNING             one plain soft prompt: a teacher, a merged prompt

Axis letters: P prompt_length, D emb_dim, N num_tasks, R rank, and S, PEFT's
`num_transformer_submodules`: 1 where the encoder alone has a prompt, as ours
has.
"""

import json
import pathlib

import numpy as np
from safetensors.numpy import save

from mpt_jax.backbones.tensor_files import TensorFiles, TorchFiles

MULTITASK = "MULTITASK_PROMPT_TUNING"
PLAIN = "PROMPT_TUNING"
CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
# PEFT's name of each tensor, and ours.
_NAMES = {
  "prompt_embeddings": "shared_prompt",
  "prefix_task_cols": "task_columns",
  "prefix_task_rows": "task_rows",
}


def is_adapter(folder) -> bool:
  return (pathlib.Path(folder) / CONFIG).is_file()


def write_adapter(
  folder, params, *, base_model=None, num_layers=None, num_heads=None
):
  """Writes the prompts that share one P* as an adapter.

  Args:
    folder: an existing folder.
    params: {"shared_prompt": [1, P, D]} for PROMPT_TUNING and, for
      MULTITASK_PROMPT_TUNING, "task_columns" [N, P, R], "task_rows" [N, R, D].
    base_model: name or folder of the T5, for `base_model_name_or_path`.
    num_layers: the encoder's; None leaves it to PEFT, which asks the model.
    num_heads: the same.

  Raises:
    ValueError: more than one P*.
  """
  arrays = {k: np.asarray(v, np.float32) for k, v in params.items()}
  groups, length, emb_dim = arrays["shared_prompt"].shape
  if groups != 1:
    raise ValueError(f"an adapter holds one shared prompt, got {groups}")
  multitask = "task_columns" in arrays
  fields = {
    "auto_mapping": None,
    "base_model_name_or_path": base_model,
    # Loading for training asks PEFT for is_trainable=True.
    "inference_mode": True,
    "modules_to_save": None,
    "num_attention_heads": num_heads,
    "num_layers": num_layers,
    # Left out, PEFT takes 2 and puts a second prompt before the decoder.
    "num_transformer_submodules": 1,
    "num_virtual_tokens": length,
    "peft_type": MULTITASK if multitask else PLAIN,
    # Any other start needs a file or a tokenizer when the adapter is loaded.
    "prompt_tuning_init": "RANDOM",
    "prompt_tuning_init_text": None,
    "revision": None,
    "task_type": "SEQ_2_SEQ_LM",
    "token_dim": emb_dim,
    "tokenizer_name_or_path": None,
  }
  if multitask:
    num_tasks, _, rank = arrays["task_columns"].shape
    fields |= {
      "num_ranks": rank,
      "num_tasks": num_tasks,
      "prompt_tuning_init_state_dict_path": None,
      "prompt_tuning_init_task": 0,
    }
  tensors = {
    name: np.ascontiguousarray(arrays[ours])
    for name, ours in _NAMES.items()
    if ours in arrays
  }
  tensors["prompt_embeddings"] = tensors["prompt_embeddings"][0]
  folder = pathlib.Path(folder)
  (folder / TENSORS).write_bytes(save(tensors, {"format": "pt"}))
  text = json.dumps(fields, indent=2, sort_keys=True)
  (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_adapter(folder, encoder_half: bool = False):
  """Reads an adapter.

  Args:
    folder: a folder of PEFT's `save_pretrained`, or of `write_adapter`.
    encoder_half: of an adapter that prompts the decoder too (S = 2), take the
      encoder's prompt and drop the other. That is what PEFT's own `generate`
      does, but the logits of its `forward`, and so of its training, used both.

  Returns:
    `params` as for `write_adapter`, float32, and the name of the base model or
    None.

  Raises:
    FileNotFoundError: no such adapter.
    ValueError: another method, a decoder prompt, or tensors that do not fit.
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
  kind = fields.get("peft_type")
  if kind not in (MULTITASK, PLAIN):
    raise ValueError(
      f"{folder} is a PEFT adapter of {kind}; only {MULTITASK} and {PLAIN} are"
      " soft prompts that T5's encoder gets in front of its input"
    )
  names = list(_NAMES) if kind == MULTITASK else ["prompt_embeddings"]
  tensors = _tensors(folder)
  if set(tensors) != set(names):
    raise ValueError(
      f"the tensors of {folder} must be {', '.join(names)}, got"
      f" {', '.join(sorted(tensors))}"
    )
  # Every float of 16 bits is one of 32 bits too.
  params = {
    _NAMES[name]: np.ascontiguousarray(tensors[name], np.float32)
    for name in names
  }
  _check_shapes(folder, params, fields)
  params["shared_prompt"] = params["shared_prompt"][None]
  length = fields["num_virtual_tokens"]
  if params["shared_prompt"].shape[1] > length:
    if not encoder_half:
      raise ValueError(
        f"{folder} has num_transformer_submodules=2: a prompt of the decoder"
        " beside the encoder's, which ours have not. Train it with"
        " num_transformer_submodules=1, or take the encoder's half alone (mpt"
        " import: --encoder-half), as PEFT's generate does; its logits in"
        " training were other ones"
      )
    for name in ("shared_prompt", "task_columns"):
      if name in params:
        params[name] = np.ascontiguousarray(params[name][:, :length])
  return params, fields.get("base_model_name_or_path") or None


def _tensors(folder):
  """The adapter's tensors; PEFT before 0.7 wrote a file of PyTorch's."""
  old = folder / "adapter_model.bin"
  if old.is_file() and not (folder / TENSORS).is_file():
    return TorchFiles(folder, [old])
  if not (folder / TENSORS).is_file():
    raise FileNotFoundError(f"{folder} has {CONFIG}, but no {TENSORS}")
  return TensorFiles(folder, [folder / TENSORS])


def _check_shapes(folder, params, fields):
  """Checks the tensors against each other and the config's numbers."""
  shapes = {name: array.shape for name, array in params.items()}
  length, (rows, *rest) = (
    fields.get("num_virtual_tokens"),
    (shapes["shared_prompt"]),
  )
  if len(rest) != 1 or not isinstance(length, int) or length < 1:
    raise ValueError(
      f"{folder}: prompt_embeddings must be [num_virtual_tokens, token_dim]"
      f" with num_virtual_tokens={length!r} of {CONFIG}, got shape"
      f" {shapes['shared_prompt']}"
    )
  if rows not in (length, 2 * length):
    raise ValueError(
      f"{folder}: prompt_embeddings has {rows} rows, but {CONFIG} says"
      f" num_virtual_tokens={length}"
    )
  if "task_columns" not in params:
    return
  num_tasks, rank = fields.get("num_tasks"), fields.get("num_ranks")
  expected = {
    "task_columns": (num_tasks, rows, rank),
    "task_rows": (num_tasks, rank, rest[0]),
  }
  for name, ours in _NAMES.items():
    if ours in expected and shapes[ours] != expected[ours]:
      raise ValueError(
        f"{folder}: {name} has shape {shapes[ours]}, but {CONFIG}"
        f" (num_tasks={num_tasks}, num_ranks={rank}) and prompt_embeddings"
        f" make it {expected[ours]}"
      )
