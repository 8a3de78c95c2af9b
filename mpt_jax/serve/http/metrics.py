"""What Prometheus reads from `/metrics`."""

import prometheus_client as prometheus

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COUNTS = {
  "batches": "Passes of the encoder.",
  "positions": "Encoder positions of all passes, padding included.",
  "tokens_read": "Encoder positions without padding.",
  "tokens_written": "Generated tokens.",
  "ranked": "Texts whose labels were ranked.",
  "expired": "Texts whose deadline passed.",
  "failures": "Batches that failed.",
}


class Metrics:
  """Counts of one server. They say nothing about texts or names of tasks."""

  def __init__(self):
    self.registry = prometheus.CollectorRegistry()
    self._counts = {
      name: prometheus.Counter(f"mpt_{name}", text, registry=self.registry)
      for name, text in COUNTS.items()
    }
    self._requests = prometheus.Counter(
      "mpt_requests",
      "HTTP requests.",
      ["path", "status"],
      registry=self.registry,
    )
    self._seconds = prometheus.Histogram(
      "mpt_request_seconds",
      "Time from a request's head to the end of its answer.",
      ["path"],
      buckets=SECONDS,
      registry=self.registry,
    )

  def observe(self, name: str, amount: float = 1):
    """Adds to a count of `COUNTS`."""
    self._counts[name].inc(amount)

  def request(self, path: str, status: int, seconds: float):
    """Counts an HTTP request; `path` is a route, not what a client sent."""
    self._requests.labels(path, str(status)).inc()
    self._seconds.labels(path).observe(seconds)

  def watch(self, service):
    """Shows a service's queue, tables and tasks as they are when read."""
    gauges = {
      "queue_length": ("Texts that wait.", lambda: len(service.queue)),
      "decoding": (
        "Texts that are generated now.",
        lambda: service.scheduler.num_decoding,
      ),
      "tasks": ("Tasks.", lambda: len(service.names())),
      "table_bytes": (
        "Bytes of the table of prompts.",
        lambda: service.table.sizes()["bytes"],
      ),
      "table_capacity": (
        "Rows of the table of prompts.",
        lambda: service.table.sizes()["capacity"],
      ),
    }
    for name, (text, read) in gauges.items():
      gauge = prometheus.Gauge(f"mpt_{name}", text, registry=self.registry)
      gauge.set_function(read)

  def text(self) -> bytes:
    """Returns the page in Prometheus' text format."""
    return prometheus.generate_latest(self.registry)
