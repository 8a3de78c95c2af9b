"""Digests that processes compare, and decisions of a process alone.

What several processes agree on is in test_processes.py.
"""

import signal

import numpy as np
import pytest

from mpt_jax.io import locks
from mpt_jax.process import signals
from mpt_jax.training import agreement


def test_a_digest_tells_every_change_of_arrays():
  arrays = {"a": np.arange(6, dtype=np.int32), "b": np.zeros((2, 3), np.int32)}
  digest = agreement.digest(arrays)
  assert digest == agreement.digest(dict(reversed(arrays.items())))
  other = arrays["a"].copy()
  other[5] = 7
  changes = (
    {"a": other},
    {"a": arrays["a"].astype(np.uint32)},
    {"b": arrays["b"].reshape(3, 2)},
    {"c": arrays["a"]},
  )
  changed = {agreement.digest({**arrays, **c}) for c in changes}
  assert len(changed) == 4 and digest not in changed
  # It goes on from what came before.
  assert agreement.digest(arrays, 1) != digest


def test_the_code_is_part_of_its_digest(tmp_path):
  for folder, text in (("a", "x = 1\n"), ("b", "x = 1\n"), ("c", "x = 2\n")):
    (tmp_path / folder / "room").mkdir(parents=True)
    (tmp_path / folder / "room" / "module.py").write_text(text)
  one, same, other = (agreement.code_digest(tmp_path / n) for n in "abc")
  assert one == same != other
  assert agreement.code_digest() == agreement.code_digest()


def test_the_minutes_to_the_next_checkpoint(monkeypatch):
  now = 1000.0
  monkeypatch.setattr(agreement.time, "monotonic", lambda: now)
  agreed = agreement.Agreement(signals.Stop(print), 2)
  now = 1119.0
  assert not agreed.is_due()
  now = 1120.0
  assert agreed.is_due()
  agreed.begin(3)
  assert not agreed.is_due()
  for never in (None, 0):
    assert not agreement.Agreement(signals.Stop(print), never).is_due()


def test_one_process_stops_at_its_own_signal():
  stop = signals.Stop(print)
  stop.is_deferred = True
  agreed = agreement.Agreement(stop, None)
  agreed.see({"a": np.zeros(3)})
  agreed.meet(10)
  assert not agreed.should_stop()
  stop(signal.SIGINT)
  assert agreed.should_stop() and agreed.signum == signal.SIGINT


def test_one_process_agrees_with_itself(tmp_path):
  agreement.compare({"a": 1}, {"b": "2"})
  with pytest.raises(ZeroDivisionError), agreement.together():
    raise ZeroDivisionError
  with agreement.hold(tmp_path / "run"):
    assert locks.read_token(tmp_path / "run")
  with agreement.stopping():
    assert signals.current() is None
