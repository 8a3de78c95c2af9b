"""Reads the JSON that clients send. Every field is checked here."""

import dataclasses
import json

from starlette.exceptions import HTTPException

from mpt_jax.serve.http.guard import read_body

# Fields of `/v1/predict` and `/v1/completions` that say how to generate.
_SETTINGS = ("max_tokens", "temperature", "seed", "stream", "timeout")
# Fields of OpenAI's interface that this server has only one value of.
_ONLY = {
  "n": 1,
  "best_of": 1,
  "echo": False,
  "logprobs": None,
  "stop": None,
  "suffix": None,
  "presence_penalty": 0,
  "frequency_penalty": 0,
  "top_p": 1,
  "logit_bias": None,
  "stream_options": None,
}
_DEEPEST = 20


@dataclasses.dataclass(frozen=True)
class Bounds:
  """Limits of HTTP.

  Attributes:
    body: the most bytes of a body of JSON.
    upload: the most bytes of a body of prompts.
    texts: the most texts of a request.
    seconds: the longest wait for a client to send or to take something.
  """

  body: int = 2**20
  upload: int = 64 * 2**20
  texts: int = 256
  seconds: float = 30.0


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a request wants its outputs; see `Service.request`."""

  max_tokens: int | None = None
  temperature: float = 0.0
  seed: int = 0
  stream: bool = False
  seconds: float | None = None


async def read_json(request, bounds: Bounds) -> dict:
  """Reads the JSON object of a request.

  Raises:
    HTTPException: it is too long, too slow, of another type (415), or no JSON
      object (400).
  """
  kind = request.headers.get("content-type", "").partition(";")[0].strip()
  if kind.lower() != "application/json":
    # A page of another site could send a form here, but not JSON.
    raise HTTPException(415, "the content type must be application/json")
  body = await read_body(request, bounds.body, bounds.seconds)
  try:
    value = json.loads(body, parse_constant=_refuse)
    # An answer has to repeat the row.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
  except (ValueError, RecursionError) as error:
    raise HTTPException(400, f"the body is not valid JSON: {error}") from None
  if not isinstance(value, dict):
    raise HTTPException(400, "the body must be a JSON object")
  if _depth(value) > _DEEPEST:
    raise HTTPException(400, f"the body is nested deeper than {_DEEPEST}")
  return value


def _refuse(name):
  raise ValueError(f"{name} is no JSON number")


def _depth(value) -> int:
  depth, level = 0, [value]
  while level and depth <= _DEEPEST:
    depth += 1
    level = [
      inner
      for outer in level
      if isinstance(outer, dict | list)
      for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]
  return depth


def predict_rows(body: dict, bounds: Bounds):
  """Reads `/v1/predict`.

  Returns:
    ([(row, task's name)], `Settings`).

  Raises:
    HTTPException: a field is missing or malformed.
  """
  settings = _settings(body)
  if "rows" in body:
    rows = _list(body["rows"], "rows", dict, bounds)
    _only(body, ("rows", "task", *_SETTINGS))
  else:
    if "text" not in body:
      raise HTTPException(400, "give 'text', a text or a list, or 'rows'")
    _only(body, ("text", "task", *_SETTINGS))
    texts = body["text"]
    texts = [texts] if isinstance(texts, str) else texts
    rows = [{"text": t} for t in _list(texts, "text", str, bounds)]
  found = []
  for number, row in enumerate(rows):
    name = row.get("task", body.get("task"))
    if not isinstance(name, str):
      raise HTTPException(
        400, f"row {number}: 'task' must be the name of a task"
      )
    found.append(({**row, "task": name}, name))
  return found, settings


def completion(body: dict, bounds: Bounds):
  """Reads `/v1/completions`.

  Returns:
    (task's name, [text], `Settings`).

  Raises:
    HTTPException: a field is missing or malformed, or asks for something that
      this server does not do.
  """
  settings = _settings(body)
  name = body.get("model")
  if not isinstance(name, str):
    raise HTTPException(400, "'model' must be the name of a task")
  prompt = body.get("prompt")
  texts = [prompt] if isinstance(prompt, str) else prompt
  texts = _list(texts, "prompt", str, bounds)
  for field, only in _ONLY.items():
    if body.get(field) not in (only, None):
      raise HTTPException(
        400, f"{field!r} may only be {json.dumps(only)} on this server"
      )
  _only(body, ("model", "prompt", "user", *_ONLY, *_SETTINGS))
  return name, texts, settings


def _only(body, known):
  more = sorted(set(body) - set(known))
  if more:
    raise HTTPException(
      400, f"unknown field {more[0]!r:.80}; known: {', '.join(known)}"
    )


def _list(values, name, kind, bounds):
  noun = "objects" if kind is dict else "texts"
  is_list = isinstance(values, list) and all(
    isinstance(value, kind) for value in values
  )
  if not is_list or not values:
    raise HTTPException(400, f"{name!r} must be a list of {noun}")
  if len(values) > bounds.texts:
    raise HTTPException(
      413, f"{name!r} has {len(values)} {noun}; it may have {bounds.texts}"
    )
  return values


def _settings(body) -> Settings:
  stream = body.get("stream")
  if not isinstance(stream, bool | None):
    raise HTTPException(400, "'stream' must be true or false")
  return Settings(
    max_tokens=_number(body, "max_tokens", int, 1, 2**31 - 1),
    temperature=_number(body, "temperature", float, 0, 100) or 0.0,
    seed=_number(body, "seed", int, -(2**31), 2**31 - 1) or 0,
    stream=bool(stream),
    seconds=_number(body, "timeout", float, 0.001, 86400),
  )


def _number(body, name, kind, low, high):
  value = body.get(name)
  if value is None:
    return None
  kinds = (int,) if kind is int else (int, float)
  good = type(value) in kinds and low <= value <= high
  if not good:
    noun = "a whole number" if kind is int else "a number"
    raise HTTPException(400, f"{name!r} must be {noun} from {low} to {high}")
  return value
