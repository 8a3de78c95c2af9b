"""The HTTP application: predictions, completions, probes and pages."""

import asyncio
import json
import time
import uuid

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import (
  HTMLResponse,
  JSONResponse,
  PlainTextResponse,
  Response,
  StreamingResponse,
)
from starlette.routing import Route

from mpt_jax.inference.engine.example import NotFiniteError
from mpt_jax.serve.http import fields, pages, task_routes
from mpt_jax.serve.http.answers import Answer
from mpt_jax.serve.http.fields import Bounds, read_json
from mpt_jax.serve.http.guard import Guard, error_body, error_response
from mpt_jax.serve.http.metrics import Metrics
from mpt_jax.serve.service import Service, UnknownTask
from mpt_jax.serve.waiting import Closed, Expired, Full


class _State:
  """What the routes share.

  Attributes:
    service: the `Service`.
    metrics: the `Metrics`.
    bounds: the `Bounds`.
    started: when the server started, in seconds since 1970.
  """

  def __init__(self, service, metrics, bounds):
    self.service, self.metrics, self.bounds = service, metrics, bounds
    self.started = int(time.time())
    self.is_draining = False


def make_app(
  service: Service,
  metrics: Metrics,
  bounds: Bounds,
  key: str | None = None,
) -> Starlette:
  """Makes the application.

  Args:
    service: the service.
    metrics: its counts.
    bounds: limits of HTTP.
    key: the API key, or None.
  """
  metrics.watch(service)
  app = Starlette(
    routes=[
      Route("/", _page),
      Route("/docs", _docs),
      Route("/openapi.json", _openapi),
      Route("/healthz", _healthz),
      Route("/readyz", _readyz),
      Route("/metrics", _metrics),
      Route("/v1/predict", _predict, methods=["POST"]),
      Route("/v1/completions", _complete, methods=["POST"]),
      Route("/v1/models", _models),
      Route("/v1/models/{name:path}", _model),
      *task_routes.ROUTES,
    ],
    middleware=[Middleware(Guard, key=key, metrics=metrics)],
    exception_handlers={
      HTTPException: _http_error,
      UnknownTask: _failure,
      Full: _failure,
      Closed: _failure,
      Expired: _failure,
      ValueError: _failure,
      TypeError: _failure,
      OSError: _failure,
      NotFiniteError: _failure,
      Exception: _failure,
    },
  )
  app.state.shared = _State(service, metrics, bounds)
  return app


def status_of(error) -> tuple[int, str | None]:
  """Returns the HTTP status of an error, and its code."""
  table = (
    (UnknownTask, 404, "model_not_found"),
    (Full, 429, "queue_full"),
    (Closed, 503, "stopping"),
    (Expired, 504, "deadline"),
    (NotFiniteError, 422, "not_finite"),
    (FileExistsError, 409, "task_exists"),
    (FileNotFoundError, 404, "no_file"),
    (PermissionError, 403, "forbidden"),
    (OSError, 500, None),
    ((ValueError, TypeError), 400, None),
  )
  for kind, status, code in table:
    if isinstance(error, kind):
      return status, code
  return 500, None


async def _http_error(request, error):
  return error_response(
    error.status_code, str(error.detail), None, error.headers
  )


async def _failure(request, error):
  status, code = status_of(error)
  headers = {}
  if isinstance(error, Full):
    headers["retry-after"] = str(error.retry_after)
  if isinstance(error, Closed):
    headers["retry-after"] = "1"
  # What went wrong inside is the log's matter, not the client's.
  message = str(error) if status < 500 or code else "an error in the server"
  return error_response(status, message[:2000], code, headers)


def _shared(request) -> _State:
  return request.app.state.shared


# ------------------------------------------------------------------- pages


async def _page(request):
  names = _shared(request).service.names()
  return HTMLResponse(pages.page(names), headers=pages.HEADERS)


async def _docs(request):
  return HTMLResponse(pages.docs(), headers=pages.HEADERS)


async def _openapi(request):
  return JSONResponse(pages.OPENAPI)


async def _healthz(request):
  """Whether the process should live on."""
  if _shared(request).service.scheduler.error is not None:
    return PlainTextResponse("the scheduler failed", 500)
  return PlainTextResponse("ok")


async def _readyz(request):
  """Whether requests should come here."""
  state = _shared(request)
  if state.is_draining:
    return PlainTextResponse("stopping", 503)
  if not state.service.scheduler.is_ready:
    return PlainTextResponse("compiling", 503)
  return PlainTextResponse("ok")


async def _metrics(request):
  text = _shared(request).metrics.text()
  return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


