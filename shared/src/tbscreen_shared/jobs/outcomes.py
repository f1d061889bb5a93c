"""What a job's record answers to who takes it in hand, or cancels it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ClaimOutcome(StrEnum):
    """What a worker is told when it takes a delivery in hand."""

    CLAIMED = "claimed"
    GONE = "gone"
    FINISHED = "finished"
    EXHAUSTED = "exhausted"
    HELD = "held"
    """Another worker has it in hand, and lives."""


@dataclass(frozen=True)
class Claim:
    """A delivery in a worker's hand. `blob` and `sha256` are empty where the job is gone.

    `claimed_at` is this delivery's time, `started_at` the first one's. `holder` names the worker
    process that has the job in hand where the outcome is HELD.
    """

    outcome: ClaimOutcome
    attempt: int
    claimed_at: datetime
    blob: str
    sha256: str
    created_at: datetime | None
    started_at: datetime | None
    holder: str = ""


class CancelOutcome(StrEnum):
    """What DELETE did: canceled an unfinished job, erased or left a finished one, found nothing."""

    CANCELED = "canceled"
    ERASED = "erased"
    FINISHED = "finished"
    GONE = "gone"
