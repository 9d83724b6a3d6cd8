"""Metrics: figures of a server, as Prometheus reads them. No label has the name of a repository or
of an account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

__all__ = ["GAUGES", "TYPE", "Metrics"]

TYPE = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)
GAUGES: Mapping[str, str] = {
    "zoo_free_bytes": "Bytes that are free where the store is.",
    "zoo_audit_rows": "Rows of the audit log.",
    "zoo_audit_hash": "The first 13 hex digits of the newest row's hash, as a number.",
    "zoo_scrub_ended_seconds": "When a scrub has ended last, in seconds since 1970.",
    "zoo_scrub_damaged": "Files that it found damaged, and the one that goes on.",
    "zoo_store_files": "Objects and manifests that it has read.",
    "zoo_store_bytes": "Their size.",
    "zoo_xorb_files": "Xorbs of files that are being sent.",
    "zoo_xorb_bytes": "Their size.",
    "zoo_part_files": "Parts of files and objects that are being sent.",
    "zoo_part_bytes": "Their size.",
}
"""What is looked at when somebody asks, and what it is."""


class Metrics:
    """The figures of a server; they begin anew with it. Where it is several processes, they are
    those of all: each writes its own into a folder that `prometheus_client` learns of by its
    variable of the environment.

    Args:
        shared: Whether it is several.

    Attributes:
        uploads: Files that are arriving now.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._all = CollectorRegistry()
        if shared:
            MultiProcessCollector(self._all)  # type: ignore[no-untyped-call]
        own = None if shared else self._all
        text = "Answers, by route and status."
        self._requests = Counter("zoo_requests", text, ["route", "status"], registry=own)
        text = "From a request's head to the end of its answer, by route."
        self._seconds = Histogram(
            "zoo_request_seconds", text, ["route"], registry=own, buckets=SECONDS
        )
        self._sent = Counter("zoo_sent_bytes", "Bytes of answers.", registry=own)
        self._received = Counter("zoo_received_bytes", "Bytes of requests.", registry=own)
        text = "Files that are arriving now."
        self.uploads = Gauge("zoo_uploads", text, registry=own, multiprocess_mode="livesum")

    def answered(self, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count an answer to a request; ``route`` is a row of the table, never a client's path."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def text(self, now: Mapping[str, float]) -> bytes:
        """All figures, and those of `GAUGES` as they are now; NaN where one is not known."""
        looked = CollectorRegistry()
        looked.register(_Looked(now))
        return generate_latest(self._all) + generate_latest(looked)


class _Looked(Collector):
    """The figures of `GAUGES`, which are not counted as time goes on."""

    def __init__(self, now: Mapping[str, float]) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(name, text, value=self._now.get(name, float("nan")))
