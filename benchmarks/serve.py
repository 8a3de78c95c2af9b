"""Load for `mpt serve` on this machine: an open loop of Poisson arrivals.

  python benchmarks/serve.py --url http://127.0.0.1:8000 --rate 20 --seconds 30

Requests are sent at random times at a fixed mean rate, whether or not earlier
ones are answered; so a slow server builds a queue, as it does for real clients.
`--rate 0` sends as fast as `--open` requests at once allow, which measures the
throughput at saturation. Tasks are drawn evenly, or by Zipf's law. The texts
have the lengths of `workload.py`, in words.

It only talks to this machine, and it ends after --seconds or --requests. The
line that it prints is JSON: throughput, latencies, and the counts of statuses.
"""

import argparse
import asyncio
import collections
import ipaddress
import json
import socket
import time
import urllib.parse

import httpx
import numpy as np
from workload import SOURCES, log_normal

WORDS = (
  "the film was a quiet and moving story about two people who met on a train"
  " in the north of the country and did not know what to say to each other"
).split()


def check_loopback(url: str):
  """Raises ValueError if a URL leads to another machine."""
  host = urllib.parse.urlsplit(url).hostname
  found = {info[4][0] for info in socket.getaddrinfo(host, None)}
  if not all(ipaddress.ip_address(a).is_loopback for a in found):
    raise ValueError(f"--url {url} leads to another machine than this one")


class Draws:
  """Seeded requests: a task and a text each.

  Args:
    names: the tasks.
    zipf: exponent of Zipf's law over the tasks; 0 draws them evenly.
    scale: factor on the lengths of the workload.
    seed: seed of all draws.
  """

  def __init__(self, names, zipf, scale, seed):
    self._names, self._scale = names, scale
    self._rng = np.random.default_rng(seed)
    weights = np.arange(1, len(names) + 1.0) ** -zipf
    self._shares = weights / weights.sum()

  def row(self) -> dict:
    rng = self._rng
    source = SOURCES[int(rng.integers(len(SOURCES)))]
    mean = source.mean * self._scale
    # About 1.3 tokens a word, as in `workload.py`.
    count = log_normal(rng, max(2, mean / 1.3), source.sigma, 1, 400)
    return {
      "task": self._names[int(rng.choice(len(self._names), p=self._shares))],
      "text": " ".join(rng.choice(WORDS, count)),
    }

  def pause(self, rate) -> float:
    """Seconds to the next arrival: exponential, of mean 1 / rate."""
    return float(self._rng.exponential(1 / rate))


class Load:
  """Sends requests, and notes when they are answered."""

  def __init__(self, client, draws, args):
    self._client, self._draws, self._args = client, draws, args
    self.seconds, self.statuses = [], collections.Counter()
    self.num_rows = 0

  async def one(self):
    rows = [self._draws.row() for _ in range(self._args.batch)]
    begun = time.perf_counter()
    try:
      answer = await self._client.post("/v1/predict", json={"rows": rows})
      status = answer.status_code
    except httpx.HTTPError as error:
      status = type(error).__name__
    self.statuses[status] += 1
    if status == 200:
      self.seconds.append(time.perf_counter() - begun)
      self.num_rows += len(rows)

  async def run(self) -> float:
    """Sends until the time or the count is over; returns the seconds."""
    args, pending, sent = self._args, set(), 0
    begun = time.perf_counter()
    arrival = begun
    while sent < args.requests and time.perf_counter() - begun < args.seconds:
      if args.rate:
        arrival += self._draws.pause(args.rate)
        await asyncio.sleep(max(0.0, arrival - time.perf_counter()))
      elif len(pending) >= args.open:
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
      task = asyncio.create_task(self.one())
      pending.add(task)
      task.add_done_callback(pending.discard)
      sent += 1
    if pending:
      await asyncio.wait(pending)
    return time.perf_counter() - begun


async def measure(args) -> dict:
  check_loopback(args.url)
  limits = httpx.Limits(max_connections=args.open)
  headers = {"authorization": f"Bearer {args.key}"} if args.key else {}
  async with httpx.AsyncClient(
    base_url=args.url, limits=limits, timeout=120, headers=headers
  ) as client:
    listed = (await client.get("/v1/tasks")).raise_for_status().json()
    names = [task["name"] for task in listed["tasks"]][: args.tasks]
    draws = Draws(names, args.zipf, args.scale, args.seed)
    load = Load(client, draws, args)
    seconds = await load.run()
  found = np.array(load.seconds or [np.nan])
  p50, p95, p99 = np.quantile(found, (0.5, 0.95, 0.99))
  return {
    "tasks": len(names),
    "zipf": args.zipf,
    "rate": args.rate or None,
    "texts_per_second": round(load.num_rows / seconds, 2),
    "p50_ms": round(1000 * p50, 1),
    "p95_ms": round(1000 * p95, 1),
    "p99_ms": round(1000 * p99, 1),
    "requests": sum(load.statuses.values()),
    "statuses": {str(k): v for k, v in load.statuses.items()},
    "seconds": round(seconds, 1),
  }


def make_parser():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--url", default="http://127.0.0.1:8000")
  parser.add_argument("--key", help="the API key")
  parser.add_argument("--rate", type=float, default=0.0, help="requests/s")
  parser.add_argument("--seconds", type=float, default=30.0)
  parser.add_argument("--requests", type=int, default=100_000, help="at most")
  parser.add_argument("--open", type=int, default=64, help="at once, at most")
  parser.add_argument("--batch", type=int, default=1, help="texts a request")
  parser.add_argument("--tasks", type=int, default=10**6, help="at most")
  parser.add_argument("--zipf", type=float, default=0.0, help="0 is even")
  parser.add_argument("--scale", type=float, default=1.0, help="of lengths")
  parser.add_argument("--seed", type=int, default=0)
  return parser


if __name__ == "__main__":
  print(json.dumps(asyncio.run(measure(make_parser().parse_args()))))
