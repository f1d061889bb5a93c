"""The synchronous client of a tbscreen gateway."""

import uuid
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import httpx

from tbscreen.answers import parse
from tbscreen.errors import BatchTimeout, JobFailed, JobTimeout
from tbscreen.models import Batch, DeadJobs, Health, Job, Model, Result
from tbscreen.polling import WHOLE_BATCH, Polling, batch_url, job_url
from tbscreen.sending import Sender, authorization

DEFAULT_URL: Final = "http://localhost:8000"

_ACCEPTING_S: Final = 0.05
"""For each file of a batch: what a gateway with a slow disk may take to make it durable."""


class Client:
    """Talks to one gateway. Safe to share between threads; close it, or use it in a `with` block.

    A call that finds the gateway busy or full (429, 502, 503, 504, 507), or unreachable, is retried
    with growing, jittered pauses, never shorter than the answer's Retry-After. An upload carries an
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
        headers = {"User-Agent": f"tbscreen/{version('tbscreen')}", **authorization(api_key)}
        self._http = httpx.Client(
            base_url=url,
            headers=headers,
            # A proxy from the environment can not reach this machine's own loopback.
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
        )
        self._sender = Sender(self._http, timeout_s=timeout_s, retry_for_s=retry_for_s)
        self._polling = Polling(self._sender, retry_for_s)

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
        response = self._sender.send(
            *("POST", "v1/jobs"),
            params=_calling_back(callback_url),
            headers=headers,
            sources=[source],
        )
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
        return self._polling.job(job_id, wait_s)

    def wait(self, job_id: str, timeout_s: float = 300.0) -> Job:
        """Returns a job once it is finished, whether it succeeded or not.

        Raises:
            JobTimeout: it was not finished within `timeout_s`; it goes on.
            JobNotFound, GatewayBusy, GatewayUnreachable, GatewayError: see `get`.
        """
        job = self._polling.final_job(job_id, timeout_s)
        if not job.is_final:
            raise JobTimeout(job, timeout_s)
        return job

    def delete(self, job_id: str) -> None:
        """Cancels an unfinished job, or erases a finished one with its result.

        A second call erases what the first one canceled, and so does the retry of a call whose
        answer was lost.

        Raises:
            JobNotFound: the id is unknown, or the job has expired.
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        self._sender.send("DELETE", job_url(job_id))

    def cancel(self, job_id: str) -> Job:
        """Cancels an unfinished job and erases nothing else; returns it.

        Raises:
            GatewayError: with code `job_finished` where it has succeeded or failed before.
            JobNotFound, GatewayBusy, GatewayUnreachable: see `delete`.
        """
        params = {"only": "unfinished"}
        return parse(Job, self._sender.send("DELETE", job_url(job_id), params=params))

    def submit_batch(
        self, sources: Sequence[str | Path | bytes], *, callback_url: str | None = None
    ) -> Batch:
        """Uploads many radiographs in one request and returns their batch, at once.

        No file's name is sent: `batch.items[…].index` is the place in `sources`. A file that the
        gateway does not take is an item with an error; the others go on.

        Args:
            sources: paths of PNG, JPEG, TIFF or DICOM files, or their bytes.
            callback_url: where the gateway sends each job when it is finished.

        Raises:
            OSError: a file can not be read.
            UploadRefused: none of them can be taken, or they are too many for one batch.
            AccessDenied, GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        response = self._sender.send(
            *("POST", "v1/batches"),
            params={**WHOLE_BATCH, **_calling_back(callback_url)},
            headers=headers,
            sources=sources,
            held_s=_ACCEPTING_S * len(sources),
        )
        return self._polling.all_items(parse(Batch, response))

    def batch(self, batch_id: str, *, wait_s: float = 0.0) -> Batch:
        """Returns a batch with all its items as it is, or as soon as it is finished.

        Args:
            batch_id: what `submit_batch` returned as `id`.
            wait_s: the longest time for which the gateway may hold the answer (at most 30).

        Raises:
            BatchNotFound: the id is unknown, or the batch has expired.
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        return self._polling.all_items(self._polling.batch(batch_id, wait_s))

    def wait_batch(self, batch_id: str, timeout_s: float = 3600.0) -> Batch:
        """Returns a batch with all its items once all of it is finished.

        Raises:
            BatchTimeout: it was not finished within `timeout_s`; it goes on.
            BatchNotFound, GatewayBusy, GatewayUnreachable, GatewayError: see `batch`.
        """
        batch = self._polling.finished_batch(batch_id, timeout_s)
        if not batch.finished:
            raise BatchTimeout(batch, timeout_s)
        return self._polling.all_items(batch)

    def delete_batch(self, batch_id: str) -> None:
        """Cancels those of a batch's jobs that are not finished and erases the others.

        A second call erases what the first one canceled.

        Raises:
            BatchNotFound: the id is unknown, or the batch has expired.
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        self._sender.send("DELETE", batch_url(batch_id))

    def dead_jobs(self) -> Iterator[Job]:
        """Yields the jobs that were given up, the latest first.

        Raises:
            GatewayBusy, GatewayUnreachable, GatewayError: see `submit`.
        """
        cursor: str | None = None
        while True:
            params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
            page = parse(DeadJobs, self._sender.send("GET", "v1/dead-jobs", params=params))
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
        return parse(Job, self._sender.send("POST", f"{job_url(job_id)}/retry"))

    def heatmap(self, job_id: str) -> bytes:
        """Returns the class-activation map of a job that succeeded, as a transparent PNG.

        Raises:
            GatewayError: with code `heatmap_not_available` where the job has no result.
            JobNotFound, GatewayBusy, GatewayUnreachable: see `get`.
        """
        return self._sender.send("GET", f"{job_url(job_id)}/heatmap.png").content

    def health(self) -> Health:
        """Asks once, without retries, how the gateway is.

        Raises:
            GatewayUnreachable: nobody answers.
            GatewayError: the answer is not a tbscreen gateway's.
        """
        return parse(Health, self._sender.send("GET", "health", retry_for_s=0.0))

    def model(self, version: str) -> Model:
        """Returns what is known of a model.

        Args:
            version: as a result or `health` names it.

        Raises:
            GatewayError: with code `model_not_found` where there is none.
            GatewayBusy, GatewayUnreachable: see `submit`.
        """
        return parse(Model, self._sender.send("GET", f"v1/models/{quote(version, safe='')}"))


def _calling_back(callback_url: str | None) -> dict[str, str]:
    return {} if callback_url is None else {"callback_url": callback_url}
