"""The HTTP interface, in this process, by httpx."""

import asyncio
import contextlib
import io
import json
import zipfile

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from serving import ODD, make_bank, make_engine, make_service
from train_fixtures import save_tiny_backbone

from mpt_jax.export import prompt_files
from mpt_jax.serve.http.app import make_app
from mpt_jax.serve.http.fields import Bounds
from mpt_jax.serve.http.metrics import Metrics
from mpt_jax.serve.service import Limits

NAMES = ("a", "b", "c", *ODD)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
  return save_tiny_backbone(tmp_path_factory.mktemp("app") / "t5")


@pytest.fixture(scope="module")
def engine(backbone):
  return make_engine(backbone)


class Client:
  """Calls an application without a socket."""

  def __init__(self, app):
    self.app = app

  def __call__(self, method, path, **changes):
    return asyncio.run(self._call(method, path, **changes))

  async def _call(self, method, path, **changes):
    # An error inside becomes a response, as it does with a socket.
    transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
      transport=transport, base_url="http://test", timeout=120
    ) as client:
      return await client.request(method, path, **changes)

  def post(self, path, body, **changes):
    return self("POST", path, json=body, **changes)


@contextlib.contextmanager
def _client(backbone, engine, key=None, start=True, bounds=None, **changes):
  metrics = Metrics()
  service = make_service(
    backbone,
    engine,
    [make_bank(backbone, NAMES)],
    observe=metrics.observe,
    **changes,
  )
  bounds = bounds or Bounds(body=20_000, upload=200_000, texts=8, seconds=5)
  client = Client(make_app(service, metrics, bounds, key))
  client.service = service
  if start:
    service.scheduler.start(warm_up=False)
  yield client
  if start:
    service.scheduler.halt()
  service.close()


@pytest.fixture(scope="module")
def client(backbone, engine, tmp_path_factory):
  folder = tmp_path_factory.mktemp("folder")
  with _client(backbone, engine, folder=folder) as made:
    yield made


def _events(response):
  lines = [x for x in response.text.split("\n\n") if x]
  assert lines[-1] == "data: [DONE]"
  return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_one_text_and_many(client):
  one = client.post("/v1/predict", {"task": "a", "text": "red house"})
  assert one.status_code == 200
  (result,) = one.json()["results"]
  assert result["text"] == "red house" and result["task"] == "a"
  assert result["prediction"] == max(result["scores"], key=result["scores"].get)
  assert sum(result["probabilities"].values()) == pytest.approx(1)
  rows = [{"text": "blue"}, {"text": "red house", "task": "a", "n": 1}]
  many = client.post("/v1/predict", {"task": "c", "rows": rows}).json()
  assert many["results"][1] == {**result, "n": 1}
  assert isinstance(many["results"][0]["prediction"], str)
  assert "scores" not in many["results"][0]
  # Numbers are written as `mpt predict` writes them: none is rounded.
  text = json.dumps(one.json(), ensure_ascii=False)
  assert one.text == text


def test_odd_names_are_data(client):
  for name in ODD:
    made = client.post("/v1/predict", {"task": name, "text": "red"})
    assert made.status_code == 200, made.text
    assert client("GET", f"/v1/tasks/{_quote(name)}").json()["name"] == name
  page = client("GET", "/")
  assert "<script>alert" not in page.text
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
  assert "default-src 'none'" in page.headers["content-security-policy"]


def _quote(name):
  import urllib.parse

  return urllib.parse.quote(name, safe="")


@pytest.mark.parametrize("task", ["a", "c"])
def test_a_stream_is_the_answer(client, task):
  body = {"task": task, "text": ["red house", "tree"]}
  whole = client.post("/v1/predict", body).json()["results"]
  events = _events(client.post("/v1/predict", {**body, "stream": True}))
  for index, result in enumerate(whole):
    own = [e for e in events if e["index"] == index]
    assert own[-1]["result"] == result
    deltas = "".join(e["delta"] for e in own[:-1])
    assert deltas == result["prediction"]


def test_errors_in_a_stream_are_events(client):
  late = client.post(
    "/v1/predict",
    {"task": "c", "text": "red", "stream": True, "timeout": 0.001},
  )
  # It may be answered just in time.
  assert '"deadline"' in late.text or "[DONE]" in late.text


