"""The names and shapes of a T5's tensors, and checks of files against them."""

import functools
import math

import jax
from flax import traverse_util

from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model

# An error lists so many problems of each kind before it lists more of any.
_SHOWN_OF_A_KIND = 6
_SIZES = (
  "vocab_size",
  "emb_dim",
  "num_heads",
  "head_dim",
  "mlp_dim",
  "num_relpos_buckets",
)
# Up to these sizes the tensors are compared one by one.
_SMALL, _SMALL_LAYERS = 2**20, 64


@functools.cache
def parameter_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
  """Shapes of all tensors of a T5, by flat t5x name, sorted."""
  model = Model(config, trainable="everything")
  params = jax.eval_shape(model.init_variables, jax.random.key(0))["params"]
  flat = traverse_util.flatten_dict(params, sep="/")
  return {name: tuple(flat[name].shape) for name in sorted(flat)}


def num_backbone_parameters(config: T5Config) -> int:
  """The number of parameters of a T5 without prompts."""
  return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def check_sizes(where, config: T5Config, shapes):
  """Compares the sizes of a config with tensors before anything is computed.

  `parameter_shapes` takes a time that grows with the number of layers.

  Args:
    where: names the files in the error.
    config: the shape of the T5.
    shapes: the shapes of all tensors of the files.

  Raises:
    ValueError: a size is so large that the tensors cannot be of that T5.
  """
  largest = max([math.prod(shape) for shape in shapes], default=0)
  layers = config.num_encoder_layers + config.num_decoder_layers
  problems = [
    f"{name}={getattr(config, name)} is more than any tensor has"
    for name in _SIZES
    if getattr(config, name) > max(largest, _SMALL)
  ]
  if layers > max(len(shapes), _SMALL_LAYERS):
    problems.append(f"{layers} layers, but only {len(shapes)} tensors")
  raise_problems(where, problems)


def check_tensors(where, found, expected):
  """Raises a ValueError if tensors are missing, unexpected or misshapen.

  Args:
    where: names the files in the error.
    found: {name: shape} of the files.
    expected: {name: shape}, see `parameter_shapes`.
  """
  shapes = [
    f"shape of {name}: expected {expected[name]}, got {found[name]}"
    for name in expected
    if name in found and found[name] != expected[name]
  ]
  missing = [f"missing: {name}" for name in expected if name not in found]
  more = [f"unexpected: {n}" for n in sorted(found) if n not in expected]
  # The error is cut, so some of each kind come first.
  kinds = (missing, more, shapes)
  first = [problem for kind in kinds for problem in kind[:_SHOWN_OF_A_KIND]]
  rest = [problem for kind in kinds for problem in kind[_SHOWN_OF_A_KIND:]]
  raise_problems(where, first + rest)


def raise_problems(where, problems):
  """Raises a ValueError that lists the problems, if there are any."""
  if problems:
    most = 3 * _SHOWN_OF_A_KIND
    shown = "; ".join(problems[:most])
    if len(problems) > most:
      shown += f"; and {len(problems) - most} more"
    raise ValueError(f"the tensors of {where} do not fit its config: {shown}")
