"""Jobs: the record in Redis is the only truth about a job's state."""

from tbscreen_shared.jobs.audit_stream import AuditStream, StreamState, Taken, Waiting
from tbscreen_shared.jobs.batches import (
    BatchEntry,
    BatchRecord,
    BatchStore,
    JobBrief,
    NewBatch,
    ResultBrief,
)
from tbscreen_shared.jobs.callbacks import (
    CallbackClaim,
    CallbackOutbox,
    CallbackOutcome,
    ClaimedAs,
    DueCallback,
)
from tbscreen_shared.jobs.creation import (
    NOBODY,
    CreateOutcome,
    Creation,
    Forgoing,
    IdempotencyKey,
    IdempotencyKeys,
    NewJob,
    Requester,
)
from tbscreen_shared.jobs.dead import DeadJobs, DeadPage, Retry, RetryOutcome
from tbscreen_shared.jobs.keys import DONE_CHANNEL_PREFIX, done_channel
from tbscreen_shared.jobs.outcomes import CancelOutcome, Claim, ClaimOutcome
from tbscreen_shared.jobs.retention import RetainedUploads
from tbscreen_shared.jobs.store import JobStore

__all__ = [
    "DONE_CHANNEL_PREFIX",
    "NOBODY",
    "AuditStream",
    "BatchEntry",
    "BatchRecord",
    "BatchStore",
    "CallbackClaim",
    "CallbackOutbox",
    "CallbackOutcome",
    "CancelOutcome",
    "Claim",
    "ClaimOutcome",
    "ClaimedAs",
    "CreateOutcome",
    "Creation",
    "DeadJobs",
    "DeadPage",
    "DueCallback",
    "Forgoing",
    "IdempotencyKey",
    "IdempotencyKeys",
    "JobBrief",
    "JobStore",
    "NewBatch",
    "NewJob",
    "Requester",
    "ResultBrief",
    "RetainedUploads",
    "Retry",
    "RetryOutcome",
    "StreamState",
    "Taken",
    "Waiting",
    "done_channel",
]