def test_tasks_come_and_go(client, backbone):
  bank = make_bank(backbone, ["new one", "new two"], seed=4)
  data = prompt_bytes(bank)
  kind = {"content-type": "application/octet-stream"}
  made = client("POST", "/v1/tasks", content=data, headers=kind)
  assert made.status_code == 201, made.text
  assert [t["name"] for t in made.json()["tasks"]] == ["new one", "new two"]
  assert made.json()["durable"] is False
  again = client("POST", "/v1/tasks", content=data, headers=kind)
  assert again.status_code == 409
  text = {"task": "new one", "text": "red"}
  before = client.post("/v1/predict", text).json()
  # One slot under another name, with other labels.
  single = prompt_bytes(make_bank(backbone, ["x"], seed=5))
  made = client(
    "PUT",
    "/v1/tasks/new one",
    content=single,
    headers=kind,
    params={"label_names": ["tree", "water"], "template": "{text}?"},
  )
  assert made.status_code == 200, made.text
  assert made.json()["tasks"][0]["label_names"] == ["tree", "water"]
  after = client.post("/v1/predict", text).json()
  assert after != before
  assert set(after["results"][0]["scores"]) == {"tree", "water"}
  for name in ("new one", "new two"):
    assert client("DELETE", f"/v1/tasks/{name}").status_code == 200
    assert client("DELETE", f"/v1/tasks/{name}").status_code == 404
  assert client.post("/v1/predict", text).status_code == 404
  listed = [t["name"] for t in client("GET", "/v1/tasks").json()["tasks"]]
  assert listed == list(NAMES)


ZIP = {"content-type": "application/zip"}


def prompt_bytes(bank):
  import tempfile

  with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
    bank.save(file.name)
    return open(file.name, "rb").read()


