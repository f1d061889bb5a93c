"""A job, or what else is polled, as an HTTP answer: its headers follow from its state."""

import hashlib
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from tbscreen_shared.contracts import Job

_POLL_AFTER_S: Final = 1


def job_path(job_id: str) -> str:
    """Returns where the job is found."""
    return f"/v1/jobs/{job_id}"


def job_response(
    job: Job,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    if_none_match: str | None = None,
) -> Response:
    """Returns the job with its ETag, or 304 where the client has it already."""
    return polled_response(
        job.model_dump_json().encode(),
        is_final=job.status.is_final,
        status=status,
        headers=headers,
        if_none_match=if_none_match,
    )


def polled_response(
    body: bytes,
    *,
    is_final: bool,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    if_none_match: str | None = None,
) -> Response:
    """Returns JSON with its ETag, or 304 where the client has it already.

    Args:
        body: JSON.
        is_final: whether it will not change any more; until then it says when to come again.
        status: where it is not 304.
        headers: beside those that follow from the rest.
        if_none_match: as the request says it.
    """
    etag = make_etag(body)
    all_headers = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    if not is_final:
        all_headers["Retry-After"] = str(_POLL_AFTER_S)
    if etag_matches(etag, if_none_match):
        return Response(status_code=304, headers=all_headers)
    return Response(body, status_code=status, media_type="application/json", headers=all_headers)


def accepted_response(job: Job, headers: Mapping[str, str]) -> Response:
    """Returns the answer to an accepted upload: 202 until the job is finished, then 200."""
    return job_response(
        job,
        status=200 if job.status.is_final else 202,
        headers={"Location": job_path(job.id), **headers},
    )


def make_etag(body: bytes) -> str:
    """Returns a strong ETag for exactly these bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def etag_matches(etag: str, if_none_match: str | None) -> bool:
    """Tells whether If-None-Match names the ETag (RFC 9110, 13.1.2: compared weakly)."""
    if if_none_match is None:
        return False
    candidates = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    return etag in candidates or "*" in candidates
