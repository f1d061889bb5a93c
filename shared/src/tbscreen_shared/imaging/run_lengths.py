"""Run-length coded DICOM frames (PS3.5 annex G).

pydicom expands every segment to its end and compares with the header afterwards, in Python: 62 MiB
of runs under a header of 64 x 64 pixels become 4 GiB, runs of one byte take half a minute.
"""

import struct
from typing import Final

import numpy as np
from imagecodecs import packbits_decode
from numpy.typing import NDArray

_MAX_SEGMENTS: Final = 15
_PADDING_BYTES: Final = 64 * 1024
"""Segments may be padded; what is expanded beyond the image is bounded by this."""


def decode_run_lengths(
    frame: bytes, *, height: int, width: int, samples: int, sample_bytes: int
) -> NDArray[np.unsignedinteger]:
    """Returns the stored values, little-endian, of shape (height, width[, samples]).

    Raises:
        ValueError: the frame is damaged, or holds another image than this.
        RuntimeError: a segment is cut short, or expands to far more than its image.
        struct.error: the header ends early.
    """
    count, *offsets = struct.unpack_from("<16I", frame)
    if count > _MAX_SEGMENTS or count != samples * sample_bytes:
        raise ValueError("not a run-length header of such an image")
    pixels = height * width
    ends = [*offsets[1:count], len(frame)]
    values = np.empty((pixels, samples, sample_bytes), dtype=np.uint8)
    for index, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        expanded = packbits_decode(frame[start:end], out=bytearray(pixels + _PADDING_BYTES))
        if len(expanded) < pixels:
            raise ValueError("a run-length segment is shorter than its image")
        sample, significance = divmod(index, sample_bytes)
        # The most significant bytes come first.
        values[:, sample, sample_bytes - 1 - significance] = np.frombuffer(
            expanded, dtype=np.uint8, count=pixels
        )
    shape = (height, width, samples) if samples > 1 else (height, width)
    return values.reshape(-1).view(f"<u{sample_bytes}").reshape(shape)
