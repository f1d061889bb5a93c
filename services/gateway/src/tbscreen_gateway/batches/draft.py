"""A batch on its way in: its files are stored one after the other, or refused with a reason."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tbscreen_gateway.discarding import discard
from tbscreen_gateway.incoming import IncomingFile, Upload
from tbscreen_gateway.problems import FieldProblem, Refusal
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import JobError
from tbscreen_shared.errors import ErrorCode

ROOM_EVERY_BYTES: Final = 16 * 1024**2
"""How much is written before the volume is looked at again."""

_KEEP_EVERY_S: Final = 300.0
"""How old a file may be, well below what the sweeper takes for abandoned: a large batch over a slow
line comes for hours, and its first files have no job until the last one is here."""


@dataclass(frozen=True)
class BatchLimits:
    """What a batch may hold.

    Attributes:
        max_files: files, refused ones among them.
        max_request_bytes: of the whole request.
        max_file_bytes: of one file, unpacked.
        max_unpacked_bytes: of all files of an archive, refused ones as far as they were read.
        max_ratio: how many times its packed size an archive's file may unpack to.
    """

    max_files: int
    max_request_bytes: int
    max_file_bytes: int
    max_unpacked_bytes: int
    max_ratio: int

    @classmethod
    def of(cls, settings: GatewaySettings) -> "BatchLimits":
        """Returns what the operator has set."""
        return cls(
            # One that is longer than the whole queue would be told to come again for ever.
            max_files=min(settings.max_batch_files, settings.max_queue_length),
            max_request_bytes=settings.max_batch_bytes,
            max_file_bytes=settings.max_upload_bytes,
            max_unpacked_bytes=settings.max_batch_unpacked_bytes,
            max_ratio=settings.max_unpack_ratio,
        )

    def check_request_bytes(self, count: int) -> None:
        """Looks at the size of a request, as declared or as counted so far.

        Raises:
            Refusal: `batch_too_large`.
        """
        if count > self.max_request_bytes:
            raise _too_many_bytes(self.max_request_bytes, "The request is")

    def check_unpacked_bytes(self, count: int) -> None:
        """Looks at what an archive has unpacked to so far.

        Raises:
            Refusal: `batch_too_large`.
        """
        if count > self.max_unpacked_bytes:
            raise _too_many_bytes(self.max_unpacked_bytes, "The archive unpacks to")

    def too_many_files(self) -> Refusal:
        """The answer to a batch of too many files."""
        return Refusal(
            ErrorCode.BATCH_TOO_LARGE,
            f"A batch holds {self.max_files} files at most; send several.",
        )


@dataclass(frozen=True)
class DraftItem:
    """A file: it was stored, or refused."""

    index: int
    upload: Upload | None = None
    error: JobError | None = None


class BatchDraft:
    """The files that came so far. Blocking: it lives in the thread pool.

    Args:
        blobs: where the files are stored.
        limits: what it may hold.
        check_room: told how many files there will be; raises when they could not be accepted.
    """

    def __init__(
        self, blobs: BlobStore, limits: BatchLimits, check_room: Callable[[int], None]
    ) -> None:
        self._blobs = blobs
        self._limits = limits
        self._check_room = check_room
        self._writer: BlobWriter | None = None
        self._file: IncomingFile | None = None
        self._index = 0
        self._since_check = 0
        self._kept_at = time.monotonic()
        self.items: list[DraftItem] = []
        self.skipped = 0

    @property
    def uploads(self) -> list[Upload]:
        """The files that can become jobs."""
        return [item.upload for item in self.items if item.upload is not None]

    @property
    def fingerprint(self) -> str:
        """Tells the same files in the same order; those that were refused, by their error's code.

        Returns:
            a SHA-256, hexadecimal, that is no file's own.
        """
        digest = hashlib.sha256(b"tbscreen batch")
        for item in self.items:
            said = item.upload.sha256 if item.upload else item.error.code if item.error else ""
            digest.update(f"\n{said}".encode())
        return digest.hexdigest()

    def begin_file(self, index: int) -> None:
        """Starts the next file.

        Raises:
            Refusal: `batch_too_large`, or the queue or the volume is full.
            BlobError: the volume is full or failing.
            RedisError: the job store can not be reached.
        """
        if len(self.items) >= self._limits.max_files:
            raise self._limits.too_many_files()
        self._check_room(len(self.items) + 1)
        self._since_check = 0
        self._index = index
        self._writer = self._blobs.open_writer()
        self._writer.__enter__()
        self._file = IncomingFile(self._writer, self._limits.max_file_bytes)

    def take(self, chunk: bytes) -> bool:
        """Appends bytes to the file; False once it is refused, and its rest is not wanted.

        Raises:
            Refusal: the volume is full.
            BlobError: the volume is full or failing, or has lost a file.
        """
        self.watch_room(len(chunk))
        if self._file is None:
            return False
        try:
            self._file.take(chunk)
        except Refusal as refusal:
            self.refuse_file(refusal.code, refusal.detail)
            return False
        return True

    def end_file(self) -> None:
        """Makes the file durable, unless it was refused or is now.

        Raises:
            BlobError: the volume is full or failing.
        """
        if self._file is None:
            return
        try:
            self._file.end()
        except Refusal as refusal:
            self.refuse_file(refusal.code, refusal.detail)
            return
        self.items.append(DraftItem(self._index, upload=self._file.commit()))
        self._drop_file()

    def refuse_file(self, code: ErrorCode, detail: str) -> None:
        """Notes why the file is not taken, and forgets its bytes."""
        self._drop_file()
        self.items.append(DraftItem(self._index, error=JobError(code=code, message=detail)))

    def watch_room(self, written_bytes: int) -> None:
        """Looks at the queue and the volume again now and then, and keeps what is there young.

        Raises:
            Refusal: one of them is full.
            BlobError: the volume is failing, or has lost a file.
        """
        if time.monotonic() - self._kept_at >= _KEEP_EVERY_S:
            self.keep()
        self._since_check += written_bytes
        if self._since_check >= ROOM_EVERY_BYTES:
            self._since_check = 0
            self._check_room(len(self.items) + 1)

    def keep(self) -> None:
        """Keeps the files that are stored from the sweeper, and sees that each is there.

        Raises:
            BlobError: the volume is failing, or has lost a file.
        """
        for upload in self.uploads:
            self._blobs.touch(upload.blob)
        self._kept_at = time.monotonic()

    def check_any_accepted(self) -> None:
        """Looks whether there is a file to be read.

        Raises:
            Refusal: `no_file_accepted`, with what is wrong with each.
        """
        if any(item.upload for item in self.items):
            return
        raise Refusal(
            ErrorCode.NO_FILE_ACCEPTED,
            "No file of the batch can be read."
            if self.items
            else "The archive holds no file that could be read.",
            errors=[
                FieldProblem(
                    location=f"items.{item.index}", message=item.error.message, code=item.error.code
                )
                for item in self.items
                if item.error is not None
            ],
        )

    def erase(self) -> None:
        """Removes everything that was stored."""
        discard(self._blobs, [upload.blob for upload in self.uploads])
        self._drop_file()

    def _drop_file(self) -> None:
        """Removes what was written of the file, if it is not durable yet."""
        if self._writer is not None:
            self._writer.__exit__()
        self._writer = self._file = None


def _too_many_bytes(max_bytes: int, what: str) -> Refusal:
    return Refusal(
        ErrorCode.BATCH_TOO_LARGE,
        f"{what} more than {max_bytes / 2**20:g} MiB; send several batches.",
    )
