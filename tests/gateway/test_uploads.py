import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from support.gateway_app import JPEG, PNG
from support.interning import watch_interning
from support.sent_form import SentRequest, form, part, split
from tbscreen_gateway import forms
from tbscreen_gateway.incoming import Upload
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.uploads import receive_upload
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.errors import ErrorCode

MAX_BYTES = 200_000
DICOM = bytes(128) + b"DICM" + bytes(500)


async def receive(sent: SentRequest, blobs: BlobStore) -> Upload:
    return await receive_upload(sent.request, blobs, max_upload_bytes=MAX_BYTES)


async def refusal(sent: SentRequest, blobs: BlobStore) -> ErrorCode:
    with pytest.raises(Refusal) as caught:
        await receive(sent, blobs)
    return caught.value.code


@pytest.mark.parametrize("size", [1, 7, 133, 1000, 10_000_000])
@pytest.mark.parametrize(
    ("data", "image_format"),
    [
        (PNG + bytes(5000), ImageFormat.PNG),
        (JPEG, ImageFormat.JPEG),
        (b"II*\x00" + bytes(9), ImageFormat.TIFF),
        (DICOM, ImageFormat.DICOM),
        (PNG + b"\r\n--edg\r\n--edge-\r\n" * 50, ImageFormat.PNG),
    ],
)
async def test_the_bytes_stored_are_those_sent_however_they_are_cut(
    blobs: BlobStore, data: bytes, image_format: ImageFormat, size: int
) -> None:
    upload = await receive(SentRequest(split(form(data), size)), blobs)
    assert upload.format is image_format
    assert upload.size_bytes == len(data)
    assert upload.sha256 == hashlib.sha256(data).hexdigest()
    assert Path(blobs.path(upload.blob)).read_bytes() == data


async def test_an_uploads_name_is_not_interned(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    interned = watch_interning(monkeypatch)
    upload = await receive(SentRequest(split(form(JPEG), 1000)), blobs)
    assert [name for name in interned if upload.blob in name] == []


async def test_a_file_of_several_batches_is_stored_whole(blobs: BlobStore) -> None:
    data = PNG + bytes(range(256)) * 4000
    sent = SentRequest(split(form(data), 50_000))
    upload = await receive_upload(sent.request, blobs, max_upload_bytes=2_000_000)
    assert Path(blobs.path(upload.blob)).read_bytes() == data


async def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(
    blobs: BlobStore,
) -> None:
    limit = PNG + bytes(MAX_BYTES - len(PNG))
    assert (await receive(SentRequest(split(form(limit), 65536)), blobs)).size_bytes == MAX_BYTES
    more = SentRequest(split(form(limit + b"x"), 65536))
    assert await refusal(more, blobs) is ErrorCode.FILE_TOO_LARGE


async def test_a_declared_length_over_the_limit_is_refused_unread(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    sent = SentRequest([form(PNG)], content_length=str(MAX_BYTES + 100_000))
    assert await refusal(sent, blobs) is ErrorCode.FILE_TOO_LARGE
    assert sent.pieces_read == 0
    assert left_behind() == []


async def test_reading_stops_as_soon_as_the_content_is_known_to_be_wrong(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    sent = SentRequest(split(form(b"%PDF-1.7" + bytes(150_000)), 2000))
    assert await refusal(sent, blobs) is ErrorCode.UNSUPPORTED_MEDIA_TYPE
    assert sent.pieces_read == 1
    assert left_behind() == []


async def test_an_overlong_upload_is_not_read_to_its_end(blobs: BlobStore) -> None:
    sent = SentRequest(split(form(PNG + bytes(50 * MAX_BYTES)), 10_000))
    assert await refusal(sent, blobs) is ErrorCode.FILE_TOO_LARGE
    assert sent.pieces_read * 10_000 < 4 * MAX_BYTES


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(b""), ErrorCode.EMPTY_UPLOAD),
        (form(b"\x89PNG"), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (b"", ErrorCode.INVALID_REQUEST),
        (b"--edge--\r\n", ErrorCode.INVALID_REQUEST),
        (b"no form at all", ErrorCode.INVALID_REQUEST),
        (b"--other\r\n\r\n", ErrorCode.INVALID_REQUEST),
        (form(PNG, name="image"), ErrorCode.INVALID_REQUEST),
        (form(PNG, name="fil\xe9"), ErrorCode.INVALID_REQUEST),
        (part(PNG) + form(PNG), ErrorCode.INVALID_REQUEST),
        (part(PNG) + form(b"note", name="comment"), ErrorCode.INVALID_REQUEST),
        (part(PNG + bytes(3000)), ErrorCode.INVALID_REQUEST),
        (part(PNG)[:-200], ErrorCode.INVALID_REQUEST),
        (part(PNG) + b"--edge\r\n", ErrorCode.INVALID_REQUEST),
        (part(PNG) + b"--edge-", ErrorCode.INVALID_REQUEST),
        (b"--edge\r\nContent-Disposition: " + b"x" * 100_000, ErrorCode.INVALID_REQUEST),
        (form(PNG) + b"x" * 100_000, ErrorCode.INVALID_REQUEST),
        (b'--edge\r\nContent-Disposition: form-data; name="\xff"', ErrorCode.INVALID_REQUEST),
    ],
)
@pytest.mark.parametrize("size", [11, 10_000_000])
async def test_a_form_that_is_not_one_readable_file_is_refused_and_not_kept(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], body: bytes, code: ErrorCode, size: int
) -> None:
    assert await refusal(SentRequest(split(body, size)), blobs) is code
    assert left_behind() == []


