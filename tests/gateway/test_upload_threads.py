"""Uploads that hold their threads hold no one else's."""

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.gateway_app import PNG, as_form
from support.zip_files import zip_of
from tbscreen_gateway.batches.archive import Archive
from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_shared.blobs import BlobStore, BlobWriter

MIB = 2**20
UPLOADS = 50
"""More than the threads that the server shares among all requests, which are 40."""


@pytest.fixture
def slow_volume(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is written before the event."""
    write, may_write = BlobWriter.write, threading.Event()

    def wait(writer: BlobWriter, data: bytes) -> None:
        assert may_write.wait(30)
        write(writer, data)

    monkeypatch.setattr(BlobWriter, "write", wait)
    yield may_write
    may_write.set()


async def test_while_uploads_wait_for_the_volume_jobs_are_looked_up(
    client: httpx.AsyncClient, slow_volume: threading.Event
) -> None:
    uploads = [
        asyncio.create_task(client.post("/v1/jobs", files=as_form(PNG))) for _ in range(UPLOADS)
    ]
    await asyncio.sleep(1)
    try:
        async with asyncio.timeout(5):
            answer = await client.get("/v1/jobs/0199e0a4-7c1e-7d52-9a53-0f2a5e6b8c11")
        assert answer.status_code == 404
    finally:
        slow_volume.set()
        answers = await asyncio.gather(*uploads)
    assert [answer.status_code for answer in answers] == [202] * UPLOADS


def test_a_large_file_of_an_archive_gives_its_thread_away_in_between(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs")
    limits = BatchLimits(
        max_files=10,
        max_request_bytes=100 * MIB,
        max_file_bytes=100 * MIB,
        max_unpacked_bytes=100 * MIB,
        max_ratio=100,
    )
    files = (("a.png", PNG + bytes(18 * MIB)), ("b.png", PNG))
    archive = Archive(io.BytesIO(zip_of(*files)), limits)
    draft = BatchDraft(blobs, limits, lambda _: None)
    steps = [list(archive.unpack(index, entry, draft)) for index, entry in archive.files]
    assert steps == [[True] * 4, []]
    assert [upload.size_bytes for upload in draft.uploads] == [len(data) for _, data in files]
