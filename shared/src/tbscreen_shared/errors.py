"""The one list of error codes, each with its HTTP status, and the exceptions that carry them.

TbscreenError            code, public detail
├── ImageError           the radiograph is at fault; a returned outcome, never retried
├── BundleError          a model bundle is missing, damaged or of another schema
└── BlobError            the blob store can not take or give a file
"""

from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """Stable codes that clients may match on, in problems and in failed jobs."""

    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    FILE_TOO_LARGE = "file_too_large"
    IMAGE_TOO_LARGE = "image_too_large"
    UNREADABLE_IMAGE = "unreadable_image"
    EMPTY_UPLOAD = "empty_upload"
    BATCH_TOO_LARGE = "batch_too_large"
    NO_FILE_ACCEPTED = "no_file_accepted"
    UNREADABLE_ARCHIVE = "unreadable_archive"
    UNREADABLE_ENTRY = "unreadable_entry"
    MALFORMED_REQUEST = "malformed_request"
    INVALID_REQUEST = "invalid_request"
    NOT_A_CHEST_RADIOGRAPH = "not_a_chest_radiograph"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    CROSS_SITE_REQUEST = "cross_site_request"
    MISDIRECTED_REQUEST = "misdirected_request"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    JOB_NOT_FOUND = "job_not_found"
    JOB_NOT_DEAD = "job_not_dead"
    JOB_FINISHED = "job_finished"
    UPLOAD_GONE = "upload_gone"
    BATCH_NOT_FOUND = "batch_not_found"
    MODEL_NOT_FOUND = "model_not_found"
    HEATMAP_NOT_AVAILABLE = "heatmap_not_available"
    CALLBACK_NOT_ALLOWED = "callback_not_allowed"
    CALLBACK_NOT_FOUND = "callback_not_found"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    SERVER_BUSY = "server_busy"
    SERVER_STOPPING = "server_stopping"
    STORAGE_FULL = "storage_full"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    BROKER_UNAVAILABLE = "broker_unavailable"
    WORKER_LOST = "worker_lost"
    INTERNAL_ERROR = "internal_error"


HTTP_STATUS: Final[dict[ErrorCode, int]] = {
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.FILE_TOO_LARGE: 413,
    ErrorCode.IMAGE_TOO_LARGE: 413,
    ErrorCode.UNREADABLE_IMAGE: 422,
    ErrorCode.EMPTY_UPLOAD: 422,
    ErrorCode.BATCH_TOO_LARGE: 413,
    ErrorCode.NO_FILE_ACCEPTED: 422,
    ErrorCode.UNREADABLE_ARCHIVE: 422,
    ErrorCode.UNREADABLE_ENTRY: 422,
    ErrorCode.MALFORMED_REQUEST: 400,
    ErrorCode.INVALID_REQUEST: 422,
    ErrorCode.NOT_A_CHEST_RADIOGRAPH: 422,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.CROSS_SITE_REQUEST: 403,
    ErrorCode.MISDIRECTED_REQUEST: 421,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.JOB_NOT_FOUND: 404,
    ErrorCode.JOB_NOT_DEAD: 409,
    ErrorCode.JOB_FINISHED: 409,
    ErrorCode.UPLOAD_GONE: 410,
    ErrorCode.BATCH_NOT_FOUND: 404,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.HEATMAP_NOT_AVAILABLE: 404,
    ErrorCode.CALLBACK_NOT_ALLOWED: 422,
    ErrorCode.CALLBACK_NOT_FOUND: 404,
    ErrorCode.IDEMPOTENCY_CONFLICT: 409,
    ErrorCode.QUEUE_FULL: 503,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.SERVER_BUSY: 503,
    ErrorCode.SERVER_STOPPING: 503,
    ErrorCode.STORAGE_FULL: 507,
    ErrorCode.STORAGE_UNAVAILABLE: 503,
    ErrorCode.BROKER_UNAVAILABLE: 503,
    ErrorCode.WORKER_LOST: 500,
    ErrorCode.INTERNAL_ERROR: 500,
}


class TbscreenError(Exception):
    """An error with a stable code and a detail that is safe to show a client."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ImageError(TbscreenError):
    """The upload is not a radiograph this system reads: `code` says in which way."""


class BundleError(TbscreenError):
    """A model bundle is missing, damaged, or written for another schema."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.MODEL_NOT_FOUND, detail)


class BlobError(TbscreenError):
    """The blob store can not take or give a file."""
