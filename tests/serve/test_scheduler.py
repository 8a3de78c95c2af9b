"""The scheduler, without HTTP: mixtures, cancellation, deadlines, drain."""

import time

import numpy as np
import pytest
from serving import TARGETS, draw_rows, make_service

from mpt_jax.inference.engine.example import NotFiniteError
from mpt_jax.inference.predictor import Predictor
from mpt_jax.serve.scheduler import warm_up
from mpt_jax.serve.service import Limits
from mpt_jax.serve.waiting import Closed, Expired


@pytest.fixture(scope="module")
def predictor(bank, backbone):
  return Predictor(
    bank, backbone, inputs_length=16, targets_length=TARGETS, batch_size=8
  )


@pytest.fixture
def service(backbone, engine, bank):
  made = make_service(backbone, engine, [bank])
  yield made
  made.scheduler.halt()


def _answer(request):
  made = request.future.result(timeout=120)
  texts = request.task.texts
  return texts.ranked(made) if request.ranks else texts.generated(made)


def test_answers_are_those_of_predict_in_random_mixtures(
  service, predictor, bank
):
  rng = np.random.default_rng(0)
  service.scheduler.start(warm_up=False)
  for count in (1, 2, 40, 100):
    rows = draw_rows(rng, bank.names, count)
    requests = [service.request(row, row["task"]) for row in rows]
    # They arrive in bursts of any size.
    for part in np.array_split(np.arange(count), rng.integers(1, 6)):
      service.submit([requests[i] for i in part])
      time.sleep(float(rng.uniform(0, 0.02)))
    made = [{**r, **_answer(q)} for r, q in zip(rows, requests, strict=True)]
    assert made == predictor.predict(rows)


def test_a_draw_is_that_of_the_first_row_of_predict(service, backbone, bank):
  sampling = Predictor(
    bank,
    backbone,
    inputs_length=16,
    targets_length=TARGETS,
    batch_size=8,
    temperature=1.5,
    seed=7,
  )
  row = {"text": "red house", "task": "c"}
  (expected,) = sampling.predict([row])
  service.scheduler.start(warm_up=False)
  requests = [
    service.request(row, "c", temperature=1.5, seed=seed) for seed in (7, 8, 7)
  ]
  greedy = service.request(row, "c")
  service.submit([*requests, greedy])
  texts = [_answer(request)["prediction"] for request in requests]
  assert texts[0] == texts[2] == expected["prediction"]
  assert len({*texts, _answer(greedy)["prediction"]}) == 3


def test_tokens_come_one_after_the_other(service):
  service.scheduler.start(warm_up=False)
  seen = []
  request = service.request({"text": "red"}, "c", on_tokens=seen.append)
  short = service.request({"text": "red"}, "c", max_tokens=2)
  service.submit([request, short])
  tokens = request.future.result(timeout=120)
  assert seen[-1] == tokens
  assert all(a == b[: len(a)] for a, b in zip(seen, seen[1:], strict=False))
  assert short.future.result(timeout=120) == tokens[:2]


def test_who_leaves_frees_its_place(service):
  """More than the rows of a table wait; most of them leave."""
  requests = [service.request({"text": "red"}, "c") for _ in range(60)]
  service.submit(requests)
  for request in requests[:-1]:
    request.future.cancel()
  late = service.request({"text": "red"}, "c", seconds=0.001)
  service.submit([late])
  time.sleep(0.01)
  service.scheduler.start(warm_up=False)
  assert requests[-1].future.result(timeout=120)
  with pytest.raises(Expired):
    late.future.result(timeout=120)
  assert len(service.queue) == 0
  # All rows of the table of prompts but those of the tasks are free.
  assert service.table.sizes()["used"] == len(service.names())


