"""Jobs: the record in Redis is the only truth about a job's state."""

from tbscreen_shared.jobs.keys import DONE_CHANNEL_PREFIX, done_channel
from tbscreen_shared.jobs.store import Binding, CancelOutcome, Claim, ClaimOutcome, JobStore, NewJob

__all__ = [
    "DONE_CHANNEL_PREFIX",
    "Binding",
    "CancelOutcome",
    "Claim",
    "ClaimOutcome",
    "JobStore",
    "NewJob",
    "done_channel",
]
