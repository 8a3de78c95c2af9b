"""Published numbers of accelerators, for estimates of time and memory."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """The published numbers of a chip.

  Attributes:
    name: what it is called.
    flops: peak bfloat16 flops in a second, without sparsity.
    bandwidth: bytes in a second to and from its memory.
    memory: bytes of its memory, or None if that is the machine's.
    link: bytes in a second that it can send to other chips, over all links.
    source: where the numbers stand.
  """

  name: str
  flops: float
  bandwidth: float
  memory: int | None
  link: float
  source: str


GIB = 2**30

CHIPS = {
  # Table 4: 275 teraflops, 32 GiB, 1,200 GB/s, six links of 50 GB/s each way.
  "v4": Chip(
    name="TPU v4",
    flops=275e12,
    bandwidth=1200e9,
    memory=32 * GIB,
    link=300e9,
    source="Jouppi et al. (2023), arXiv:2304.01433",
  ),
  # 16 GB, of which a program may have 15.75 GiB. 1,600 Gbit/s.
  "v5e": Chip(
    name="TPU v5e",
    flops=197e12,
    bandwidth=819e9,
    memory=16 * GIB,
    link=200e9,
    source="cloud.google.com/tpu/docs/v5e",
  ),
  # 1,200 GB/s in both directions together.
  "v5p": Chip(
    name="TPU v5p",
    flops=459e12,
    bandwidth=2765e9,
    memory=95 * GIB,
    link=600e9,
    source="cloud.google.com/tpu/docs/v5p",
  ),
  # 800 GB/s in both directions together.
  "v6e": Chip(
    name="TPU v6e",
    flops=918e12,
    bandwidth=1640e9,
    memory=32 * GIB,
    link=400e9,
    source="cloud.google.com/tpu/docs/v6e",
  ),
  # The SXM module: 989 teraflops without sparsity; NVLink 900 GB/s in both
  # directions together.
  "h100": Chip(
    name="H100 SXM",
    flops=989e12,
    bandwidth=3350e9,
    memory=80 * 10**9,
    link=450e9,
    source="nvidia.com/en-us/data-center/h100",
  ),
  # The same chip with other memory: 141 GB at 4.8 TB/s.
  "h200": Chip(
    name="H200 SXM",
    flops=989e12,
    bandwidth=4800e9,
    memory=141 * 10**9,
    link=450e9,
    source="nvidia.com/en-us/data-center/h200",
  ),
}
# Parts of a device's kind, as JAX calls it. The first that occurs counts.
_KINDS = (
  ("TPU v4", "v4"),
  ("TPU v5 lite", "v5e"),
  ("TPU v5e", "v5e"),
  ("TPU v5", "v5p"),
  ("TPU v6", "v6e"),
  ("H100", "h100"),
  ("H200", "h200"),
)


def find_chip(device_kind: str) -> Chip | None:
  """Returns the chip that JAX calls `device_kind`; None if it is not listed.

  >>> find_chip("TPU v5 lite").name
  'TPU v5e'
  """
  for part, name in _KINDS:
    if part in device_kind:
      return CHIPS[name]
  return None
