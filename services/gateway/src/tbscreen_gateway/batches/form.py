"""Takes a batch's request in: many files, each stored as it comes, or one archive."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.batches.archive import Archive
from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_gateway.forms import MAX_OVERHEAD_BYTES, PartTarget, invalid_form, read_form
from tbscreen_gateway.threads import finish_in_thread
from tbscreen_gateway.upload_threads import run_for_upload
from tbscreen_gateway.uploads import FILE_FIELD
from tbscreen_shared.blob_writing import Spool
from tbscreen_shared.blobs import BlobStore

ARCHIVE_FIELD: Final = "archive"

_OVERHEAD_PER_FILE_BYTES: Final = 1024
"""A part's boundary and headers: some 150 bytes and the file's name."""


async def receive_batch(
    request: Request,
    blobs: BlobStore,
    limits: BatchLimits,
    check_room: Callable[[int], None],
    *,
    unpacking: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> BatchDraft:
    """Streams the form's files, or its archive's, into the blob store.

    Args:
        request: its body is read.
        blobs: where the files are stored.
        limits: what the batch may hold.
        check_room: told how many files there will be; raises when they could not be accepted.
        unpacking: entered while an archive is unpacked, beside itself.

    Raises:
        Refusal: `batch_too_large`, `unreadable_archive`, `no_file_accepted`, `invalid_request`, or
            whatever `check_room` refuses with. Nothing stays behind, as with all others.
        BlobError: the volume is full or failing.
        RedisError: the job store can not be reached.
        ClientDisconnect: the client left.
    """
    draft = BatchDraft(blobs, limits, check_room)
    try:
        with blobs.open_spool() as spool:
            form = _BatchForm(draft, spool, limits)
            await read_form(
                request, {FILE_FIELD: form.files, ARCHIVE_FIELD: form.archive}, check=form.check
            )
            form.check_complete()
            if form.archive.begun:
                stream = await run_for_upload(spool.rewind)
                archive = await run_for_upload(Archive, stream, limits)
                draft.skipped = archive.skipped
                with unpacking():
                    for index, entry in archive.files:
                        steps = archive.unpack(index, entry, draft)
                        while await run_for_upload(next, steps, False):
                            pass
        draft.check_any_accepted()
        await run_in_threadpool(draft.keep)
        # Others were accepted while this came.
        await run_in_threadpool(check_room, len(draft.uploads))
    except BaseException:
        await finish_in_thread(draft.erase)
        raise
    return draft


class _FileParts(PartTarget):
    """The form's files, one after the other."""

    def __init__(self, draft: BatchDraft) -> None:
        super().__init__()
        self._draft = draft
        self.size_bytes = 0

    def begin(self) -> None:
        self._draft.begin_file(self.begun - 1)

    def take(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        self._draft.take(chunk)

    def end(self) -> None:
        self._draft.end_file()


class _ArchivePart(PartTarget):
    """The form's archive, kept on the volume until it is unpacked: its directory is at its end."""

    def __init__(self, draft: BatchDraft, spool: Spool) -> None:
        super().__init__()
        self._draft = draft
        self._spool = spool
        self.size_bytes = 0

    def take(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        self._spool.write(chunk)
        self._draft.watch_room(len(chunk))


class _BatchForm:
    """What the form may hold, and what has come of it."""

    def __init__(self, draft: BatchDraft, spool: Spool, limits: BatchLimits) -> None:
        self._limits = limits
        self.files = _FileParts(draft)
        self.archive = _ArchivePart(draft, spool)

    def check(self, received_bytes: int) -> None:
        """Looks at how much came, in all and beside the files.

        Raises:
            Refusal: it is too much.
        """
        self._limits.check_request_bytes(received_bytes)
        if self.archive.begun > 1 or (self.archive.begun and self.files.begun):
            raise invalid_form(
                f"Send fields named {FILE_FIELD!r}, or one named {ARCHIVE_FIELD!r}, not both."
            )
        beside_bytes = received_bytes - self.files.size_bytes - self.archive.size_bytes
        if beside_bytes > MAX_OVERHEAD_BYTES + self.files.begun * _OVERHEAD_PER_FILE_BYTES:
            raise invalid_form("The form holds more than files.")

    def check_complete(self) -> None:
        """Looks at a form that came to its end.

        Raises:
            Refusal: there was nothing in it.
        """
        if not self.files.begun and not self.archive.begun:
            raise invalid_form(f"The form has no field named {FILE_FIELD!r} or {ARCHIVE_FIELD!r}.")
