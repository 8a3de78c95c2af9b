"""`/v1/tasks`: adds, replaces and removes tasks of a running server."""

import asyncio
import io
import pathlib
import tempfile
import zipfile

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mpt_jax.export import peft, prompt_files
from mpt_jax.io.errors import reading
from mpt_jax.serve.http.fields import read_json
from mpt_jax.serve.http.guard import read_body

_ZIP = b"PK\x03\x04"
# The files of an adapter; nothing else of a zip archive is read.
_ADAPTER = (peft.CONFIG, peft.TENSORS, prompt_files.NOTES)
_FIELDS = ("path", "name", "names", "label_names", "template")


async def _list(request: Request):
  service = request.app.state.shared.service
  tasks = []
  for name in service.names():
    try:
      tasks.append(service.find(name).describe())
    except LookupError:
      continue  # It was removed meanwhile.
  return JSONResponse({"tasks": tasks, "durable": service.is_durable})


async def _show(request: Request):
  service = request.app.state.shared.service
  return JSONResponse(service.find(request.path_params["name"]).describe())


async def _add(request: Request):
  return await _put_tasks(request, None, replace=False)


async def _replace(request: Request):
  return await _put_tasks(request, request.path_params["name"], replace=True)


async def _remove(request: Request):
  service = request.app.state.shared.service
  name = request.path_params["name"]
  await asyncio.to_thread(service.remove, name)
  return JSONResponse({"removed": name, "durable": service.is_durable})


async def _put_tasks(request, name, replace):
  """Adds or replaces tasks from an upload or from a path.

  The answer comes once the tasks can be used and are on the disk.
  """
  state = request.app.state.shared
  service, bounds = state.service, state.bounds
  kind = request.headers.get("content-type", "").partition(";")[0].strip()
  if kind.lower() == "application/json":
    body = await read_json(request, bounds)
    fields = _check(body)
    if "path" not in body:
      raise HTTPException(400, "give 'path', or upload a file as the body")
    bank = await asyncio.to_thread(service.read_path, body["path"])
  elif kind.lower() in ("application/octet-stream", "application/zip"):
    fields = _check(_query(request))
    data = await read_body(request, bounds.upload, bounds.seconds)
    bank = await asyncio.to_thread(_read_upload, service, data)
  else:
    raise HTTPException(
      415,
      "send a path as application/json, a prompt file as"
      " application/octet-stream, or PEFT's folder as application/zip",
    )
  names = fields.get("names")
  if name is not None or "name" in fields:
    names = [name if name is not None else fields["name"]]
  changes = {k: fields[k] for k in ("label_names", "template") if k in fields}
  made = await asyncio.to_thread(service.add, bank, names, changes, replace)
  return JSONResponse(
    {
      "tasks": [task.describe() for task in made],
      "durable": service.is_durable,
    },
    200 if replace else 201,
  )


def _query(request) -> dict:
  """The fields of a query: `names` and `label_names` may be repeated."""
  fields = {}
  for key, value in request.query_params.multi_items():
    if key in ("names", "label_names"):
      fields.setdefault(key, []).append(value)
    elif key in fields:
      raise HTTPException(400, f"{key!r:.80} is given twice")
    else:
      fields[key] = value
  return fields


def _check(fields: dict) -> dict:
  more = sorted(set(fields) - set(_FIELDS))
  if more:
    raise HTTPException(
      400, f"unknown field {more[0]!r:.80}; known: {', '.join(_FIELDS)}"
    )
  for key, value in fields.items():
    if key in ("names", "label_names"):
      good = isinstance(value, list) and value
      good = good and all(isinstance(text, str) for text in value)
      noun = "a list of texts"
    else:
      good, noun = isinstance(value, str), "a text"
    if not good:
      raise HTTPException(400, f"{key!r} must be {noun}")
  return fields


def _read_upload(service, data: bytes):
  """Reads uploaded prompts by way of a folder that is removed again.

  Raises:
    ValueError: the data is neither a prompt file nor an adapter.
  """
  with tempfile.TemporaryDirectory(prefix="mpt-upload-") as folder:
    path = pathlib.Path(folder)
    if data.startswith(_ZIP):
      path = path / "adapter"
      path.mkdir()
      _unpack(data, path)
    else:
      path = path / "prompts.safetensors"
      path.write_bytes(data)
    try:
      return service.read_bank(path)
    except (ValueError, OSError) as error:
      # The client does not know the folder.
      text = str(error).replace(f"{path}", "the upload")
      raise ValueError(text.replace(folder, "the upload")) from error


def _unpack(data, folder):
  """Unpacks an adapter's files, whatever folder of the archive they are in."""
  # A damaged archive raises errors of each of its ways of compressing.
  with reading("the upload", "a zip archive of an adapter"):
    archive = zipfile.ZipFile(io.BytesIO(data))
    for info in archive.infolist():
      name = pathlib.PurePosixPath(info.filename).name
      if name not in _ADAPTER:
        continue
      if info.file_size > len(data) * 100:
        raise ValueError(f"{name} in the upload is too large")
      if (folder / name).exists():
        raise ValueError(f"the upload has several files {name}")
      (folder / name).write_bytes(archive.read(info))
  if not (folder / peft.CONFIG).is_file():
    raise ValueError(f"the archive has no {peft.CONFIG}")


ROUTES = [
  Route("/v1/tasks", _list),
  Route("/v1/tasks", _add, methods=["POST"]),
  Route("/v1/tasks/{name:path}", _show),
  Route("/v1/tasks/{name:path}", _replace, methods=["PUT"]),
  Route("/v1/tasks/{name:path}", _remove, methods=["DELETE"]),
]
