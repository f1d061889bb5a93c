import asyncio
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from support import unpacking
from support.gateway_app import JPEG, PNG
from support.sent_form import SentRequest, form, part, split
from support.zip_files import zip_of
from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_gateway.batches.form import receive_batch
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import BlobError, ErrorCode

LIMITS = replace(unpacking.LIMITS, max_file_bytes=200_000)
END = b"--edge--\r\n"
NOTE = b"notes" * 100


def form_of(*files: bytes) -> bytes:
    return b"".join(map(part, files)) + END


async def receive(
    body: bytes,
    blobs: BlobStore,
    *,
    size: int = 65536,
    limits: BatchLimits = LIMITS,
    check_room: Callable[[int], None] = lambda _: None,
) -> BatchDraft:
    return await receive_batch(SentRequest(split(body, size)).request, blobs, limits, check_room)


async def refusal(
    body: bytes, blobs: BlobStore, *, size: int = 65536, limits: BatchLimits = LIMITS
) -> ErrorCode:
    with pytest.raises(Refusal) as caught:
        await receive(body, blobs, size=size, limits=limits)
    return caught.value.code


@pytest.mark.parametrize("size", [1, 7, 133, 10_000_000])
async def test_files_are_stored_in_their_order_however_the_form_is_cut(
    blobs: BlobStore, size: int
) -> None:
    files = [PNG, JPEG, PNG + b"\r\n--edg\r\n--edge-\r\n" * 9]
    draft = await receive(form_of(*files), blobs, size=size)
    assert [Path(blobs.path(upload.blob)).read_bytes() for upload in draft.uploads] == files
    assert [u.sha256 for u in draft.uploads] == [hashlib.sha256(data).hexdigest() for data in files]
    assert [item.index for item in draft.items] == [0, 1, 2]


@pytest.mark.parametrize("size", [100, 10_000_000])
async def test_a_file_that_can_not_be_taken_is_an_item_with_an_error_and_the_rest_goes_on(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], size: int
) -> None:
    body = form_of(NOTE, PNG, b"", PNG + bytes(300_000), JPEG)
    draft = await receive(body, blobs, size=size)
    assert [item.error and item.error.code for item in draft.items] == [
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        None,
        ErrorCode.EMPTY_UPLOAD,
        ErrorCode.FILE_TOO_LARGE,
        None,
    ]
    assert [upload.format for upload in draft.uploads] == ["png", "jpeg"]
    assert len(left_behind()) == 2
    draft.erase()
    assert left_behind() == []


async def test_a_batch_without_a_single_radiograph_is_refused_with_the_reason_for_each(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    with pytest.raises(Refusal) as caught:
        await receive(form_of(NOTE, b""), blobs)
    assert caught.value.code is ErrorCode.NO_FILE_ACCEPTED
    assert [(problem.location, problem.code) for problem in caught.value.errors or ()] == [
        ("items.0", "unsupported_media_type"),
        ("items.1", "empty_upload"),
    ]
    assert left_behind() == []


@pytest.mark.parametrize("size", [11, 10_000_000])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        END,
        form(PNG, "image"),
        part(PNG) + part(b"x", "comment") + END,
        part(PNG) + part(zip_of(("a", PNG)), "archive") + END,
        part(zip_of(("a", PNG)), "archive") + part(PNG) + END,
        part(zip_of(("a", PNG)), "archive") * 2 + END,
        part(PNG) * 3,
        part(PNG) * 3 + b"--edge\r\n",
        part(PNG) * 3 + part(PNG)[:-100],
        part(PNG) * 2 + b"--edge\r\nContent-Disposition: " + b"x" * 100_000,
        form_of(PNG, PNG) + b"x" * 100_000,
    ],
)
async def test_a_form_that_is_neither_files_nor_one_archive_is_refused_and_not_kept(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], body: bytes, size: int
) -> None:
    assert await refusal(body, blobs, size=size) is ErrorCode.INVALID_REQUEST
    assert left_behind() == []


async def test_more_files_than_a_batch_holds_are_refused_as_soon_as_one_too_many_begins(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    assert len((await receive(form_of(*[PNG] * 20), blobs)).items) == 20
    for path in left_behind():
        path.unlink()
    sent = SentRequest(split(form_of(*[PNG] * 20_000), 300_000))
    with pytest.raises(Refusal) as caught:
        await receive_batch(sent.request, blobs, LIMITS, lambda _: None)
    assert caught.value.code is ErrorCode.BATCH_TOO_LARGE
    assert sent.pieces_read == 1
    assert left_behind() == []


@pytest.mark.parametrize("name", ["file", "archive"])
async def test_a_request_without_a_length_is_counted(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], name: str
) -> None:
    sent = SentRequest(split(form(PNG + bytes(9_000_000), name), 100_000))
    limits = replace(LIMITS, max_request_bytes=1_000_000)
    with pytest.raises(Refusal) as caught:
        await receive_batch(sent.request, blobs, limits, lambda _: None)
    assert caught.value.code is ErrorCode.BATCH_TOO_LARGE
    assert sent.pieces_read < 20
    assert left_behind() == []


