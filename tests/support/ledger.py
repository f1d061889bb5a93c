"""What a sender of radiographs was promised, and what became of each promise."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FINAL = ("succeeded", "failed", "canceled")
BUSY = (429, 503, 507)
"""A gateway that answers one of these refuses for the moment, and says when to come back."""


@dataclass(frozen=True)
class Refusal:
    """An upload that was answered, but not accepted."""

    at_s: float
    status: int
    code: str
    """The problem's stable code; empty for an answer that is no problem+json."""
    retry_after_s: float | None

    @property
    def is_polite(self) -> bool:
        return self.status in BUSY and bool(self.code) and self.retry_after_s is not None


@dataclass
class Entry:
    """One radiograph's way, as its sender saw it. Times are `time.monotonic()`, in seconds."""

    number: int
    offered_s: float
    job_id: str = ""
    accepted_s: float | None = None
    refusal: Refusal | None = None
    unanswered_s: float | None = None
    """When the sender gave up hearing whether it was accepted."""
    broken_posts: int = 0
    """Connections that broke before an answer; each upload is repeated under the same key."""
    faulty_looks: int = 0
    """Answers to GET that were neither the job nor a typed refusal."""
    ended_s: float | None = None
    status: str = ""
    error_code: str = ""
    attempts: int = 0
    fingerprint: str = ""
    """Of the final state as first seen; a finished job never changes."""
    missing: bool = False
    """The gateway said 404 of a job that it had accepted."""

    def close(self, job: dict[str, Any]) -> None:
        """Notes a job's final state."""
        self.ended_s = time.monotonic()
        self.status = job["status"]
        self.attempts = job["attempts"]
        self.error_code = (job.get("error") or {}).get("code", "")
        self.fingerprint = fingerprint(job)

    @property
    def latency_s(self) -> float | None:
        return None if self.ended_s is None else self.ended_s - self.offered_s


@dataclass
class Ledger:
    """All entries of one load, in the order they were offered."""

    entries: list[Entry] = field(default_factory=list)
    withheld: int = 0
    """Not offered, since too many others were on their way."""

    def accepted(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.accepted_s is not None]

    def refused(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.refusal is not None]

    def unanswered(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.unanswered_s is not None]

    def lost(self) -> list[Entry]:
        """Accepted, and without a final state: gone, or waited for in vain."""
        return [entry for entry in self.accepted() if entry.ended_s is None]

    def ended(self, status: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.status == status]

    def failures(self) -> Counter[str]:
        return Counter(entry.error_code for entry in self.ended("failed"))

    def refusals(self) -> Counter[str]:
        """How many refusals of each kind, e.g. `503 queue_full`."""
        return Counter(
            f"{entry.refusal.status} {entry.refusal.code or '(untyped)'}"
            for entry in self.entries
            if entry.refusal
        )

    def impolite(self) -> list[Entry]:
        """Refusals that are not 429, 503 or 507 with a code and a Retry-After."""
        return [e for e in self.entries if e.refusal is not None and not e.refusal.is_polite]

    def latencies(self, *, offered_before_s: float = math.inf) -> list[float]:
        return [
            entry.latency_s
            for entry in self.entries
            if entry.latency_s is not None and entry.offered_s < offered_before_s
        ]

    def first_answer_after(self, moment_s: float) -> float | None:
        """When the first radiograph that was offered after a moment was answered."""
        ends = [e.ended_s for e in self.entries if e.offered_s >= moment_s and e.ended_s]
        return min(ends, default=None)

    def last_disturbance(self, moment_s: float, *, slow_s: float, now_s: float) -> float | None:
        """When the last radiograph ended that was refused, or took longer than `slow_s`.

        Those that ended before `moment_s` do not count. One that is still on its way after `slow_s`
        seconds disturbs until now.
        """
        ends = [end for entry in self.entries if (end := _disturbed_until(entry, slow_s, now_s))]
        return max((end for end in ends if end >= moment_s), default=None)


def _disturbed_until(entry: Entry, slow_s: float, now_s: float) -> float | None:
    if entry.refusal is not None:
        return entry.refusal.at_s
    if entry.unanswered_s is not None:
        return entry.unanswered_s
    end_s = now_s if entry.ended_s is None else entry.ended_s
    return end_s if end_s - entry.offered_s > slow_s else None


def fingerprint(job: dict[str, Any]) -> str:
    """Returns a digest of everything about a final state that must never change."""
    parts = [job.get(name) for name in ("status", "finished_at", "attempts", "result", "error")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def percentile(values: Iterable[float], share: float) -> float:
    """Returns the smallest value that at least `share` (0 to 1) of all do not exceed; else NaN."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
