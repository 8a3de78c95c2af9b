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
import warnings
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save

from mpt_jax.backbones import hub
from mpt_jax.backbones.backbone import identify_backbone
from mpt_jax.backbones.hf_config import ARCHITECTURES
from mpt_jax.backbones.tensor_files import TensorFiles, TorchFiles
from mpt_jax.io import files
from mpt_jax.model.config import T5Config
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import EMBED, GROUPS, LENGTH, RANK, SLOTS
from mpt_jax.prompts.kinds import KINDS, read_sizes

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PROMPT = "prompt_embeddings"  # Both methods have this tensor.


def is_adapter(folder) -> bool:
  return (pathlib.Path(folder) / CONFIG).is_file()


def name_base(backbone) -> dict[str, str | None]:
  """Returns how `write_adapter` names a T5: by its name on the hub, or folder.

  >>> name_base("google/flan-t5-base@main")
  {'base_model': 'google/flan-t5-base', 'revision': 'main'}
  """
  name = hub.find_name(backbone)
  if name is not None:
    return {"base_model": name.model, "revision": name.revision}
  return {"base_model": str(pathlib.Path(backbone).resolve())}


def write_adapter(
  folder,
  params,
  groups,
  *,
  base_model=None,
  revision=None,
  num_layers=None,
  num_heads=None,
):
  """Writes the prompts of one group as an adapter.

  Args:
    folder: an existing folder.
    params: the arrays of the bank by name.
    groups: the group of each prompt; all must be 0.
    base_model: name or folder of the T5, for `base_model_name_or_path`.
    revision: its revision on the hub.
    num_layers: the encoder's layers; with None, PEFT asks the model.
    num_heads: the encoder's heads; None as above.

  Raises:
    ValueError: there are several groups, or PEFT has no method for the prompts.
  """
  config = PromptConfig.of_params(params, groups)
  kind = config.find_kind()
  if kind.peft_type is None:
    hint = "" if kind.has_offsets else "; --merge writes each as a plain one"
    raise ValueError(f"PEFT has no method for {kind.name} prompts{hint}")
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
    "revision": revision,
    "task_type": "SEQ_2_SEQ_LM",
    "token_dim": read_sizes(params)[EMBED],
    "tokenizer_name_or_path": None,
  }
  if config.can_share:
    fields |= {
      "num_ranks": config.rank,
      "num_tasks": config.num_slots,
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
    The arrays of a bank of one group, float32, and the fields of the config.

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
  fields = files.read_json(folder / CONFIG)
  method = fields.get("peft_type")
  kinds = {k.peft_type: k for k in KINDS.values() if k.peft_type is not None}
  if not isinstance(method, str) or method not in kinds:
    raise ValueError(
      f"{folder} is a PEFT adapter of {method!r:.40}; only"
      f" {' and '.join(kinds)} are soft prompts in front of the encoder's input"
    )
  kind = kinds[method]
  _check_fields(folder, fields)
  names = kind.peft_names
  tensors = _tensors(folder)
  if set(tensors) != set(names):
    raise ValueError(
      f"the tensors of {folder} must be {', '.join(names)}, got"
      f" {', '.join(sorted(tensors))}"
    )
  shapes = {theirs: tensors.shape(theirs) for theirs in names}
  rows = _check_shapes(folder, kind, shapes, fields)
  # float32 represents every float of 16 bits exactly. `import_prompts` looks
  # for infinities.
  with np.errstate(over="ignore"):
    arrays = {
      theirs: np.ascontiguousarray(tensors[theirs], np.float32)
      for theirs in names
    }
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
  return params, fields


class Base(NamedTuple):
  """A T5 that prompts may belong to."""

  name: str
  config: T5Config
  fingerprint: str

  @classmethod
  def open(cls, path):
    return cls(str(path), *identify_backbone(path))


def check_base(folder, fields, base: Base | None) -> Base | None:
  """Checks what an adapter's config says about its T5.

  Args:
    folder: the adapter.
    fields: its config.
    base: the T5 that the user names, or None.

  Returns:
    `base`, or the T5 in the folder `base_model_name_or_path` if there is one.

  Raises:
    ValueError: the adapter belongs to another T5.
  """
  name = fields.get("base_model_name_or_path")
  if not isinstance(name, str | None):
    raise ValueError(
      f"{folder / CONFIG}: base_model_name_or_path must be a name, got {name!r}"
    )
  named = None
  if name and pathlib.Path(name).is_dir():
    try:
      named = Base.open(name)
    except FileNotFoundError:
      # A folder of that name without weights, as a relative path may find.
      named = None
  if named is not None:
    if base is not None and base.fingerprint != named.fingerprint:
      raise ValueError(
        f"{folder} was trained on the T5 in {name} (base_model_name_or_path),"
        f" and {base.name} is another one; give --backbone {name}"
      )
    base = base or named
  elif name and base is not None:
    # The folder may be a copy of the model that the adapter names.
    last = pathlib.Path(base.name).resolve().name
    if name.rstrip("/").rpartition("/")[2] != last:
      warnings.warn(
        f"{folder} was trained on {name!r} (base_model_name_or_path); whether"
        f" {base.name} is that model cannot be checked here",
        stacklevel=2,
      )
  if base is not None:
    expected = {
      "token_dim": base.config.emb_dim,
      "num_layers": base.config.num_encoder_layers,
      "num_attention_heads": base.config.num_heads,
    }
    for field, value in expected.items():
      if fields.get(field) not in (None, value):
        raise ValueError(
          f"{folder} was trained on a model with {field}={fields[field]!r:.40}"
          f" ({CONFIG}), but {base.name} has {value}"
        )
  return base


# The fields beside those that `_check_shapes` and `check_base` read. A soft
# prompt has started long ago when its adapter is read.
_HARMLESS = {
  *("inference_mode", "peft_version", "revision", "prompt_tuning_init"),
  *("prompt_tuning_init_text", "prompt_tuning_init_state_dict_path"),
  *("prompt_tuning_init_task", "tokenizer_name_or_path", "tokenizer_kwargs"),
}
_READ = {
  *("peft_type", "task_type", "auto_mapping", "modules_to_save"),
  *("num_virtual_tokens", "num_transformer_submodules", "num_tasks"),
  *("num_ranks", "token_dim", "num_layers", "num_attention_heads"),
  "base_model_name_or_path",
}


def _check_fields(folder, fields):
  """Checks the fields that say what the prompts belong to.

  Raises:
    ValueError: the adapter is not for a T5 that generates text, or holds more
      than prompts.
  """
  task = fields.get("task_type")
  if task not in (None, "SEQ_2_SEQ_LM"):
    raise ValueError(
      f"{folder} is an adapter for another kind of model: task_type must be"
      f" SEQ_2_SEQ_LM, got {task!r:.40}"
    )
  mapping = fields.get("auto_mapping")
  base_class = (
    mapping.get("base_model_class") if isinstance(mapping, dict) else mapping
  )
  if base_class is not None and base_class not in ARCHITECTURES:
    raise ValueError(
      f"{folder} is an adapter for another kind of model: auto_mapping must"
      f" name a T5 that generates text, got {base_class!r:.60}"
    )
  if fields.get("modules_to_save"):
    raise ValueError(
      f"{folder} holds weights of the model beside the prompts"
      f" (modules_to_save={fields['modules_to_save']!r:.60}), which a frozen T5"
      " cannot take"
    )
  unknown = sorted(map(str, set(fields) - _READ - _HARMLESS))
  if unknown:
    warnings.warn(
      f"{folder / CONFIG}: unknown fields ignored: {', '.join(unknown):.300}",
      stacklevel=2,
    )


def _tensors(folder):
  """Opens the adapter's tensors. PEFT before 0.7 wrote them with PyTorch."""
  old = folder / "adapter_model.bin"
  if old.is_file() and not (folder / TENSORS).is_file():
    return TorchFiles(folder, [old])
  if not (folder / TENSORS).is_file():
    raise FileNotFoundError(f"{folder} has {CONFIG} but no {TENSORS}")
  return TensorFiles(folder, [folder / TENSORS])


def _check_shapes(folder, kind, shapes, fields):
  """Checks the tensors against each other and the config's numbers.

  Returns:
    The rows of a prompt: `num_virtual_tokens`, or twice as many if there is a
    prompt for the decoder too.
  """
  length, shape = fields.get("num_virtual_tokens"), shapes[PROMPT]
  is_whole = isinstance(length, int) and not isinstance(length, bool)
  if len(shape) != 2 or not is_whole or length < 1:
    raise ValueError(
      f"{folder}: {PROMPT} must be [num_virtual_tokens, token_dim] with"
      f" num_virtual_tokens={length!r:.40} of {CONFIG}, got shape {shape}"
    )
  rows, emb_dim = shape
  if rows not in (length, 2 * length):
    raise ValueError(
      f"{folder}: {PROMPT} has {rows} rows, but {CONFIG} says"
      f" num_virtual_tokens={length!r:.40}"
    )
  stacks = fields.get("num_transformer_submodules")
  if stacks not in (None, rows // length):
    raise ValueError(
      f"{folder}: {PROMPT} has {rows} rows, but {CONFIG} says"
      f" num_transformer_submodules={stacks!r:.40} times {length}"
    )
  if fields.get("token_dim") not in (None, emb_dim):
    raise ValueError(
      f"{folder}: {PROMPT} has width {emb_dim}, but {CONFIG} says"
      f" token_dim={fields['token_dim']!r:.40}"
    )
  num_tasks, rank = fields.get("num_tasks"), fields.get("num_ranks")
  sizes = {SLOTS: num_tasks, LENGTH: rows, RANK: rank, EMBED: emb_dim}
  for theirs, name in kind.peft_names.items():
    expected = tuple(
      sizes[axis] for axis in kind.leaves[name].axes if axis != GROUPS
    )
    if shapes[theirs] != expected:
      raise ValueError(
        f"{folder}: {theirs} has shape {shapes[theirs]}, but {CONFIG}"
        f" (num_tasks={num_tasks!r:.40}, num_ranks={rank!r:.40}) and {PROMPT}"
        f" make it {expected!r:.60}"
      )
  return rows
