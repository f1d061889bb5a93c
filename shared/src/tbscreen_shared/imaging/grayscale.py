"""DICOM's grayscale pipeline (PS3.4 N.2.1): modality transform, then values of interest.

pydicom's own functions work in float64 on every pixel, scale to the stored range and not to the
display's, and wrap the index into an 8-bit lookup table at 256 entries (pydicom 3.0.2).
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tbscreen_shared.imaging.levels import Transfer, robust_window, sample, window

_DISPLAY_BITS: Final = 8


class Grayscale:
    """The transforms that one image's header asks for."""

    def __init__(self, header: Dataset) -> None:
        self._header = header
        self._modality_lut = _first_item(header, "ModalityLUTSequence")
        self._voi_lut = _first_item(header, "VOILUTSequence")

    def transfer_of(self, frame: NDArray[Any]) -> Transfer:
        """Returns the map from stored values to brightness.

        The first of these that the header gives: VOI LUT, VOI window, the levels themselves where
        they are plain 8-bit ones, else the frame's own percentiles without its padding.

        Args:
            frame: stored values, shape (h, w).
        """
        voi = self._voi_transfer()
        if voi is None:
            voi = self._levels_as_they_are() or window(*self._percentiles(frame))
        return _chain(self._to_modality, voi)

    def _to_modality(self, stored: NDArray[Any]) -> NDArray[Any]:
        if self._modality_lut is not None:
            return _look_up(self._modality_lut, stored)
        rescale = self._rescale()
        if rescale is None:
            return stored
        slope, intercept = rescale
        return stored * np.float64(slope) + intercept

    def _rescale(self) -> tuple[float, float] | None:
        slope = _number(self._header, "RescaleSlope")
        intercept = _number(self._header, "RescaleIntercept")
        if slope is None or intercept is None or slope == 0:
            return None
        return slope, intercept

    def _voi_transfer(self) -> Transfer | None:
        if self._voi_lut is not None:
            return _lut_transfer(self._voi_lut)
        center = _number(self._header, "WindowCenter")
        width = _number(self._header, "WindowWidth")
        if center is None or width is None:
            return None
        function = str(self._header.get("VOILUTFunction") or "LINEAR").upper()
        return _window_transfer(function, center, width)

    def _levels_as_they_are(self) -> Transfer | None:
        header = self._header
        if header.BitsStored != _DISPLAY_BITS or header.PixelRepresentation != 0:
            return None
        if self._modality_lut is not None or self._rescale() not in (None, (1.0, 0.0)):
            return None
        return window(0.0, 255.0)

    def _percentiles(self, frame: NDArray[Any]) -> tuple[float, float]:
        stored = sample(frame)
        shown = stored[~self._is_padding(stored)]
        return robust_window(self._to_modality(shown if shown.size else stored))

    def _is_padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        value = self._header.get("PixelPaddingValue")
        if value is None:
            return np.zeros(stored.shape, dtype=np.bool_)
        limit = self._header.get("PixelPaddingRangeLimit")
        bounds = (int(value), int(value if limit is None else limit))
        return (stored >= min(bounds)) & (stored <= max(bounds))


def _chain(first: Transfer, then: Transfer) -> Transfer:
    return lambda values: then(first(values))


def _first_item(header: Dataset, keyword: str) -> Dataset | None:
    sequence = header.get(keyword)
    return sequence[0] if sequence else None


def _number(header: Dataset, keyword: str) -> float | None:
    """Returns the element's first value, or None where it is absent, empty or not finite."""
    value = header.get(keyword)
    if value is None or isinstance(value, str):
        return None
    if not isinstance(value, (int, float)):
        value = value[0] if len(value) else math.nan
    return float(value) if math.isfinite(value) else None


def _window_transfer(function: str, center: float, width: float) -> Transfer | None:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3; None for a width that the function does not allow."""
    if function == "SIGMOID":
        if width <= 0:
            return None
        return lambda values: (
            1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -60, 60)))
        )
    if function == "LINEAR_EXACT":
        return window(center - width / 2, center + width / 2) if width > 0 else None
    if width < 1:
        return None
    if width == 1:
        return lambda values: (values > center - 0.5).astype(np.float64)
    return window(center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _lut_transfer(lut: Dataset) -> Transfer:
    entries = _entries(lut)
    # Many writers declare 16 bits for a table that holds 12: the table's own range is shown.
    show = window(float(entries.min()), float(entries.max()))
    return lambda values: show(_look_up(lut, values))


def _look_up(lut: Dataset, values: NDArray[Any]) -> NDArray[np.uint16]:
    """PS3.3 C.11.1.1.1 and C.11.2.1.1: below the table its first entry, above it its last."""
    entries = _entries(lut)
    wanted = np.floor(values.astype(np.float64)) - int(lut.LUTDescriptor[1])
    index: NDArray[np.int64] = np.clip(wanted, 0, entries.size - 1).astype(np.int64)
    return entries[index]


def _entries(lut: Dataset) -> NDArray[np.uint16]:
    data = lut.LUTData
    if isinstance(data, bytes):
        return np.frombuffer(data, dtype="<u2" if _is_little_endian(lut) else ">u2")
    return (np.atleast_1d(np.asarray(data)) & 0xFFFF).astype(np.uint16)


def _is_little_endian(lut: Dataset) -> bool:
    return bool(lut.original_encoding[1])
