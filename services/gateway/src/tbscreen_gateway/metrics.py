"""What Prometheus scrapes. One registry an application, so that tests may build several."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

METRICS_MEDIA_TYPE: Final = CONTENT_TYPE_LATEST

# Up to the longest wait a request may ask for (30 s): a long poll counts with the time it was held.
_DURATION_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 31)


class Metrics:
    """The gateway's counters and gauges."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.accepted = Counter(
            "tbscreen_uploads_accepted", "Uploads that became jobs", registry=self._registry
        )
        self.replayed = Counter(
            "tbscreen_uploads_replayed",
            "Uploads answered with the job of an earlier one, by Idempotency-Key",
            registry=self._registry,
        )
        self.problems = Counter(
            "tbscreen_problems", "Requests refused or failed", ["code"], registry=self._registry
        )
        self.request_duration = Histogram(
            "tbscreen_request_duration_seconds",
            "From the request's head to the answer's end, waiting included",
            ["method", "route", "status"],
            buckets=_DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self.heatmap_render = Histogram(
            "tbscreen_heatmap_render_seconds",
            "Drawing of one heat map",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            registry=self._registry,
        )
        self.callbacks = Counter(
            "tbscreen_callbacks",
            "Attempts to send a job to its callback URL",
            ["outcome"],
            registry=self._registry,
        )
        self.callbacks_pending = Gauge(
            "tbscreen_callbacks_pending", "Callbacks that are owed", registry=self._registry
        )
        self.redis_up = Gauge("tbscreen_redis_up", "1 when Redis answers", registry=self._registry)
        self.queue_length = Gauge(
            "tbscreen_queue_length", "Jobs that wait for a worker", registry=self._registry
        )
        self.workers_alive = Gauge(
            "tbscreen_workers_alive", "Worker processes with a fresh beat", registry=self._registry
        )
        self.dead_jobs = Gauge(
            "tbscreen_dead_jobs", "Jobs given up, for someone to look into", registry=self._registry
        )
        self.audit_waiting = Gauge(
            "tbscreen_audit_entries_waiting",
            "Entries that are not in the audit log yet",
            registry=self._registry,
        )

    def exposition(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
