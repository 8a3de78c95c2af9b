"""The queue: bounded, fair, with deadlines."""

import types

import numpy as np
import pytest

from mpt_jax.serve.waiting import Closed, Full, Queue, Request


def _requests(names, **changes):
  ids = np.ones(3, np.int32)
  return [
    Request(types.SimpleNamespace(name=n), ids, True, **changes) for n in names
  ]


def _names(requests):
  return "".join(r.task.name for r in requests)


def test_tasks_are_served_in_turn():
  queue = Queue(100)
  queue.put(_requests("aaaaaabbc"))
  assert _names(queue.peek(100)) == "abcabaaaa"
  queue.take(queue.peek(4))
  # b and a have had their turn in this order; c is done.
  assert _names(queue.peek(100)) == "abaaa"
  queue.put(_requests("d"))
  assert _names(queue.peek(3)) == "abd"
  assert len(queue) == 6


def test_a_task_with_many_requests_delays_others_by_one():
  queue = Queue(1000)
  queue.put(_requests("a" * 500))
  queue.put(_requests("b"))
  assert _names(queue.peek(2)) == "ab"


def test_order_within_a_task_is_kept():
  queue = Queue(10)
  requests = _requests("aaa")
  queue.put(requests)
  assert queue.peek(10) == requests
  queue.take(requests[:1])
  assert queue.peek(10) == requests[1:]


def test_a_full_queue_takes_all_or_none():
  queue = Queue(3)
  queue.put(_requests("ab"))
  with pytest.raises(Full) as caught:
    queue.put(_requests("cd"))
  assert caught.value.retry_after >= 1
  assert _names(queue.peek(9)) == "ab"
  queue.put(_requests("c"))
  assert len(queue) == 3


def test_what_nobody_waits_for_is_dropped():
  queue = Queue(10)
  late = _requests("a", deadline=5.0)
  gone, kept = _requests("a"), _requests("ab")
  queue.put([*late, *gone, *kept])
  gone[0].future.cancel()
  assert queue.drop(now=4.0) == []
  assert len(queue) == 3
  assert queue.drop(now=5.0) == late
  assert queue.peek(9) == kept and len(queue) == 2


def test_a_closed_queue_still_serves():
  queue = Queue(10)
  queue.put(_requests("a"))
  queue.close()
  with pytest.raises(Closed):
    queue.put(_requests("b"))
  assert _names(queue.peek(9)) == "a"


def test_a_listener_that_fails_harms_its_own_request_alone():
  (request,) = _requests("a", on_tokens=lambda tokens: tokens[99])
  request.tell([1, 2])
  with pytest.raises(IndexError):
    request.future.result(timeout=0)
  request.tell([1, 2])


def test_a_client_that_left_gets_no_answer():
  (request,) = _requests("a")
  request.future.cancel()
  request.resolve(1)
  request.fail(ValueError())
  assert request.future.cancelled()
