"""Takes an upload in: parsed, checked, hashed and written as it arrives, never held in memory."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from streaming_form_data import StreamingFormDataParser
from streaming_form_data.parser import ParseFailedException, UnexpectedPartException
from streaming_form_data.targets import BaseTarget

from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore, BlobWriter
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.formats import SNIFF_BYTES, sniff

FILE_FIELD: Final = "file"

_BATCH_BYTES: Final = 256 * 1024
"""What one trip to the thread pool writes; a trip costs some 50 µs."""

_MAX_OVERHEAD_BYTES: Final = 16 * 1024
"""What a form may hold beside the file: boundaries and part headers, which the parser buffers."""

_IDLE_S: Final = 60.0
"""A client that sends nothing for so long holds its partial upload no longer."""

_SLOWEST_BYTES_S: Final = 4096
"""Nor one that sends less on average, after the first `_IDLE_S`: a modem's 33.6 kbit/s."""


@dataclass(frozen=True)
class Upload:
    """A file in the blob store, durable and of a format this system reads."""

    blob: str
    sha256: str
    format: ImageFormat
    size_bytes: int


async def receive_upload(request: Request, blobs: BlobStore, *, max_upload_bytes: int) -> Upload:
    """Streams the form's `file` into the blob store and commits it.

    Raises:
        Refusal: `file_too_large`, `unsupported_media_type`, `empty_upload`, or `invalid_request`
            when the form is malformed, cut short, or not one `file`.
        BlobError: the volume is full or failing.
        ClientDisconnect: the client left; nothing stays behind.
    """
    limit = max_upload_bytes + _MAX_OVERHEAD_BYTES
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_large(max_upload_bytes)
    content_type = request.headers.get("content-type", "")
    async with _open_writer(blobs) as writer:
        part = _FilePart(writer, max_upload_bytes)
        parser = _make_parser(content_type, part)
        received, batch = 0, bytearray()
        async for chunk in _chunks(request):
            received += len(chunk)
            batch += chunk
            # Until the format is known each chunk is looked at, so that a refusal comes at once.
            if part.format is None or len(batch) >= _BATCH_BYTES:
                await run_in_threadpool(_feed, parser, bytes(batch))
                batch.clear()
                part.check_overhead(received)
        await run_in_threadpool(_feed, parser, bytes(batch))
        part.check_overhead(received)
        image_format = part.check_complete()
        blob = await run_in_threadpool(writer.commit)
    return Upload(blob, part.sha256, image_format, part.size_bytes)


class _FilePart(BaseTarget):  # type: ignore[misc]  # the parser has no types
    """Where the parser puts the file's bytes as they come. Lives in the thread pool."""

    def __init__(self, writer: BlobWriter, max_bytes: int) -> None:
        super().__init__()
        self._writer = writer
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._head = b""
        self._parts_begun = 0
        self._ended = False
        self.size_bytes = 0
        self.format: ImageFormat | None = None

    @property
    def sha256(self) -> str:
        """Of the bytes so far, hexadecimal."""
        return self._digest.hexdigest()

    def on_start(self) -> None:
        self._parts_begun += 1
        if self._parts_begun > 1:
            raise _invalid("The form holds more than one file; send one a request.")

    def on_data_received(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        if self.format is None:
            self._head += chunk[: SNIFF_BYTES - len(self._head)]
            if len(self._head) == SNIFF_BYTES:
                self._tell_format()
        self._digest.update(chunk)
        self._writer.write(chunk)

    def on_finish(self) -> None:
        self._ended = True
        if self.size_bytes and self.format is None:
            self._tell_format()

    def check_overhead(self, received_bytes: int) -> None:
        """Looks at what came beside the file, which the parser may hold in memory.

        Raises:
            Refusal: it is more than a form needs.
        """
        if received_bytes - self.size_bytes > _MAX_OVERHEAD_BYTES:
            raise _invalid("The form holds more than the one file.")

    def check_complete(self) -> ImageFormat:
        """Returns the format of the whole file.

        Raises:
            Refusal: there was no file, or not all of it, or nothing in it.
        """
        if not self._parts_begun:
            raise _invalid(f"The form has no field named {FILE_FIELD!r}.")
        if not self._ended:
            raise _invalid("The form ends before its closing boundary.")
        if self.format is None:
            raise Refusal(ErrorCode.EMPTY_UPLOAD, "The file holds no bytes.")
        return self.format

    def _tell_format(self) -> None:
        self.format = sniff(self._head)
        if self.format is None:
            raise Refusal(
                ErrorCode.UNSUPPORTED_MEDIA_TYPE,
                "The file is no PNG, JPEG, TIFF or DICOM; its content is looked at, not its name.",
            )


@asynccontextmanager
async def _open_writer(blobs: BlobStore) -> AsyncIterator[BlobWriter]:
    writer = blobs.open_writer()
    await run_in_threadpool(writer.__enter__)
    try:
        yield writer
    finally:
        # Not in the thread pool: a cancelled request must still remove its partial file.
        writer.__exit__()


def _make_parser(content_type: str, part: _FilePart) -> StreamingFormDataParser:
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refusal(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            f"Send the radiograph as multipart/form-data, in a field named {FILE_FIELD!r}.",
        )
    try:
        parser = StreamingFormDataParser({"content-type": content_type}, strict=True)
    except (ParseFailedException, ValueError) as error:
        raise _invalid("The Content-Type names no usable boundary.") from error
    parser.register(FILE_FIELD, part)
    return parser


def _feed(parser: StreamingFormDataParser, data: bytes) -> None:
    try:
        parser.data_received(data)
    except UnexpectedPartException as error:
        raise _invalid(f"The form has a field other than {FILE_FIELD!r}.") from error
    except (ParseFailedException, UnicodeDecodeError) as error:
        raise _invalid("The form is not well-formed multipart/form-data.") from error


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    begun, received = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(_IDLE_S):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise _invalid(f"The upload stalled for {_IDLE_S:.0f} seconds.") from error
        received += len(chunk)
        if received < (time.monotonic() - begun - _IDLE_S) * _SLOWEST_BYTES_S:
            raise _invalid(f"The upload came at less than {_SLOWEST_BYTES_S} bytes a second.")
        yield chunk


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(ErrorCode.FILE_TOO_LARGE, f"The file is larger than {max_bytes / 2**20:g} MiB.")


def _invalid(detail: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_REQUEST, detail)
