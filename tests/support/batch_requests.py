"""Batches as the tests send them, and their sheets as they read them."""

import csv
import io

import httpx

from support.fake_worker import FakeWorker
from support.gateway_app import PNG
from tbscreen_shared.contracts import JobError
from tbscreen_shared.errors import ErrorCode

NOTE = b"notes" * 100
DAMAGED = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="=damaged, or cut short")


async def submit(
    client: httpx.AsyncClient, *files: bytes, query: str = "", key: str | None = None
) -> httpx.Response:
    return await client.post(
        f"/v1/batches{query}",
        files=[("file", ("Doe^Jane.dcm", data)) for data in files],
        headers={} if key is None else {"Idempotency-Key": key},
    )


def films(count: int) -> list[bytes]:
    return [PNG + number.to_bytes(4, "big") for number in range(count)]


def work(worker: FakeWorker, count: int) -> None:
    for _ in range(count):
        assert worker.finish(worker.take() or "")


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))
