"""What is counted of compiled programs, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mpt_jax.compiling import counts, measure
from mpt_jax.compiling.program_text import ProgramText
from mpt_jax.compiling.stages import Program
from mpt_jax.model import partitioning


def shape(mesh, sizes, *axes, dtype=jnp.float32):
  sharding = NamedSharding(mesh, PartitionSpec(*axes))
  return jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding)


def measured(function, **arguments):
  program = Program("f", jax.jit(function), arguments, {}, 1, "")
  return measure.measure(program)


def test_products_of_matrices():
  mesh = partitioning.make_mesh()
  found = measured(
    lambda x, v, w: (x @ v) @ w,
    x=shape(mesh, (64, 32), "data"),
    v=shape(mesh, (32, 16)),
    w=shape(mesh, (16, 48)),
  )
  # Each of the eight devices has 8 rows: 2 · 8 · 32 · 16 + 2 · 8 · 16 · 48.
  assert found.flops == 8192 + 12288
  # 8 · 32 + 32 · 16 + 16 · 48 numbers of four bytes.
  assert found.arguments_bytes == 4 * (256 + 512 + 768)
  assert found.output_bytes == 4 * 8 * 48
  assert not found.collectives


def test_a_scan_counts_each_round():
  mesh = partitioning.make_mesh()

  def layers(x, w):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

  x = shape(mesh, (64, 32), "data")
  one, five = (
    measured(layers, x=x, w=shape(mesh, (rounds, 32, 32))) for rounds in (1, 5)
  )
  # A round multiplies [8, 32] by [32, 32]; XLA's own count is of one round.
  product = 2 * 8 * 32 * 32
  assert one.flops == pytest.approx(product, rel=0.05)
  assert five.flops == pytest.approx(5 * product, rel=0.05)
  # It reads a layer's [32, 32] at least, not all five of them in each round.
  layer = 4 * 32 * 32
  assert five.bytes_accessed > 5 * layer
  assert five.bytes_accessed < 5 * 5 * layer


def test_an_all_reduce():
  mesh = partitioning.make_mesh()
  replicated = partitioning.replicated(mesh)
  function = jax.jit(lambda x, y: x.T @ y, out_shardings=replicated)
  program = Program(
    "f",
    function,
    {
      "x": shape(mesh, (64, 4), "data"),
      "y": shape(mesh, (64, 6), "data"),
    },
    {},
    1,
    "",
  )
  (found,) = measure.measure(program).collectives
  assert (found.kind, found.group, found.count) == ("all-reduce", 8, 1)
  assert found.num_bytes == 4 * 4 * 6
  # In a ring, each device sends seven eighths twice: to sum, and to spread.
  assert found.sent == 2 * 7 / 8 * 96


# As a TPU's compiler writes it, shortened: a loop of 12 rounds whose limit is
# an element of what it starts with, and one gather in two places.
LOOP = """\
HloModule jit_f, is_scheduled=true

%body (p: (s32[], bf16[16,128], s32[])) -> (s32[], bf16[16,128], s32[]) {
  %p = (s32[]{:T(128)}, bf16[16,128]{1,0:T(8,128)(2,1)S(1)}, s32[]) parameter(0)
  %x = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%p), index=1
  %gather.1 = bf16[16,512]{1,0:T(8,128)(2,1)} all-gather(%x), channel_id=2, \
replica_groups=[4,4]<=[16], dimensions={1}, \
metadata={op_name="jit(f)/jvp()/while/body/encoder/mlp/dot"}
  %gather.2 = bf16[16,512]{1,0:T(8,128)(2,1)} all-gather(%x), channel_id=2, \
replica_groups=[4,4]<=[16], dimensions={1}
  %w = bf16[512,128]{1,0} constant({...})
  %product = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} convolution(%gather.1, %w), \
dim_labels=bf_io->bf
  %sum = bf16[16,128]{1,0} all-reduce(%product), channel_id=3, \
replica_groups=mesh['axis_0'=2,'axis_1'=8] {'axis_1'}, to_apply=%add
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] get-tuple-element(%p), index=2
  ROOT %made = (s32[], bf16[16,128], s32[]) tuple(%i, %sum, %n)
}

%condition (q: (s32[], bf16[16,128], s32[])) -> pred[] {
  %q = (s32[], bf16[16,128], s32[]) parameter(0)
  %at = s32[] get-tuple-element(%q), index=0
  %limit = s32[] get-tuple-element(%q), index=2
  ROOT %less = pred[] compare(%at, %limit), direction=LT
}

ENTRY %main (a: bf16[16,128]) -> bf16[16,128] {
  %a = bf16[16,128]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %twelve = s32[] constant(12)
  %copy = s32[] copy(%twelve)
  %start = (s32[], bf16[16,128], /*index=2*/s32[]) tuple(%zero, %a, %copy)
  %loop = (s32[], bf16[16,128], s32[]) while(%start), condition=%condition, \
body=%body
  ROOT %out = bf16[16,128]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_a_loop_as_a_tpus_compiler_writes_it():
  text = ProgramText(LOOP)
  assert text.counts == {"main": 1, "condition": 12, "body": 12}
  gather, total = sorted(counts.collectives(text), key=lambda c: c.kind)
  assert gather == ("all-gather", "bf16[16,512]", 2 * 16 * 512, 4, 12)
  # Eight of the sixteen devices stand along axis_1.
  assert total == ("all-reduce", "bf16[16,128]", 2 * 16 * 128, 8, 12)
  # XLA counts one product: 2 · 16 · 512 · 128. Eleven more are in the loop.
  product = 2 * 16 * 512 * 128
  flops, _ = counts.in_loops(text, product, 1.0)
  assert flops == 12 * product
  first, *others = counts.largest(text)
  assert first == ("encoder/mlp/dot", "bf16[16,512]", 2 * 16 * 512, 1)
  # The product is in the chip's own memory, S(1), and not in the list.
  assert "convolution" not in {x.name for x in others}
  assert ("all-reduce", "bf16[16,128]", 2 * 16 * 128, 1) in others


def test_a_product_in_batches_as_a_convolution():
  # TPUs write [8, 16, 32] · [8, 32, 4] as a dilated convolution, in which each
  # of the eight batches meets itself alone: 8 products of 2 · 16 · 32 · 4.
  text = ProgramText(
    """\
ENTRY %main (a: f32[8,16,32], b: f32[8,32,4]) -> f32[8,16,4] {
  %a = f32[8,16,32]{2,1,0} parameter(0)
  %b = f32[8,32,4]{2,1,0} parameter(1)
  ROOT %c = f32[8,16,4]{2,1,0} convolution(%a, %b), window={size=8 stride=7 \
pad=0_0 lhs_dilate=8}, dim_labels=0bf_0io->0bf
}
"""
  )
  product = next(x for x in text.computations["main"].values() if x.is_root)
  assert counts.product_flops(text, "main", product) == 8 * 2 * 16 * 32 * 4


def test_a_kernels_own_estimate():
  text = ProgramText(
    """\
ENTRY %main (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0} parameter(0)
  ROOT %k = f32[8,128]{1,0} custom-call(%a), \
custom_call_target="tpu_custom_call", \
backend_config={"custom_call_config":{"cost_estimate":{"flops":"123",\
"bytes_accessed":"456"}}}
}
"""
  )
  kernel = next(x for x in text.computations["main"].values() if x.is_root)
  assert counts.product_flops(text, "main", kernel) == 123
  assert counts.moved(text, "main", kernel) == 456
