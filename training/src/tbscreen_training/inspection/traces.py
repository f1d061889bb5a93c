"""The traces that a machine, a film or an archive leaves on a radiograph, without any anatomy."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_GREY_BINS: Final = 32
_QUANTILES: Final = (0.02, 0.25, 0.5, 0.75, 0.98)
_BORDER_SHARE: Final = 0.1
"""Of the side, at each side: what is left when the inner 80 % x 80 % are filled."""

_BANDS: Final = 32

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Traces:
    """Three descriptions of one frame, none of which knows where a lung is.

    Attributes:
        histogram: share of the pixels in each of 32 grey bins (32,).
        border: mean, spread and five quantiles of each of the four border strips, levels (28,).
        spectrum: logarithm of the power in 32 rings of spatial frequency (32,).
    """

    histogram: Values
    border: Values
    spectrum: Values

    def together(self) -> Values:
        """Returns all of them, one after the other."""
        return np.concatenate([self.histogram, self.border, self.spectrum])


def find_traces(frame: NDArray[np.uint8]) -> Traces:
    """Describes a square frame, uint8 (s, s)."""
    counts, _ = np.histogram(frame, bins=_GREY_BINS, range=(0, 256))
    return Traces(
        histogram=(counts / frame.size).astype(np.float32),
        border=_describe_border(frame),
        spectrum=_describe_spectrum(frame),
    )


def _describe_border(frame: NDArray[np.uint8]) -> Values:
    wide = round(len(frame) * _BORDER_SHARE)
    strips = (frame[:wide], frame[-wide:], frame[:, :wide], frame[:, -wide:])
    described = [
        [strip.mean(), strip.std(), *np.quantile(strip, _QUANTILES).tolist()] for strip in strips
    ]
    return np.array(described, np.float32).ravel()


def _describe_spectrum(frame: NDArray[np.uint8]) -> Values:
    side = len(frame)
    window = np.hanning(side)
    faded = (frame - frame.mean(dtype=np.float64)) * np.outer(window, window)
    power = np.square(np.abs(np.fft.rfft2(faded)))
    down = np.abs(np.fft.fftfreq(side))[:, np.newaxis]
    across = np.fft.rfftfreq(side)[np.newaxis]
    # 0.5 cycles a pixel is the finest along an axis; the corners beyond are left out.
    ring = np.minimum((np.hypot(down, across) / 0.5 * _BANDS).astype(int), _BANDS).ravel()
    sums = np.bincount(ring, power.ravel(), minlength=_BANDS + 1)[:_BANDS]
    sizes = np.bincount(ring, minlength=_BANDS + 1)[:_BANDS]
    return np.log(sums / sizes + 1e-3).astype(np.float32)
