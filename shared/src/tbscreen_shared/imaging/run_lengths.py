"""How far a run-length coded DICOM frame expands (PS3.5 annex G).

pydicom expands every segment to its end and compares with the header afterwards: 62 MiB of runs
under a header of 64 x 64 pixels become 4 GiB.
"""

import struct
from typing import Final

_HEADER_BYTES: Final = 64
_MAX_SEGMENTS: Final = 15
_NO_OPERATION: Final = 128
_PADDING_BYTES: Final = 64 * 1024
"""Segments may be padded; what pydicom expands beyond the image is bounded by this."""


def check_run_lengths(frame: bytes, *, pixels: int) -> None:
    """Checks that no segment of a frame is, or expands to, far more than its bytes.

    Args:
        frame: header and segments.
        pixels: of the frame; a segment holds one byte of each.

    Raises:
        ValueError: one does, or the header is none.
        struct.error: the header ends early.
    """
    count, *offsets = struct.unpack_from("<16I", frame)
    if count > _MAX_SEGMENTS:
        raise ValueError("not a run-length header")
    # At worst, a literal run of one byte takes two.
    if len(frame) > _HEADER_BYTES + count * (2 * pixels + _PADDING_BYTES):
        raise ValueError("the run-length frame is longer than its image can be")
    ends = [*offsets[1:count], len(frame)]
    for start, end in zip(offsets[:count], ends, strict=True):
        _check_segment(frame, start, min(end, len(frame)), allowed=pixels + _PADDING_BYTES)


def _check_segment(frame: bytes, position: int, end: int, *, allowed: int) -> None:
    expanded = 0
    while position < end:
        control = frame[position]
        if control > _NO_OPERATION:
            expanded += 257 - control
            position += 2
        elif control < _NO_OPERATION:
            expanded += control + 1
            position += control + 2
        else:
            position += 1
        if expanded > allowed:
            raise ValueError("the run-length segment expands to more than its image")
