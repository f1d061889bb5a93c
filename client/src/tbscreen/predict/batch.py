"""Screens many files through one client, several at a time, answers in the files' order."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tbscreen.client import Client
from tbscreen.errors import (
    AccessDenied,
    GatewayError,
    GatewayUnreachable,
    JobTimeout,
    TbscreenError,
)
from tbscreen.models import Job, Result
from tbscreen.predict.files import Radiograph
from tbscreen.predict.outcome import Outcome, OutcomeStatus

UNREACHABLE: Final = "gateway_unreachable"
"""Error code of files for which the gateway stayed away for longer than a call is retried."""

_LAST_UPLOADS_S: Final = 5.0


class Batch:
    """One run over many files.

    Iterate it for the outcomes; after an interrupt, `stop` tells what became of the rest. Once the
    gateway is lost or lets nobody in with this key, files that were not yet sent are not tried, and
    `lost` says why.

    Args:
        client: a client, which `jobs` threads share.
        files: what to screen.
        jobs: how many files are with the gateway at a time.
        wait_s: seconds to wait for each file's answer.
        heatmaps: existing folder for the heat maps, or None to do without.
    """

    def __init__(
        self,
        client: Client,
        files: Sequence[Radiograph],
        *,
        jobs: int,
        wait_s: float,
        heatmaps: Path | None = None,
    ) -> None:
        self._client = client
        self._files = files
        self._jobs = jobs
        self._wait_s = wait_s
        self._heatmaps = heatmaps
        self._next = itertools.count()
        self._changed = threading.Condition()
        self._outcomes: dict[int, Outcome] = {}
        self._sending: set[int] = set()
        self._job_ids: dict[int, str] = {}
        self._told = 0
        self._stopped = False
        self.lost: GatewayUnreachable | AccessDenied | None = None
        self._crash: BaseException | None = None

    def __iter__(self) -> Iterator[Outcome]:
        """Screens the files; yields each one's outcome, in order."""
        for _ in range(min(self._jobs, len(self._files))):
            # Daemon threads: an interrupt must not wait for the answers that they wait for.
            threading.Thread(target=self._work, daemon=True).start()
        while self._told < len(self._files):
            with self._changed:
                self._changed.wait_for(lambda: self._crash or self._told in self._outcomes)
                if self._crash:
                    raise self._crash
                outcome = self._outcomes.pop(self._told)
                self._told += 1
            yield outcome

    def stop(self) -> list[Outcome]:
        """Sends no more files; returns the outcomes that were not yet yielded, in order."""
        with self._changed:
            self._stopped = True
            # An upload under way is about to become a job, whose id must not be lost.
            self._changed.wait_for(lambda: not self._sending, timeout=_LAST_UPLOADS_S)
            return [
                self._outcomes.get(index) or self._unfinished(index)
                for index in range(self._told, len(self._files))
            ]

    def _unfinished(self, index: int) -> Outcome:
        name, job_id = self._files[index].name, self._job_ids.get(index)
        status = OutcomeStatus.PENDING if job_id else OutcomeStatus.NOT_SENT
        return Outcome(name, status, job_id, None, "interrupted", "interrupted before the answer")

    def _work(self) -> None:
        try:
            while (index := self._take()) is not None:
                outcome = self._screen(index)
                with self._changed:
                    self._outcomes[index] = outcome
                    self._sending.discard(index)
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._crash = error
                self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            index = next(self._next)
            if self._stopped or index >= len(self._files):
                return None
            self._sending.add(index)
            return index

    def _screen(self, index: int) -> Outcome:
        file = self._files[index]
        if self.lost:
            return _failed(file, OutcomeStatus.NOT_SENT, _code_of(self.lost), str(self.lost))
        job_id: str | None = None
        try:
            job_id = self._submit(index)
            return self._conclude(file, self._client.wait(job_id, self._wait_s))
        except OSError as error:
            reason = error.strerror or "can not be read"
            return _failed(file, OutcomeStatus.NOT_SENT, "unreadable_file", reason)
        except (GatewayUnreachable, AccessDenied) as error:
            self.lost = error
            status = OutcomeStatus.PENDING if job_id else OutcomeStatus.NOT_SENT
            return _failed(file, status, _code_of(error), str(error), job_id)
        except JobTimeout as error:
            return _failed(file, OutcomeStatus.PENDING, "timeout", str(error), job_id)
        except GatewayError as error:
            return _failed(file, OutcomeStatus.FAILED, error.code, error.detail, job_id)

    def _submit(self, index: int) -> str:
        job_id = self._client.submit(self._files[index].path).id
        with self._changed:
            self._job_ids[index] = job_id
            self._sending.discard(index)
            self._changed.notify_all()
        return job_id

    def _conclude(self, file: Radiograph, job: Job) -> Outcome:
        if job.result is None:
            code = job.error.code if job.error else job.status.value
            message = job.error.message if job.error else f"the job was {job.status}"
            return _failed(file, OutcomeStatus.FAILED, code, message, job.id)
        if self._heatmaps is None:
            return Outcome(file.name, OutcomeStatus.SUCCEEDED, job.id, job.result)
        return self._with_heatmap(self._heatmaps / file.heatmap, file, job.id, job.result)

    def _with_heatmap(self, target: Path, file: Radiograph, job_id: str, result: Result) -> Outcome:
        try:
            image = self._client.heatmap(job_id)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image)
        except (OSError, TbscreenError) as error:
            message = f"the heat map is missing: {error}"
            return Outcome(
                file.name, OutcomeStatus.SUCCEEDED, job_id, result, "no_heatmap", message
            )
        return Outcome(file.name, OutcomeStatus.SUCCEEDED, job_id, result, heatmap=str(target))


def _code_of(error: GatewayUnreachable | AccessDenied) -> str:
    return error.code if isinstance(error, AccessDenied) else UNREACHABLE


def _failed(
    file: Radiograph, status: OutcomeStatus, code: str, message: str, job_id: str | None = None
) -> Outcome:
    return Outcome(file.name, status, job_id, error_code=code, error_message=message)
