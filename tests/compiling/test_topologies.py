"""Names of slices."""

import json
import os
import subprocess
import sys

import jax
import pytest

from mpt_jax.compiling.chips import CHIPS, find_chip
from mpt_jax.compiling.topologies import find_topology


@pytest.mark.parametrize(
  "name, message",
  [
    ("v9:2x2", "no slice: give one such as v5e:4x4"),
    ("v5e", "no slice"),
    ("", "no slice"),
    ("v4-7", "must be a multiple of 2"),
    ("v4-24", "a slice has 4, 8, 16, ... chips"),
    ("cpu:99", "jax_num_cpu_devices|this machine has 8"),
  ],
)
def test_a_name_that_is_none(name, message):
  # Their number cannot change any more once they are counted.
  assert jax.device_count() == 8
  with pytest.raises(ValueError, match=message) as caught:
    find_topology(name)
  assert "\n" not in str(caught.value)


def test_the_cpu_at_hand():
  found = find_topology("cpu")
  assert found.devices == tuple(jax.devices("cpu"))
  assert found.chip is None and found.num_hosts == 1
  assert found.host() == found


def test_kinds_of_chips():
  # As libtpu calls them; "TPU v5" alone is v5p.
  assert find_chip("TPU v5 lite") is CHIPS["v5e"]
  assert find_chip("TPU v5") is CHIPS["v5p"]
  assert find_chip("TPU v6 lite") is CHIPS["v6e"]
  assert find_chip("NVIDIA H100 80GB HBM3") is CHIPS["h100"]
  assert find_chip("cpu") is None
  # 197e12 / 819e9: a v5e wants 240 flops for each byte.
  assert CHIPS["v5e"].flops / CHIPS["v5e"].bandwidth == pytest.approx(
    240.5, 0.01
  )


SLICES = """
import json
from mpt_jax.compiling.topologies import find_topology
made = {}
names = "v4-8 v4-32 v5e-1 v5e-16 v5e:2x4 v6e-8 2*v5e:4x4"
for name in names.split():
  found = find_topology(name)
  last = found.devices[-1]
  made[name] = [str(found), found.num_hosts, last.coords]
host = find_topology("v5e-16").host()
made["host"] = [str(host), host.num_hosts, host.devices[-1].coords]
print(json.dumps(made))
"""


def test_slices_of_libtpu():
  pytest.importorskip("libtpu", reason="the extra [tpu] has the TPU's compiler")
  made = subprocess.run(
    [sys.executable, "-c", SLICES],
    env={**os.environ, "XLA_FLAGS": ""},
    capture_output=True,
    text=True,
    check=True,
  )
  # libtpu would write about the TPU that is not here.
  assert made.stderr == ""
  found = json.loads(made.stdout)
  assert found["v4-8"] == ["4 × TPU v4", 1, [1, 1, 0]]
  # 32 cores are 2 × 2 × 4 chips, four to a host.
  assert found["v4-32"] == ["16 × TPU v4 on 4 hosts", 4, [1, 1, 3]]
  assert found["v5e-1"] == ["1 × TPU v5e", 1, [0, 0, 0]]
  assert found["v5e-16"] == ["16 × TPU v5e on 4 hosts", 4, [3, 3, 0]]
  # Eight chips of v5e and v6e are one machine.
  assert found["v5e:2x4"] == ["8 × TPU v5e", 1, [1, 3, 0]]
  assert found["v6e-8"] == ["8 × TPU v6e", 1, [1, 3, 0]]
  # A slice of its own, because no program is compiled for a part of one.
  assert found["host"] == ["4 × TPU v5e", 1, [1, 1, 0]]
  assert found["2*v5e:4x4"] == ["32 × TPU v5e on 8 hosts", 8, [3, 3, 0]]
