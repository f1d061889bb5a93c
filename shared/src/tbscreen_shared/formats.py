"""Tells an image's format from its first bytes; a name or a Content-Type proves nothing."""

from typing import Final

from tbscreen_shared.contracts import ImageFormat

SNIFF_BYTES: Final = 132
"""How many leading bytes `sniff` needs: a DICOM file's preamble (128) and its magic (4)."""

_MAGIC: Final[tuple[tuple[bytes, ImageFormat], ...]] = (
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"II*\x00", ImageFormat.TIFF),
    (b"MM\x00*", ImageFormat.TIFF),
)


def sniff(head: bytes) -> ImageFormat | None:
    """Returns the format that the first `SNIFF_BYTES` of a file declare, or None.

    DICOM is tried first: its preamble is free, and dual-personality files put a TIFF header there
    (DICOM PS3.10, 7.1).
    """
    if head[128:132] == b"DICM":
        return ImageFormat.DICOM
    for magic, image_format in _MAGIC:
        if head.startswith(magic):
            return image_format
    return None
