"""`mpt serve` as a process: real clients, slow ones, kill -9, SIGTERM."""

import asyncio
import concurrent.futures
import importlib.util
import json
import pathlib
import socket
import threading
import time

import httpx
import numpy as np
import openai
import pytest
from serving import (
  INPUTS,
  ODD,
  TARGETS,
  Server,
  draw_rows,
  make_bank,
  predict,
)
from train_fixtures import save_tiny_backbone

from mpt_jax.serve.http.fields import Bounds
from mpt_jax.serve.http.server import ServeConfig, read_key

NAMES = ("a", "b", "c", "d", "e", *ODD)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with a T5 and a run of its prompts, whose lengths are short."""
  folder = tmp_path_factory.mktemp("server")
  backbone = save_tiny_backbone(folder / "t5")
  (folder / "run" / "prompts").mkdir(parents=True)
  bank = make_bank(backbone, NAMES)
  bank.save(folder / "run" / "prompts" / "best.safetensors")
  lengths = {"inputs_length": INPUTS, "targets_length": TARGETS}
  fields = {"backbone": backbone, "batch": lengths}
  (folder / "run" / "experiment.json").write_text(json.dumps(fields))
  return folder


@pytest.fixture(scope="module")
def server(place):
  made = Server(
    *("--prompts", str(place / "run")),
    *("--state", str(place / "state"), "--client-timeout", "5"),
    *("--max-queue", "400", "--batch-size", "64"),
  )
  yield made
  made.kill()


def _post(server, path, body, **changes):
  return httpx.post(server.url + path, json=body, timeout=120, **changes)


def test_answers_are_those_of_predict_to_the_byte(server, place, tmp_path):
  """Requests of random sizes, many at once, in random mixtures of tasks."""
  rng = np.random.default_rng(0)
  rows = draw_rows(rng, NAMES, 150)
  expected = predict(str(place / "run"), rows, tmp_path)
  parts = np.split(np.arange(150), np.sort(rng.integers(0, 150, 40)))
  parts = [part for part in parts if len(part)]

  def ask(part):
    body = {"rows": [rows[i] for i in part]}
    return _post(server, "/v1/predict", body).json()["results"]

  with concurrent.futures.ThreadPoolExecutor(12) as pool:
    order = rng.permutation(len(parts))
    asked = pool.map(ask, [parts[k] for k in order])
    answers = dict(zip(order, asked, strict=True))
  made = [None] * 150
  for k, results in answers.items():
    for i, result in zip(parts[k], results, strict=True):
      made[i] = json.dumps(result, ensure_ascii=False).encode()
  assert made == expected


def test_openais_client(server):
  client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")
  assert [model.id for model in client.models.list()] == list(NAMES)
  assert client.models.retrieve("c").id == "c"
  made = client.completions.create(model="c", prompt="red house")
  (expected,) = _post(
    server, "/v1/predict", {"task": "c", "text": "red house"}
  ).json()["results"]
  assert made.choices[0].text == expected["prediction"]
  assert made.usage.prompt_tokens > 1
  stream = client.completions.create(model="c", prompt="red house", stream=True)
  chunks = list(stream)
  text = "".join(chunk.choices[0].text for chunk in chunks)
  assert text == expected["prediction"]
  assert chunks[-1].choices[0].finish_reason in ("stop", "length")
  short = client.completions.create(
    model="c", prompt=["red", "tree"], max_tokens=1
  )
  assert [choice.index for choice in short.choices] == [0, 1]
  assert short.usage.completion_tokens == 2
  with pytest.raises(openai.NotFoundError, match="no task 'zzz'"):
    client.completions.create(model="zzz", prompt="red")
  with pytest.raises(openai.BadRequestError, match="may only be"):
    client.completions.create(model="c", prompt="red", n=2)
  label = client.completions.create(model="a", prompt="red")
  assert label.choices[0].text in ("yes", "no")


def _socket(server):
  host, port = server.url.removeprefix("http://").split(":")
  return socket.create_connection((host, int(port)), timeout=60)


def test_slow_clients_are_dropped_and_delay_nobody(server):
  """One stops within its head, one within its body, one does not read."""
  head, body = _socket(server), _socket(server)
  head.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n")
  body.sendall(
    b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n"
    b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
  )
  silent = _socket(server)
  begun = time.monotonic()
  answer = _post(server, "/v1/predict", {"task": "a", "text": "red"})
  assert answer.status_code == 200
  # --client-timeout is five seconds; the machine may be slow.
  head.settimeout(60)
  assert head.recv(1000) == b""
  body.settimeout(60)
  assert b" 408 " in body.recv(1000)
  assert silent.recv(1000) == b""
  assert time.monotonic() - begun < 60


def test_a_client_that_reads_a_byte_a_second_gets_its_bytes(server):
  slow = _socket(server)
  data = json.dumps({"task": "c", "text": "red", "stream": True}).encode()
  slow.sendall(
    b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    b"content-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(data), data)
  )
  assert slow.recv(1) == b"H"
  for _ in range(2):
    begun = time.monotonic()
    answer = _post(server, "/v1/predict", {"task": "a", "text": "red"})
    assert answer.status_code == 200 and time.monotonic() - begun < 60
    assert len(slow.recv(1)) == 1


def test_a_client_that_leaves_is_forgotten(server):
  with _stream(server) as response:
    assert response.status_code == 200
  for _ in range(100):
    text = httpx.get(f"{server.url}/metrics").text
    if "mpt_decoding 0.0" in text and "mpt_queue_length 0.0" in text:
      return
    time.sleep(0.1)
  raise AssertionError(text)


def _stream(server):
  body = {"task": "c", "text": ["red"] * 100, "stream": True}
  return httpx.stream("POST", f"{server.url}/v1/predict", json=body, timeout=60)


def _upload(server, bank, path, name, method="PUT"):
  bank.save(path)
  return httpx.request(
    method,
    f"{server.url}/v1/tasks/{name}",
    content=path.read_bytes(),
    headers={"content-type": "application/octet-stream"},
    timeout=120,
  )


def test_tasks_come_and_go_under_load(server, place, tmp_path):
  """Answers of other tasks stay the same, and none fails."""
  text = {"text": "red house tree"}
  expected = {
    name: _post(server, "/v1/predict", {**text, "task": name}).json()
    for name in "abc"
  }
  stop, wrong = threading.Event(), []

  def load(name):
    while not stop.is_set():
      made = _post(server, "/v1/predict", {**text, "task": name})
      if made.json() != expected[name]:
        wrong.append(made.text)

  bank = make_bank(str(place / "t5"), ["x"], seed=3)
  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    loads = [pool.submit(load, name) for name in "abc"]
    answers = []
    for i in range(20):
      name = f"hot {i % 4}"
      made = _upload(server, bank, tmp_path / "x.safetensors", name)
      assert made.status_code == 200, made.text
      used = _post(server, "/v1/predict", {**text, "task": name})
      answers.append(used.json()["results"][0]["scores"])
      removed = httpx.delete(f"{server.url}/v1/tasks/{name}", timeout=60)
      assert removed.status_code == 200
    stop.set()
    for one in loads:
      one.result()
  assert not wrong
  assert all(answer == answers[0] for answer in answers)


def test_the_load_generator(server, monkeypatch):
  folder = pathlib.Path(__file__).parents[3] / "benchmarks"
  monkeypatch.syspath_prepend(str(folder))
  spec = importlib.util.spec_from_file_location("load", folder / "serve.py")
  load = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(load)
  parse = load.make_parser().parse_args
  common = f"--url {server.url} --scale 0.05 --requests 20 --zipf 1"
  for more in ("--rate 50", "--open 4 --batch 3"):
    made = asyncio.run(load.measure(parse(f"{common} {more}".split())))
    assert made["statuses"] == {"200": 20}
    assert 0 < made["p50_ms"] <= made["p95_ms"] <= made["p99_ms"]
  with pytest.raises(ValueError, match="leads to another machine"):
    load.check_loopback("http://192.0.2.1:80")


def _arguments(place, state):
  return (
    *("--prompts", str(place / "run"), "--state", str(state)),
    *("--max-target-length", str(TARGETS)),
  )


def test_kill_9_loses_no_acknowledged_task(place, tmp_path):
  state, bank = tmp_path / "state", make_bank(str(place / "t5"), ["x"])
  arguments = _arguments(place, state)
  server = Server(*arguments, ready=False)
  acknowledged, ended = [], threading.Event()

  def add():
    for i in range(10_000):
      try:
        made = _upload(server, bank, tmp_path / "x.safetensors", f"t{i}")
      except httpx.TransportError:
        break
      if made.status_code == 200:
        acknowledged.append(f"t{i}")
    ended.set()

  thread = threading.Thread(target=add)
  thread.start()
  while len(acknowledged) < 20:
    time.sleep(0.01)
  server.kill()
  assert ended.wait(60)
  thread.join()
  again = Server(*arguments, ready=False)
  try:
    listed = httpx.get(f"{again.url}/v1/tasks", timeout=60).json()["tasks"]
    names = [task["name"] for task in listed]
    assert set(acknowledged) <= set(names)
    # At most one more was written and not acknowledged.
    assert len(names) <= len(NAMES) + len(acknowledged) + 1
  finally:
    again.kill()


def test_sigterm_answers_what_came(place, tmp_path):
  server = Server(*_arguments(place, tmp_path / "state"))
  body = {"rows": [{"text": "red house", "task": "c"}] * 200}
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    asked = pool.submit(_post, server, "/v1/predict", body)
    while (
      "mpt_tokens_read_total 0.0" in httpx.get(f"{server.url}/metrics").text
    ):
      time.sleep(0.01)
    code = server.stop()
    answer = asked.result()
  assert answer.status_code == 200
  assert len(answer.json()["results"]) == 200
  assert code == 143
  text = "".join(server.lines)
  assert "stopping:" in text and "Traceback" not in text
  with pytest.raises(httpx.ConnectError):
    httpx.get(f"{server.url}/healthz")


def test_a_key_from_a_file_or_the_environment(tmp_path):
  path = tmp_path / "key"
  path.write_text("  of-file\nmore\n")

  def config(**changes):
    return ServeConfig(prompts=("p",), **changes)

  assert read_key(config(), {}) is None
  assert read_key(config(), {"MPT_API_KEY": "k"}) == "k"
  both = config(key_file=str(path))
  assert read_key(both, {"MPT_API_KEY": "k"}) == "of-file"
  for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
    with pytest.raises(ValueError, match=f"--host {host} lets other machines"):
      read_key(config(host=host), {})
    assert read_key(config(host=host, open=True), {}) is None
  for host in ("localhost", "127.0.0.2", "::1"):
    assert read_key(config(host=host), {}) is None
  path.write_text("\n")
  with pytest.raises(ValueError, match="must hold an API key"):
    read_key(both, {})
  assert Bounds().seconds == ServeConfig(prompts=()).bounds.seconds