async def test_room_is_asked_for_with_each_file_and_as_an_archive_grows(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    asked: list[int] = []
    (await receive(form_of(PNG, NOTE, PNG), blobs, check_room=asked.append)).erase()
    assert asked == [1, 2, 3, 2], "and in the end for those that become jobs"

    def refuse_the_second_time(files: int) -> None:
        asked.append(files)
        if len(asked) == 2:
            raise Refusal(ErrorCode.STORAGE_FULL, "full")

    asked.clear()
    sent = SentRequest(split(form(bytes(40_000_000), "archive"), 1_000_000))
    with pytest.raises(Refusal) as caught:
        await receive_batch(sent.request, blobs, LIMITS, refuse_the_second_time)
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert 30 < sent.pieces_read < 40
    assert left_behind() == []


async def test_a_volume_that_fills_up_leaves_nothing_of_the_batch(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = BlobWriter.commit

    def commit(self: BlobWriter) -> str:
        if len(left_behind()) > 3:
            raise BlobError(ErrorCode.STORAGE_FULL, "full")
        return committed(self)

    monkeypatch.setattr(BlobWriter, "commit", commit)
    for body in (form_of(*[PNG] * 9), form(zip_of(*((str(n), PNG) for n in range(9))), "archive")):
        with pytest.raises(BlobError):
            await receive(body, blobs)
        assert left_behind() == []


@pytest.mark.parametrize(
    "body",
    [
        part(PNG) + part(PNG) + part(PNG + bytes(150_000))[:-100],
        part(bytes(900_000), "archive")[:-100],
    ],
)
async def test_a_client_that_leaves_takes_all_its_files_along(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], body: bytes
) -> None:
    sent = SentRequest([*split(body, 100_000), None])
    with pytest.raises(ClientDisconnect):
        await receive_batch(sent.request, blobs, LIMITS, lambda _: None)
    assert left_behind() == []


async def test_a_request_that_is_canceled_leaves_nothing(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    arrived = asyncio.Event()
    sent = SentRequest([])

    async def stall() -> dict[str, object]:
        if left_behind():
            arrived.set()
            await asyncio.sleep(60)
        body = b"".join(part(PNG) for _ in range(3)) + part(PNG + bytes(190_000)) * 2
        return {"type": "http.request", "body": body, "more_body": True}

    sent.request._receive = stall  # type: ignore[assignment]
    task = asyncio.create_task(receive_batch(sent.request, blobs, LIMITS, lambda _: None))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_behind() == []


async def test_files_are_removed_on_a_slow_volume_without_holding_up_others_and_to_the_last(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    erase, erased = BlobStore.erase, 0
    threads: set[int] = set()

    def erase_slowly(self: BlobStore, key: str) -> None:
        nonlocal erased
        threads.add(threading.get_ident())
        time.sleep(0.05)
        erase(self, key)
        erased += 1

    monkeypatch.setattr(BlobStore, "erase", erase_slowly)
    sent = SentRequest([*map(part, [PNG] * 20), b"no form"])
    receiving = asyncio.create_task(receive_batch(sent.request, blobs, LIMITS, lambda _: None))
    while not receiving.done():
        await asyncio.sleep(0.01)
        if erased >= 5:
            receiving.cancel()
    assert receiving.cancelled()
    async with asyncio.timeout(20):
        while erased < 19:  # the last one never ended
            await asyncio.sleep(0.05)
    assert left_behind() == []
    assert threading.get_ident() not in threads, "the event loop's"


async def test_the_fingerprint_tells_other_files_and_another_order_and_not_another_packing(
    blobs: BlobStore,
) -> None:
    both = (await receive(form_of(PNG, JPEG), blobs)).fingerprint
    packed = form(zip_of(("x/a", PNG), ("y", JPEG)), "archive")
    assert (await receive(packed, blobs)).fingerprint == both
    for other in ((JPEG, PNG), (PNG,), (PNG, JPEG, JPEG), (PNG, JPEG, NOTE), (PNG, NOTE, JPEG)):
        assert (await receive(form_of(*other), blobs)).fingerprint != both
    single = (await receive(form_of(PNG), blobs)).fingerprint
    assert single != hashlib.sha256(PNG).hexdigest()
