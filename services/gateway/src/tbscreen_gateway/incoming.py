"""A file on its way into the blob store: measured, hashed, and told by its first bytes."""

import hashlib
from dataclasses import dataclass

from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.formats import SNIFF_BYTES, sniff


@dataclass(frozen=True)
class Upload:
    """A file in the blob store, durable and of a format this system reads."""

    blob: str
    sha256: str
    format: ImageFormat
    size_bytes: int


class IncomingFile:
    """What has come of a file. Blocking: it lives in the thread pool.

    Args:
        writer: open; whoever opened it closes it.
        max_bytes: of the file.
    """

    def __init__(self, writer: BlobWriter, max_bytes: int) -> None:
        self._writer = writer
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._head = b""
        self.size_bytes = 0
        self.format: ImageFormat | None = None

    def take(self, chunk: bytes) -> None:
        """Appends bytes.

        Raises:
            Refusal: `file_too_large` or `unsupported_media_type`, as soon as that is known.
            BlobError: the volume is full or failing.
        """
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        if self.format is None:
            self._head += chunk[: SNIFF_BYTES - len(self._head)]
            if len(self._head) == SNIFF_BYTES:
                self._tell_format()
        self._digest.update(chunk)
        self._writer.write(chunk)

    def end(self) -> None:
        """Looks at a file that came to its end, however short.

        Raises:
            Refusal: `unsupported_media_type` or `empty_upload`.
        """
        if not self.size_bytes:
            raise Refusal(ErrorCode.EMPTY_UPLOAD, "The file holds no bytes.")
        if self.format is None:
            self._tell_format()

    def commit(self) -> Upload:
        """Makes a file that came to its end durable.

        Raises:
            BlobError: the volume is full or failing.
        """
        assert self.format is not None
        blob = self._writer.commit()
        return Upload(blob, self._digest.hexdigest(), self.format, self.size_bytes)

    def _tell_format(self) -> None:
        self.format = sniff(self._head)
        if self.format is None:
            raise Refusal(
                ErrorCode.UNSUPPORTED_MEDIA_TYPE,
                "The file is no PNG, JPEG, TIFF or DICOM; its content is looked at, not its name.",
            )


def too_large(max_bytes: int) -> Refusal:
    """The answer to a file of more than `max_bytes`."""
    return Refusal(ErrorCode.FILE_TOO_LARGE, f"The file is larger than {max_bytes / 2**20:g} MiB.")
