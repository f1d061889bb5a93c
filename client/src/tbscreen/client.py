"""The synchronous client of a tbscreen gateway."""

import io
import math
import os
import random
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final, Self
from urllib.parse import quote

import httpx

from tbscreen.answers import BUSY, parse, problem_of, retry_after_s
from tbscreen.errors import GatewayError, GatewayUnreachable, JobFailed, JobTimeout
from tbscreen.models import DeadJobs, Health, Job, Model, Result

DEFAULT_URL: Final = "http://localhost:8000"
API_KEY_VARIABLE: Final = "TBSCREEN_API_KEY"

# A file's own name may tell who the patient is; the gateway has no need of it.
_UPLOAD_NAME: Final = "radiograph"
_LONG_POLL_S: Final = 30.0
_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 5.0


class Client:
    """Talks to one gateway. Safe to share between threads; close it, or use it in a `with` block.

    A call that finds the gateway busy (429, 502, 503, 504) or unreachable is retried with growing,
    jittered pauses, never shorter than the answer's Retry-After. An upload carries an
    Idempotency-Key, so that a retried one can not make two jobs.

    Args:
        base_url: the gateway's address, http:// or https://.
        api_key: what the gateway asks for, if it does; None takes TBSCREEN_API_KEY from the
            environment. It goes with each call, so let it go by https beyond this machine.
        timeout_s: seconds for connecting, and for each read or write of a call.
        retry_for_s: seconds for which a call is retried; 0 tries once.

    Raises:
        ValueError: `base_url` is not an http or https address, or `api_key` can be no key.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry_for_s: float = 30.0,
    ) -> None:
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise ValueError(f"not an address of a gateway: {base_url!r}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"not an http:// or https:// address: {base_url!r}")
        headers = {"User-Agent": f"tbscreen/{version('tbscreen')}", **_authorization(api_key)}
        self._timeout_s = timeout_s
        self._retry_for_s = retry_for_s
        self._http = httpx.Client(
            base_url=url,
            headers=headers,
            # A proxy from the environment can not reach this machine's own loopback.
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def predict(self, source: str | Path | bytes, *, timeout_s: float = 300.0) -> Result:
        """Submits a radiograph and returns its answer.

        Args:
            source: path of a PNG, JPEG, TIFF or DICOM file, or its bytes.
            timeout_s: seconds to wait for the answer.

        Raises:
            OSError: the file can not be read.
            JobFailed: it is not a radiograph that can be answered; `job.error.code` says why.
            JobTimeout: no answer in time.
            UploadRefused, AccessDenied, GatewayBusy, GatewayError, GatewayUnreachable: see
                `submit`.
        """
        job = self.wait(self.submit(source).id, timeout_s=timeout_s)
        if job.result is None:
            raise JobFailed(job)
        return job.result

    def submit(self, source: str | Path | bytes, *, callback_url: str | None = None) -> Job:
        """Uploads a radiograph and returns its job, at once. The file's name is not sent.

        Args:
            source: path of a PNG, JPEG, TIFF or DICOM file, or its bytes.
            callback_url: where the gateway sends the job when it is finished; see `verify_webhook`.

        Raises:
            OSError: the file can not be read.
            UploadRefused: the gateway does not take such a file, or no such callback.
            AccessDenied: the gateway needs an API key, or one that may do more.
            GatewayBusy, GatewayUnreachable: still so after `retry_for_s`.
            GatewayError: any other error.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        params = {"callback_url": callback_url} if callback_url is not None else None
        response = self._send("POST", "v1/jobs", params=params, headers=headers, source=source)
        return parse(Job, response)

    def get(self, job_id: str, *, wait_s: float = 0.0) -> Job:
        """Returns a job as it is, or as soon as it is finished.

        Args:
            job_id: what `submit` returned as `id`.
            wait_s: the longest time for which the gateway may hold the answer (at most 30).

        Raises:
            JobNotFound: the id is unknown, or the job has expired.
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        return self._poll(job_id, wait_s, self._retry_for_s)[0]

    def wait(self, job_id: str, timeout_s: float = 300.0) -> Job:
        """Returns a job once it is finished, whether it succeeded or not.

        Raises:
            JobTimeout: it was not finished within `timeout_s`; it goes on.
            JobNotFound, GatewayBusy, GatewayUnreachable, GatewayError: see `get`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            wait_s = max(0.0, min(_LONG_POLL_S, deadline - asked))
            retry_for_s = min(self._retry_for_s, deadline - asked)
            job, pause_s = self._poll(job_id, wait_s, retry_for_s)
            now = time.monotonic()
            if job.is_final:
                return job
            if now >= deadline:
                raise JobTimeout(job, timeout_s)
            # An answer that was held for as long as asked has waited enough.
            if now - asked < wait_s:
                time.sleep(max(0.0, min(pause_s, deadline - now)))

    def delete(self, job_id: str) -> None:
        """Cancels an unfinished job, or erases a finished one with its result.

        Raises:
            JobNotFound: the id is unknown, or the job has expired.
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        self._send("DELETE", _job_url(job_id))

    def dead_jobs(self) -> Iterator[Job]:
        """Yields the jobs that were given up, the latest first.

        Raises:
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        cursor: str | None = None
        while True:
            params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
            page = parse(DeadJobs, self._send("GET", "v1/dead-jobs", params=params))
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return

    def retry(self, job_id: str) -> Job:
        """Has a job that was given up read again; returns the new job.

        Repeated, it returns the same one.

        Raises:
            JobNotFound: the id is unknown, or the job has expired.
            GatewayError: with code `job_not_dead` where it was not given up, with `upload_gone`
                where its radiograph is not there any more.
            GatewayBusy, GatewayUnreachable: see `submit`.
        """
        return parse(Job, self._send("POST", f"{_job_url(job_id)}/retry"))

    def heatmap(self, job_id: str) -> bytes:
        """Returns the class-activation map of a job that succeeded, as a transparent PNG.

        Raises:
            GatewayError: with code `heatmap_not_available` where the job has no result.
            JobNotFound, GatewayBusy, GatewayUnreachable: see `get`.
        """
        return self._send("GET", f"{_job_url(job_id)}/heatmap.png").content

    def health(self) -> Health:
        """Asks once, without retries, how the gateway is.

        Raises:
            GatewayUnreachable: nobody answers.
            GatewayError: the answer is not a tbscreen gateway's.
        """
        return parse(Health, self._send("GET", "health", retry_for_s=0.0))

    def model(self, version: str) -> Model:
        """Returns what is known of a model.

        Args:
            version: as a result or `health` names it.

        Raises:
            GatewayError: with code `model_not_found` where there is none.
            GatewayBusy, GatewayUnreachable: see `submit`.
        """
        return parse(Model, self._send("GET", f"v1/models/{quote(version, safe='')}"))

    def _poll(self, job_id: str, wait_s: float, retry_for_s: float) -> tuple[Job, float]:
        params = {"wait": str(math.ceil(wait_s))} if wait_s > 0 else None
        url = _job_url(job_id)
        response = self._send("GET", url, params=params, held_s=wait_s, retry_for_s=retry_for_s)
        return parse(Job, response), retry_after_s(response.headers, default=1.0)

    def _send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        source: str | Path | bytes | None = None,
        held_s: float = 0.0,
        retry_for_s: float | None = None,
    ) -> httpx.Response:
        deadline = time.monotonic() + (self._retry_for_s if retry_for_s is None else retry_for_s)
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + held_s)
        delay_s = _FIRST_DELAY_S
        while True:
            request = {"params": params, "headers": headers, "timeout": timeout}
            pause_s = delay_s * random.uniform(0.5, 1.0)
            failure: GatewayUnreachable | GatewayError
            try:
                response = self._try(method, url, source, request)
            except httpx.TransportError as error:
                failure = GatewayUnreachable(_describe(error, self._http.base_url))
                failure.__cause__ = error
            else:
                if response.is_success:
                    return response
                failure = problem_of(response)
                if response.status_code not in BUSY:
                    raise failure
                pause_s = max(pause_s, retry_after_s(response.headers, default=0.0))
            if time.monotonic() + pause_s > deadline:
                raise failure
            time.sleep(pause_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _try(
        self, method: str, url: str, source: str | Path | bytes | None, request: dict[str, Any]
    ) -> httpx.Response:
        if source is None:
            return self._http.request(method, url, **request)
        with _open(source) as stream:
            part = (_UPLOAD_NAME, stream, "application/octet-stream")
            return self._http.request(method, url, files={"file": part}, **request)


def _authorization(api_key: str | None) -> dict[str, str]:
    key = os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key
    if not key:
        return {}
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        # It is not quoted: it may be one but for a letter.
        raise ValueError("what was given as the API key holds spaces or other than ASCII letters")
    return {"Authorization": f"Bearer {key}"}


def _open(source: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _job_url(job_id: str) -> str:
    return f"v1/jobs/{quote(job_id, safe='')}"


def _describe(error: httpx.TransportError, base_url: httpx.URL) -> str:
    reason = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
    return f"no gateway answers at {str(base_url).rstrip('/')} ({reason or type(error).__name__})"
