"""What a call to the gateway, or one from it, may raise.

TbscreenError
├── GatewayUnreachable    nobody answered, for as long as the call was retried
├── GatewayError          the gateway's problem document: code, status, detail
│   ├── UploadRefused     this file, as it is, will never be accepted (409, 413, 415, 422)
│   ├── AccessDenied      the API key is missing, not valid, or may not do this (401, 403)
│   ├── JobNotFound       the id is unknown, or its answer has expired (404)
│   ├── BatchNotFound     likewise, of a batch
│   └── GatewayBusy       still too busy or not able, after the retries (429, 502, 503, 504, 507)
├── JobFailed             the job ended without a result; `job.error` says why
├── JobTimeout            no answer in time; the job goes on under its id
├── BatchTimeout          not all answers in time; the batch goes on under its id
└── InvalidWebhook        a request that claims to be the gateway's webhook is not
"""

from tbscreen.models import Batch, Job


class TbscreenError(Exception):
    """Anything that this client raises about the gateway or a job."""


class GatewayUnreachable(TbscreenError):
    """No answer from the gateway."""


class GatewayError(TbscreenError):
    """The gateway answered with an error.

    Attributes:
        code: stable code, e.g. `unsupported_media_type`; `http_<status>` where the answer had none.
        status: HTTP status.
        detail: a sentence for people.
    """

    def __init__(self, code: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail


class UploadRefused(GatewayError):
    """The gateway will not take this file, however often it is sent."""


class AccessDenied(GatewayError):
    """The gateway needs an API key, or one that may do more."""


class JobNotFound(GatewayError):
    """No such job."""


class BatchNotFound(GatewayError):
    """No such batch."""


class GatewayBusy(GatewayError):
    """The gateway asked to try later for as long as the call was retried."""


class JobFailed(TbscreenError):
    """The job failed or was canceled."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.error.message if job.error else f"the job was {job.status}")
        self.job = job


class JobTimeout(TbscreenError):
    """The job was not answered in time; ask for it again by `job.id`."""

    def __init__(self, job: Job, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} s; the job is {job.status}")
        self.job = job


class BatchTimeout(TbscreenError):
    """The batch was not finished in time; ask for it again by `batch.id`."""

    def __init__(self, batch: Batch, timeout_s: float) -> None:
        super().__init__(f"not all of the batch was answered within {timeout_s:g} s")
        self.batch = batch


class InvalidWebhook(TbscreenError):
    """It does not come from the gateway, or not lately; answer it with 400 and do nothing else."""
