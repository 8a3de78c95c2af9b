"""Matrix products in bfloat16 as a CPU with matrix units (AMX) computes them.

XLA turns most products of bfloat16 arrays on a CPU into float32 ones. It keeps
those in bfloat16 whose result is asked for in float32 and whose arrays lie in
memory as the product reads them. Results are the same but for the order of
sums.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from mpt_jax.model import layers


def in_bfloat16():
  """Returns a context in which a T5's maps and logits are computed so."""
  return nn.intercept_methods(_intercept)


def _intercept(call, args, kwargs, context):
  module = context.module
  if context.method_name == "__call__" and isinstance(module, layers.Linear):
    (x,) = args
    kernel = module.get_variable("params", "kernel").astype(module.dtype)
    flat = x.astype(module.dtype).reshape(-1, x.shape[-1])
    return matmul(flat, kernel).reshape(*x.shape[:-1], module.features)
  if context.method_name == "attend" and isinstance(module, layers.Embed):
    (x,) = args
    table = module.get_variable("params", "embedding").astype(x.dtype)
    flat = logits(x.reshape(-1, x.shape[-1]), table)
    return flat.reshape(*x.shape[:-1], -1)
  return call(*args, **kwargs)


def _product(a, b, axis_a, axis_b):
  """Returns the float32 product over one axis of each."""
  dimensions = (((axis_a,), (axis_b,)), ((), ()))
  return lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


def _transposed(x):
  """Returns the transpose as a copy in memory, which a product can read."""
  return with_layout_constraint(x.T, Layout(major_to_minor=(0, 1)))


@jax.custom_vjp
def matmul(x, kernel):
  """[N, in] times [in, out] -> [N, out], in their dtype."""
  return _product(x, kernel, 1, 0).astype(x.dtype)


def _matmul_backward(inputs, gradient):
  x, kernel = inputs
  return (
    _product(gradient, kernel, 1, 1).astype(x.dtype),
    _product(_transposed(x), gradient, 1, 0).astype(kernel.dtype),
  )


matmul.defvjp(lambda *inputs: (matmul(*inputs), inputs), _matmul_backward)


@jax.custom_vjp
def logits(x, table):
  """[N, D] times the transpose of [V, D] -> [N, V] in float32."""
  return _product(x, table, 1, 1)


def _logits_backward(inputs, gradient):
  x, table = inputs
  gradient = gradient.astype(x.dtype)
  return (
    _product(gradient, table, 1, 0).astype(x.dtype),
    _product(_transposed(gradient), x, 1, 0).astype(table.dtype),
  )


logits.defvjp(lambda *inputs: (logits(*inputs), inputs), _logits_backward)
