"""Takes an upload in: parsed, checked, hashed and written as it arrives, never held in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request

from tbscreen_gateway.forms import MAX_OVERHEAD_BYTES, PartTarget, invalid_form, read_form
from tbscreen_gateway.incoming import IncomingFile, Upload, too_large
from tbscreen_gateway.upload_threads import run_for_upload
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.blobs import BlobStore

FILE_FIELD: Final = "file"


async def receive_upload(request: Request, blobs: BlobStore, *, max_upload_bytes: int) -> Upload:
    """Streams the form's `file` into the blob store and commits it.

    Raises:
        Refusal: `file_too_large`, `unsupported_media_type`, `empty_upload`, or `invalid_request`
            when the form is malformed, cut short, or not one `file`.
        BlobError: the volume is full or failing.
        ClientDisconnect: the client left; nothing stays behind.
    """
    limit = max_upload_bytes + MAX_OVERHEAD_BYTES
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large(max_upload_bytes)
    async with _open_writer(blobs) as writer:
        file = IncomingFile(writer, max_upload_bytes)
        part = _FilePart(file)
        await read_form(
            request,
            {FILE_FIELD: part},
            check=part.check_overhead,
            is_impatient=lambda: file.format is None,
        )
        if not part.begun:
            raise invalid_form(f"The form has no field named {FILE_FIELD!r}.")
        file.end()
        return await run_for_upload(file.commit)


class _FilePart(PartTarget):
    """Where the parser puts the file's bytes as they come."""

    def __init__(self, file: IncomingFile) -> None:
        super().__init__()
        self._file = file

    def begin(self) -> None:
        if self.begun > 1:
            raise invalid_form("The form holds more than one file; send one a request.")

    def take(self, chunk: bytes) -> None:
        self._file.take(chunk)

    def check_overhead(self, received_bytes: int) -> None:
        """Looks at what came beside the file, which the parser may hold in memory.

        Raises:
            Refusal: it is more than a form needs.
        """
        if received_bytes - self._file.size_bytes > MAX_OVERHEAD_BYTES:
            raise invalid_form("The form holds more than the one file.")


@asynccontextmanager
async def _open_writer(blobs: BlobStore) -> AsyncIterator[BlobWriter]:
    writer = blobs.open_writer()
    await run_for_upload(writer.__enter__)
    try:
        yield writer
    finally:
        # Not in the thread pool: a cancelled request must still remove its partial file.
        writer.__exit__()
