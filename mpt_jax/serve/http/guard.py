"""What stands before every request: the key, limits, time limits, counts."""

import asyncio
import hmac
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

# Routes that need no key: probes, and the page on which one types the key.
OPEN = ("/", "/healthz", "/readyz")
HEADERS = {
  b"x-content-type-options": b"nosniff",
  b"x-frame-options": b"DENY",
  b"referrer-policy": b"no-referrer",
  b"cache-control": b"no-store",
}


def error_body(message: str, kind: str, code=None) -> dict:
  """Returns an error as the OpenAI interface writes it."""
  return {
    "error": {"message": message, "type": kind, "param": None, "code": code}
  }


def error_response(status, message, code=None, headers=None) -> JSONResponse:
  """Returns an error response."""
  kind = "invalid_request_error" if status < 500 else "server_error"
  if status == 429:
    kind = "rate_limit_error"
  return JSONResponse(error_body(message, kind, code), status, headers)


class Guard:
  """ASGI middleware around all routes.

  Args:
    app: the application.
    key: the API key, or None.
    metrics: the `Metrics`.
  """

  def __init__(self, app, *, key, metrics):
    self._app, self._metrics = app, metrics
    self._key = None if key is None else key.encode()

  async def __call__(self, scope, receive, send):
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return
    begun, status = time.monotonic(), 500

    async def counted(message):
      nonlocal status
      if message["type"] == "http.response.start":
        status = message["status"]
        message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
      await send(message)

    try:
      if self._may_enter(scope):
        await self._app(scope, receive, counted)
      else:
        refusal = error_response(
          401,
          "give the API key as 'Authorization: Bearer KEY'",
          "invalid_api_key",
          {"www-authenticate": "Bearer"},
        )
        await refusal(scope, receive, counted)
    finally:
      route = scope.get("route")
      path = getattr(route, "path", "other")
      self._metrics.request(path, status, time.monotonic() - begun)

  def _may_enter(self, scope) -> bool:
    if self._key is None or scope["path"] in OPEN:
      return True
    given = dict(scope["headers"]).get(b"authorization", b"")
    kind, _, given = given.partition(b" ")
    return kind.lower() == b"bearer" and hmac.compare_digest(
      given.strip(), self._key
    )


async def read_body(request, most: int, seconds: float) -> bytes:
  """Reads a request's body, within limits.

  Args:
    request: the request.
    most: the most bytes.
    seconds: the longest time.

  Raises:
    HTTPException: it is too long (413), or came too slowly (408).
  """
  too_long = HTTPException(413, f"the body is longer than {most} bytes")
  length = request.headers.get("content-length", "0")
  if length.isdigit() and int(length) > most:
    raise too_long
  body = bytearray()
  try:
    async with asyncio.timeout(seconds):
      async for part in request.stream():
        body += part
        if len(body) > most:
          raise too_long
  except TimeoutError:
    raise HTTPException(
      408, f"the body took longer than {seconds:g} seconds"
    ) from None
  return bytes(body)


def timed_protocol(seconds: float) -> type:
  """Makes uvicorn's protocol drop clients that neither send nor take.

  uvicorn itself waits without end for the head of a request, and for a client
  to take its answer.

  Args:
    seconds: the longest time for the head of a request, for the next request
      of a connection, and for a full buffer to be taken.
  """

  class Timed(H11Protocol):
    def connection_made(self, transport):
      super().connection_made(transport)
      self._timers = {}
      self._watch()

    def data_received(self, data):
      super().data_received(data)
      self._watch()

    def on_response_complete(self):
      super().on_response_complete()
      self._watch()

    def pause_writing(self):
      super().pause_writing()
      self._start("write")

    def resume_writing(self):
      super().resume_writing()
      self._stop("write")

    def connection_lost(self, exc):
      for name in list(self._timers):
        self._stop(name)
      super().connection_lost(exc)

    def _watch(self):
      if self.cycle is None or self.cycle.response_complete:
        self._start("head")
      else:
        self._stop("head")

    def _start(self, name):
      if name not in self._timers:
        self._timers[name] = self.loop.call_later(seconds, self._expire, name)

    def _stop(self, name):
      timer = self._timers.pop(name, None)
      if timer is not None:
        timer.cancel()

    def _expire(self, name):
      # If the server itself was busy, what the client sent may be waiting.
      self._timers[name] = self.loop.call_later(
        min(1.0, seconds), self.transport.abort
      )

  return Timed