# ------------------------------------------------------------- predictions


async def _predict(request):
  state = _shared(request)
  body = await read_json(request, state.bounds)
  rows, settings = fields.predict_rows(body, state.bounds)
  answers = [Answer(state.service, row, name, settings) for row, name in rows]
  if settings.stream:
    return await _stream(request, answers, _predict_events)
  await _wait(request, answers)
  return _json({"results": [answer.result() for answer in answers]})


async def _complete(request):
  state = _shared(request)
  body = await read_json(request, state.bounds)
  name, texts, settings = fields.completion(body, state.bounds)
  answers = [
    Answer(state.service, {"text": text}, name, settings) for text in texts
  ]
  head = {
    "id": f"cmpl-{uuid.uuid4().hex}",
    "object": "text_completion",
    "created": int(time.time()),
    "model": name,
  }
  if settings.stream:
    return await _stream(
      request, answers, lambda *args: _completion_events(head, *args)
    )
  await _wait(request, answers)
  choices = [_choice(i, a.text(), a.finish) for i, a in enumerate(answers)]
  return _json({**head, "choices": choices, "usage": _usage(answers)})


def _choice(index, text, finish):
  return {
    "index": index,
    "text": text,
    "logprobs": None,
    "finish_reason": finish,
  }


def _usage(answers):
  read = sum(len(answer.request.ids) for answer in answers)
  written = sum(answer.num_tokens for answer in answers)
  return {
    "prompt_tokens": read,
    "completion_tokens": written,
    "total_tokens": read + written,
  }


def _json(value) -> Response:
  """A JSON response with the numbers and texts as `mpt predict` writes them."""
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  return Response(text.encode(), media_type="application/json")


async def _wait(request, answers):
  """Waits for all answers; a client that leaves cancels them.

  Raises:
    Full, Closed, Expired, NotFiniteError: see `waiting.Queue` and `Scheduler`.
  """
  service = _shared(request).service
  service.submit([answer.request for answer in answers])
  futures = [asyncio.wrap_future(a.request.future) for a in answers]
  leaving = asyncio.create_task(_disconnected(request))
  try:
    everything = asyncio.gather(*futures)
    await asyncio.wait(
      [leaving, everything], return_when=asyncio.FIRST_COMPLETED
    )
    if not everything.done():
      everything.cancel()
      raise HTTPException(499, "the client left")
    await everything
  finally:
    leaving.cancel()
    for answer in answers:
      answer.request.future.cancel()


async def _disconnected(request):
  while (await request.receive())["type"] != "http.disconnect":
    pass


# --------------------------------------------------------------- streaming


async def _stream(request, answers, events):
  """Streams answers as server-sent events.

  Args:
    request: the HTTP request.
    answers: the answers.
    events: (index, answer, text or None) -> JSON values: for new text, or for
      the end.
  """
  service, queue = _shared(request).service, asyncio.Queue()
  loop = asyncio.get_running_loop()
  for index, answer in enumerate(answers):
    answer.watch(loop, queue, index)
  service.submit([answer.request for answer in answers])
  return StreamingResponse(
    _events(answers, queue, events),
    media_type="text/event-stream",
    headers={"x-accel-buffering": "no"},
  )


async def _events(answers, queue, events):
  left = len(answers)
  try:
    while left:
      index, text, error = await queue.get()
      if error is not None:
        status, code = status_of(error)
        message = str(error) if status < 500 or code else "an error"
        yield _event(error_body(message, "server_error", code))
        break
      if text is None:
        left -= 1
      for value in events(index, answers[index], text):
        yield _event(value)
    yield b"data: [DONE]\n\n"
  finally:
    for answer in answers:
      answer.request.future.cancel()


def _event(value) -> bytes:
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  return f"data: {text}\n\n".encode()


def _predict_events(index, answer, text):
  if text is not None:
    yield {"index": index, "delta": text}
  else:
    yield {"index": index, "result": answer.result()}


def _completion_events(head, index, answer, text):
  if text is not None:
    yield {**head, "choices": [_choice(index, text, None)]}
  else:
    yield {**head, "choices": [_choice(index, "", answer.finish)]}


# ------------------------------------------------------------------ models


def _describe_model(state, name):
  return {
    "id": name,
    "object": "model",
    "created": state.started,
    "owned_by": "mpt",
  }


async def _models(request):
  state = _shared(request)
  data = [_describe_model(state, name) for name in state.service.names()]
  return JSONResponse({"object": "list", "data": data})


async def _model(request):
  state = _shared(request)
  task = state.service.find(request.path_params["name"])
  return JSONResponse(_describe_model(state, task.name))