def test_a_peft_folder_as_zip_and_by_path(client, backbone):
  folder = client.service.folder / "adapter"
  bank = make_bank(backbone, ["p"], seed=6)
  prompt_files.export_prompts(bank, "peft", folder)
  packed = io.BytesIO()
  with zipfile.ZipFile(packed, "w") as archive:
    for path in folder.iterdir():
      archive.write(path, f"some/folder/{path.name}")
    archive.writestr("../../evil", "x")
  made = client(
    "POST",
    "/v1/tasks",
    content=packed.getvalue(),
    headers=ZIP,
  )
  assert made.status_code == 201, made.text
  body = {"path": "adapter", "name": "by path", "label_names": ["yes", "no"]}
  assert client.post("/v1/tasks", body).status_code == 201
  answers = [
    client.post("/v1/predict", {"task": t, "text": "is: red"}).json()
    for t in ("p", "by path")
  ]
  scores = [answer["results"][0]["scores"] for answer in answers]
  assert scores[0] == scores[1]
  for name in ("p", "by path"):
    client("DELETE", f"/v1/tasks/{name}")
  out = client.post("/v1/tasks", {"path": "../x"})
  assert (out.status_code, out.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("method", ["DEFLATED", "BZIP2", "LZMA"])
def test_a_damaged_archive_is_the_clients_mistake(client, method):
  packed = io.BytesIO()
  how = getattr(zipfile, f"ZIP_{method}")
  with zipfile.ZipFile(packed, "w", how) as archive:
    archive.writestr("adapter_config.json", json.dumps({"x": "a b c" * 50}))
  whole = packed.getvalue()
  for position in range(4, len(whole), 3):
    data = bytearray(whole)
    data[position] ^= 0xFF
    made = client("POST", "/v1/tasks", content=bytes(data), headers=ZIP)
    assert made.status_code == 400, (position, made.text)
    assert "\n" not in made.json()["error"]["message"]


def test_a_full_queue_says_when_to_come_again(backbone, engine):
  with _client(backbone, engine, limits=Limits(queue=3), start=False) as client:
    body = {"task": "a", "text": ["red"] * 4}
    made = client.post("/v1/predict", body)
    assert made.status_code == 429
    assert int(made.headers["retry-after"]) >= 1
    assert made.json()["error"]["type"] == "rate_limit_error"
    assert client("GET", "/readyz").status_code == 503
    assert client("GET", "/healthz").status_code == 200


def test_a_key(backbone, engine):
  with _client(backbone, engine, key="secret", start=False) as client:
    for given in (None, "Bearer wrong", "secret", "Basic secret", "Bearer é"):
      headers = {} if given is None else {"authorization": given.encode()}
      made = client("GET", "/v1/tasks", headers=headers)
      assert made.status_code == 401
      assert made.headers["www-authenticate"] == "Bearer"
      assert client("GET", "/metrics", headers=headers).status_code == 401
    good = {"authorization": "Bearer secret"}
    assert client("GET", "/v1/tasks", headers=good).status_code == 200
    for path in ("/", "/healthz", "/readyz"):
      assert client("GET", path).status_code != 401


def test_metrics_can_be_read(client):
  client.post("/v1/predict", {"task": "a", "text": "red"})
  client("GET", "/v1/nothing/<b>")
  text = client("GET", "/metrics").text
  families = {f.name: f for f in text_string_to_metric_families(text)}
  assert families["mpt_tasks"].samples[0].value == len(NAMES)
  assert families["mpt_ranked"].samples[0].value >= 1
  paths = {s.labels["path"] for s in families["mpt_requests"].samples}
  # Names that clients send do not become names of counts.
  assert "/v1/predict" in paths and not any("<b>" in p for p in paths)


def test_openapi_names_the_routes(client):
  document = client("GET", "/openapi.json").json()
  routes = {
    (route.path.replace(":path", ""), method.lower())
    for route in client.app.routes
    for method in route.methods - {"HEAD"}
  }
  described = {
    (path, method)
    for path, operations in document["paths"].items()
    for method in operations
  }
  pages = {("/", "get"), ("/docs", "get"), ("/openapi.json", "get")}
  assert described == routes - pages
  assert client("GET", "/docs").status_code == 200


@pytest.mark.parametrize(
  ("body", "status", "message"),
  [
    ({}, 400, "give 'text'"),
    ({"text": "red"}, 400, "'task' must be the name of a task"),
    ({"task": "zzz", "text": "red"}, 404, "no task 'zzz'"),
    ({"task": "a", "text": 1}, 400, "'text' must be a list of texts"),
    ({"task": "a", "text": ["red"] * 9}, 413, "it may have 8"),
    ({"task": "a", "rows": [{"x": 1}]}, 400, "no field 'text'"),
    ({"task": "a", "text": "red", "top": 1}, 400, "unknown field 'top'"),
    ({"task": "a", "text": "x" * 30_000}, 413, "longer than 20000 bytes"),
    ({"task": "a", "text": "r", "temperature": -1}, 400, "from 0 to 100"),
    ({"task": "a", "text": "r", "max_tokens": True}, 400, "a whole number"),
    ({"task": "a", "text": "r", "seed": 10**400}, 400, "a whole number"),
    ({"task": "a", "text": "r", "stream": 1}, 400, "true or false"),
  ],
)
def test_mistakes_are_named(client, body, status, message):
  made = client.post("/v1/predict", body)
  assert made.status_code == status
  assert message in made.json()["error"]["message"]


def test_what_only_one_value_is_served_of_is_refused(client):
  body = {"model": "a", "prompt": "red", "n": 2}
  made = client.post("/v1/completions", body)
  assert made.status_code == 400
  assert "'n' may only be 1" in made.json()["error"]["message"]


def test_a_form_of_another_site_is_refused(client):
  made = client(
    "POST",
    "/v1/predict",
    content=b'{"task": "a", "text": "red"}',
    headers={"content-type": "text/plain"},
  )
  assert made.status_code == 415


_VALUES = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=20)
  | st.sampled_from(NAMES),
  lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4)
  ),
  max_leaves=8,
)
_FIELDS = st.sampled_from(
  ["task", "text", "rows", "model", "prompt", "stream", "max_tokens", "seed"]
  + ["temperature", "timeout", "path", "name", "names", "label_names", "n"]
)
_BODIES = st.one_of(
  st.dictionaries(_FIELDS, _VALUES, max_size=6).map(
    lambda x: json.dumps(x).encode()
  ),
  st.binary(max_size=200),
  st.sampled_from(
    [
      b"[" * 10_000,
      b'{"task": "a", "text": "\\ud800"}',
      b'{"task": "a", "text": 1e999}',
      b'{"task": "a", "rows": [{"text": "r", "x": NaN}]}',
      b"PK\x03\x04",
      b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
    ]
  ),
)


@settings(
  max_examples=200,
  deadline=None,
  suppress_health_check=list(HealthCheck),
)
@given(
  method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
  path=st.sampled_from(
    ["/v1/predict", "/v1/completions", "/v1/tasks", "/v1/tasks/%00zzz"]
    + ["/v1/models/..%2f..%2fetc", "/v1/tasks?name=q", "/%ff", "/v1"]
  ),
  kind=st.sampled_from(
    ["application/json", "application/octet-stream", "application/zip", "x"]
  ),
  body=_BODIES,
)
def test_malformed_requests_are_refused_and_harm_nothing(
  client, method, path, kind, body
):
  made = client(method, path, content=body, headers={"content-type": kind})
  assert made.status_code < 500 or made.status_code == 504, made.text
  if made.status_code >= 400 and made.status_code not in (405, 404):
    assert made.json()["error"]["message"]
  assert client.service.scheduler.error is None
  assert set(client.service.names()) == set(NAMES)
  assert client("GET", "/healthz").text == "ok"