def test_a_deadline_ends_a_row_that_is_decoded(service):
  service.scheduler.start(warm_up=False)
  request = service.request({"text": "red"}, "c")
  request.deadline = time.monotonic() + 1e9
  request.on_tokens = lambda tokens: setattr(request, "deadline", 0.0)
  service.submit([request])
  try:
    made = request.future.result(timeout=120)
    assert len(made) <= TARGETS  # It ended within its first steps.
  except Expired:
    pass
  after = service.request({"text": "red"}, "c")
  service.submit([after])
  assert after.future.result(timeout=120)


def test_drain_answers_what_waits(service):
  requests = [service.request({"text": "red"}, name) for name in "abcdef" * 10]
  service.submit(requests)
  service.scheduler.start(warm_up=False)
  assert service.scheduler.drain(timeout=240)
  for request in requests:
    assert len(request.future.result(timeout=0))
  with pytest.raises(Closed):
    service.submit([service.request({"text": "red"}, "a")])


def test_halt_fails_what_waits(service):
  request = service.request({"text": "red"}, "a")
  service.submit([request])
  service.scheduler._halt.set()
  service.scheduler.start(warm_up=False)
  with pytest.raises(Closed):
    request.future.result(timeout=60)


class Broken:
  """An engine whose encoder fails while `fails` is set.

  Scores of three labels are not finite.
  """

  def __init__(self, engine):
    self._engine, self.fails = engine, True

  def score(self, encoded, examples, chosen):
    made = self._engine.score(encoded, examples, chosen)
    return [x * np.nan if len(x) == 3 else x for x in made]

  def __getattr__(self, name):
    return getattr(self._engine, name)

  def encode(self, *args):
    if self.fails:
      raise RuntimeError("no memory")
    return self._engine.encode(*args)


def test_a_batch_that_fails_does_not_end_the_server(backbone, engine, bank):
  broken = Broken(engine)
  service = make_service(backbone, broken, [bank])
  service.scheduler.start(warm_up=False)
  request = service.request({"text": "red"}, "a")
  service.submit([request])
  with pytest.raises(RuntimeError, match="no memory"):
    request.future.result(timeout=60)
  broken.fails = False
  # Three labels belong to b.
  again, spoilt = (service.request({"text": "red"}, name) for name in "ab")
  service.submit([again, spoilt])
  with pytest.raises(NotFiniteError, match="the text for 'b'"):
    spoilt.future.result(timeout=120)
  assert len(again.future.result(timeout=120)) == 2
  service.scheduler.halt()


def test_after_the_warm_up_nothing_is_compiled(service, engine, backbone, bank):
  """Not for requests of any length, and not for tasks that are added."""
  warm_up(engine)
  programs = [*engine.programs(), *engine.table_programs()]
  before = [program._cache_size() for program in programs]
  service.scheduler.start(warm_up=False)
  rng = np.random.default_rng(1)
  for i in range(5):
    label = "green " * int(rng.integers(1, 40))
    renamed = [f"new {i} {name!r}" for name in bank.names]
    service.add(bank, renamed, {"label_names": [f"{label}a", f"{label}b"]})
    rows = draw_rows(rng, [*bank.names, *renamed], int(rng.integers(1, 30)))
    requests = [service.request(row, row["task"]) for row in rows]
    service.submit(requests)
    for request in requests:
      request.future.result(timeout=240)
  assert [program._cache_size() for program in programs] == before


def test_tasks_take_turns(backbone, engine, bank):
  """One text of a task is not behind 200 of another."""
  service = make_service(backbone, engine, [bank], limits=Limits(queue=1000))
  done = []

  def note(request):
    request.future.add_done_callback(lambda _: done.append(request.task.name))
    return request

  many = [note(service.request({"text": "red"}, "a")) for _ in range(200)]
  service.submit(many)
  one = note(service.request({"text": "red"}, "b"))
  service.submit([one])
  service.scheduler.start(warm_up=False)
  service.scheduler.drain(timeout=240)
  assert len(done) == 201
  # The encoder gets at most 8 · 32 rows at once here, on eight devices.
  assert done.index("b") < 256 and one.future.result() is not None
