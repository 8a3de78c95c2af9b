"""The quickstart's clock: what it says, and what it adds up."""

import time

from mpt_jax.quickstart.clock import Clock


def test_a_name_that_occurs_again_adds_to_its_seconds():
  clock = Clock()
  for _ in range(2):
    with clock.part("evaluate"):
      time.sleep(0.02)
  with clock.part("adapt"):
    pass
  # A sleep may last longer than asked for, but never shorter.
  assert list(clock.seconds) == ["evaluate", "adapt"]
  assert clock.seconds["evaluate"] >= 0.04
  assert 0.0 <= clock.seconds["adapt"]


def test_it_says_what_runs_and_keeps_to_stderr(capsys):
  clock = Clock()
  with clock.part("teach", "two tasks"):
    assert capsys.readouterr().err == "teach: two tasks\n"
  with clock.part("evaluate"):
    assert capsys.readouterr().err == ""
  with clock.part("adapt", "one task"):
    assert capsys.readouterr().err == "\nadapt: one task\n"
  clock.end("a.json has the rest")
  found = capsys.readouterr()
  assert found.err == "\n0 s in all; a.json has the rest\n"
  assert found.out == ""
