"""What an interrupted prediction left is continued, or refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, REFUSED, damaged_file, may_refuse

from mpt_jax.inference.prediction_output import open_output

LINES = [b'{"a": %d, "prediction": "yes"}\n' % i for i in range(4)]
BEGUN = {"prompts": "a", "sizes": [1, 2]}


class Stop(Exception):
  """An interruption."""


@pytest.mark.parametrize("suffix", ["", ".sums", ".json"])
@CASES
@given(data=st.data())
def test_journals(suffix, tmp_path_factory, data):
  """Damaged lines are predicted again, and the output is that of one call."""
  target = tmp_path_factory.getbasetemp() / "journals" / "out.jsonl"
  target.unlink(missing_ok=True)
  for path in target.parent.glob("out*"):
    path.unlink()
  with pytest.raises(Stop), open_output(target, BEGUN) as (file, _):
    file.write(b"".join(LINES[:3]))
    file.flush()
    raise Stop
  path = target.with_name(f"out.jsonl.partial{suffix}")
  path.write_bytes(data.draw(damaged_file(path.read_bytes())))

  def resume():
    with open_output(target, BEGUN) as (file, written):
      file.write(b"".join(LINES[written:]))
      file.flush()

  if may_refuse(resume, "out.jsonl.partial") is not REFUSED:
    assert target.read_bytes() == b"".join(LINES)