@pytest.mark.parametrize("before", [b"--edge\r\nContent-Disposition: ", form(PNG)])
async def test_what_is_not_the_file_is_not_read_without_end(
    blobs: BlobStore, before: bytes
) -> None:
    sent = SentRequest([before, *[b"x" * 4000] * 400])
    assert await refusal(sent, blobs) is ErrorCode.INVALID_REQUEST
    assert sent.pieces_read < 80


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("image/png", ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("", ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("application/x-www-form-urlencoded", ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("multipart/form-data", ErrorCode.INVALID_REQUEST),
        ("multipart/form-data; boundary=", ErrorCode.INVALID_REQUEST),
    ],
)
async def test_a_body_that_is_no_form_is_refused_unread(
    blobs: BlobStore, content_type: str, code: ErrorCode
) -> None:
    sent = SentRequest([form(PNG)], content_type=content_type)
    assert await refusal(sent, blobs) is code
    assert sent.pieces_read == 0


async def test_a_client_that_leaves_takes_its_partial_upload_along(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    with pytest.raises(ClientDisconnect):
        await receive(SentRequest([*split(form(PNG + bytes(9000)), 4000)[:2], None]), blobs)
    assert left_behind() == []


async def test_a_client_that_stalls_is_given_up(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stall() -> AsyncIterator[bytes]:
        yield form(PNG)[:200]
        await asyncio.sleep(60)

    sent = SentRequest([])
    monkeypatch.setattr(sent.request, "stream", stall)
    monkeypatch.setattr(forms, "_IDLE_S", 0.05)
    assert await refusal(sent, blobs) is ErrorCode.INVALID_REQUEST
    assert left_behind() == []


async def test_a_client_that_only_trickles_is_given_up(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_bytes = 0

    async def trickle() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        for byte in form(PNG):
            yield bytes([byte])
            sent_bytes += 1
            await asyncio.sleep(0.01)

    sent = SentRequest([])
    monkeypatch.setattr(sent.request, "stream", trickle)
    monkeypatch.setattr(forms, "_IDLE_S", 1.5)
    assert await refusal(sent, blobs) is ErrorCode.INVALID_REQUEST
    assert 5 <= sent_bytes < 340
    assert left_behind() == []


async def test_an_upload_that_takes_too_long_is_given_up_at_whatever_rate(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield form(PNG)[:200]
        while True:
            yield bytes(100)
            await asyncio.sleep(0.01)

    sent = SentRequest([])
    monkeypatch.setattr(sent.request, "stream", stream)
    monkeypatch.setattr(forms, "_LONGEST_S", 0.3)
    begun = time.monotonic()
    assert await refusal(sent, blobs) is ErrorCode.INVALID_REQUEST
    assert time.monotonic() - begun < 5
    assert left_behind() == []
