"""Finds repeats of one film: cropped, toned, recompressed, mirrored, or taken again soon after.

In three stages, each on the pairs that the one before leaves:

1. difference hash (128 bits): Hamming distance of a frame to the other, to a mirrored other, and
   to parts of it, since a crop of a few percent changes a hash;
2. correlation of the frames' local contrast at the best shift;
3. patches: each is looked for around its place in the other frame. Two films of one chest agree
   patch by patch; two chests, however alike as a whole, do not.

The hash alone does not do: of 2,343 frontal radiographs, 41 pairs have the same 64 bits, none of
which is a repeat (docs/data.md has the figures behind the thresholds).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft  # type: ignore[import-untyped]
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from tbscreen_training.files import write_csv
from tbscreen_training.sample import Sample

_log = logging.getLogger(__name__)

FRAME_PX: Final = 128
"""Side of the frames that are compared, pixels."""

_HASH_CELLS: Final = 8
_HASH_BITS_APART: Final = 24

_CUT: Final = 0.07
"""Share of the side that a repeat may lack and still hash alike; a little more is still found."""

_COARSE_PX: Final = 32
_COARSE_SHIFT_PX: Final = 4
_COARSE_CONTRAST_PX: Final = 1.0
_LEAST_COARSE: Final = 0.58

_SHIFT_PX: Final = 20
_PATCH_PX: Final = 20
_SEARCH_PX: Final = 8
_AREA_PX: Final = _PATCH_PX + 2 * _SEARCH_PX
_EDGE_PX: Final = 14
_LEAST_PATCHES: Final = 9
_CONTRAST_PX: Final = 4.0
"""Local contrast: what is left of a frame once its mean and spread around each pixel are gone."""

SAME_FILM: Final = 0.775
"""Mean correlation of the patches from which two frames count as one film."""

_KEPT: Final = 1.0 - _CUT
_BOXES: Final = (
    (0.0, 0.0, 1.0, 1.0),
    (_CUT / 2, _CUT / 2, 1 - _CUT / 2, 1 - _CUT / 2),
    (0.0, 0.0, _KEPT, _KEPT),
    (_CUT, 0.0, 1.0, _KEPT),
    (0.0, _CUT, _KEPT, 1.0),
    (_CUT, _CUT, 1.0, 1.0),
)
"""What of a frame is compared with the other whole frame, shares: all, the middle, each corner."""

_BLOCK: Final = 512
_COLUMNS: Final = [
    *("score", "mirrored", "same_group", "same_label", "same_source"),
    *("first", "first_source", "first_label", "second", "second_source", "second_label"),
]

Frames = NDArray[np.uint8]
Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Repeat:
    """Two images of one film.

    Attributes:
        first: place of the one among the images.
        second: place of the other, which comes later.
        mirrored: left and right are swapped between them.
        score: mean correlation of their patches, `SAME_FILM` to 1.
    """

    first: int
    second: int
    mirrored: bool
    score: float


def shrink(tensor: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a frame to compare, uint8 (128, 128), of a tensor (h, w, 1)."""
    size = (FRAME_PX, FRAME_PX)
    return np.asarray(Image.fromarray(tensor[:, :, 0]).resize(size, Image.Resampling.BOX))


def find_repeats(frames: Frames) -> list[Repeat]:
    """Finds the pairs that show one film.

    Args:
        frames: uint8, shape (n, 128, 128), as `shrink` makes them.

    Returns:
        the pairs, in the order of their places.
    """
    whole = _local_contrast(frames, _CONTRAST_PX)
    hashes, spectra = _difference_hashes(frames), _coarse_spectra(frames)
    best: dict[tuple[int, int], Repeat] = {}
    for mirrored in (False, True):
        faced = frames[:, :, ::-1] if mirrored else frames
        for box in _BOXES:
            cut = _cut_out(faced, box)
            pairs = _alike(hashes, _difference_hashes(cut), spectra, _coarse_spectra(cut))
            for one, other in pairs:
                plane = _local_contrast(cut[other : other + 1], _CONTRAST_PX)[0]
                score = round(_compare_patches(whole[one], plane), 3)
                pair = (min(one, other), max(one, other))
                if score >= SAME_FILM and (pair not in best or score > best[pair].score):
                    best[pair] = Repeat(*pair, mirrored, score)
    return [best[pair] for pair in sorted(best)]


def report_repeats(path: Path, samples: Sequence[Sample], repeats: Sequence[Repeat]) -> None:
    """Writes the pairs as csv, and warns of those that cross labels or sources."""
    rows = []
    for repeat in repeats:
        first, second = samples[repeat.first], samples[repeat.second]
        same_label, same_source = first.label == second.label, first.source == second.source
        rows.append(
            {
                "score": repeat.score,
                "mirrored": repeat.mirrored,
                "same_group": bool(first.group) and first.group == second.group,
                "same_label": same_label,
                "same_source": same_source,
                "first": first.name,
                "first_source": first.source,
                "first_label": first.label,
                "second": second.name,
                "second_source": second.source,
                "second_label": second.label,
            }
        )
        if not (same_label and same_source):
            crossed = " and ".join(
                what
                for what, same in (("labels", same_label), ("sources", same_source))
                if not same
            )
            _log.warning("one film under two %s: %s and %s", crossed, first.name, second.name)
    write_csv(path, _COLUMNS, rows)


def _alike(
    hashes: NDArray[np.uint64],
    cut_hashes: NDArray[np.uint64],
    spectra: NDArray[np.complex64],
    cut_spectra: NDArray[np.complex64],
) -> Iterator[tuple[int, int]]:
    """Yields the pairs of a whole frame and another's cut that pass hash and correlation."""
    for low in range(0, len(hashes), _BLOCK):
        block = hashes[low : low + _BLOCK, np.newaxis]
        apart = np.bitwise_count(block ^ cut_hashes[np.newaxis]).sum(axis=2, dtype=np.uint8)
        ones, others = np.nonzero(apart <= _HASH_BITS_APART)
        pairs = np.stack([ones + low, others], axis=1)[ones + low != others]
        for start in range(0, len(pairs), _BLOCK):
            part = pairs[start : start + _BLOCK]
            alike = _correlate_shifted(spectra[part[:, 0]], cut_spectra[part[:, 1]])
            yield from part[alike >= _LEAST_COARSE].tolist()


def _cut_out(frames: Frames, box: tuple[float, float, float, float]) -> Frames:
    """Returns the part of the frames in a box (shares of the side), at the frames' size."""
    if box == _BOXES[0]:
        return np.ascontiguousarray(frames)
    left, top, right, bottom = (share * FRAME_PX for share in box)
    size = (FRAME_PX, FRAME_PX)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(frame).resize(
                    size, Image.Resampling.BILINEAR, (left, top, right, bottom)
                )
            )
            for frame in np.ascontiguousarray(frames)
        ]
    )


def _difference_hashes(frames: Frames) -> NDArray[np.uint64]:
    """Returns 128 bits each, (n, 2): is a cell brighter than its left and its upper neighbour?"""
    side = _HASH_CELLS + 1
    bits = np.empty((len(frames), 2 * _HASH_CELLS**2), np.bool_)
    for bit, frame in zip(bits, frames, strict=True):
        cells = np.asarray(
            Image.fromarray(frame).resize((side, side), Image.Resampling.BOX), np.int16
        )
        across = cells[:-1, 1:] > cells[:-1, :-1]
        down = cells[1:, :-1] > cells[:-1, :-1]
        bit[:] = np.concatenate([across.ravel(), down.ravel()])
    return np.packbits(bits, axis=1).view(np.uint64)


def _local_contrast(frames: NDArray[np.generic], radius_px: float) -> Planes:
    sigma = (0.0, radius_px, radius_px)
    planes = frames.astype(np.float32)
    planes -= gaussian_filter(planes, sigma)
    # One grey level: flat areas stay flat instead of showing their compression.
    planes /= np.sqrt(gaussian_filter(np.square(planes), sigma) + 1.0)
    return planes


def _coarse_spectra(frames: Frames) -> NDArray[np.complex64]:
    """Returns the transforms of small planes that fade to their edges and have the length 1."""
    step = FRAME_PX // _COARSE_PX
    cells = frames.reshape(len(frames), _COARSE_PX, step, _COARSE_PX, step).mean((2, 4))
    planes = _local_contrast(cells, _COARSE_CONTRAST_PX)
    ramp = np.hanning(_COARSE_PX + 2)[1:-1]
    faded = planes * np.minimum(1.0, 4 * np.outer(ramp, ramp)).astype(np.float32)
    faded -= faded.mean(axis=(1, 2), keepdims=True)
    faded /= np.maximum(np.sqrt(np.square(faded).sum(axis=(1, 2), keepdims=True)), 1e-6)
    return np.asarray(fft.rfft2(faded), np.complex64)


def _correlate_shifted(
    first: NDArray[np.complex64], second: NDArray[np.complex64]
) -> NDArray[np.float32]:
    planes = fft.irfft2(first * np.conj(second))
    reach = np.r_[0 : _COARSE_SHIFT_PX + 1, -_COARSE_SHIFT_PX:0]
    return np.asarray(planes[:, reach][:, :, reach].max(axis=(1, 2)), np.float32)


def _compare_patches(first: Planes, second: Planes) -> float:
    """Returns the mean correlation of the first plane's patches, each where it fits best; 0 if few.

    A patch may lie a little off the planes' common shift, which allows for scale and rotation.
    """
    down, right = _find_shift(first, second)
    starts = range(_EDGE_PX, FRAME_PX - _EDGE_PX - _PATCH_PX + 1, _PATCH_PX)
    patches, areas = [], []
    for y in starts:
        for x in starts:
            top, left = y - down - _SEARCH_PX, x - right - _SEARCH_PX
            if min(top, left) >= 0 and max(top, left) + _AREA_PX <= FRAME_PX:
                patches.append(first[y : y + _PATCH_PX, x : x + _PATCH_PX])
                areas.append(second[top : top + _AREA_PX, left : left + _AREA_PX])
    if len(patches) < _LEAST_PATCHES:
        return 0.0
    return float(_fit_patches(np.stack(patches), np.stack(areas)).mean())


def _find_shift(first: Planes, second: Planes) -> tuple[int, int]:
    plane = fft.irfft2(fft.rfft2(first) * np.conj(fft.rfft2(second)))
    reach = np.r_[0 : _SHIFT_PX + 1, -_SHIFT_PX:0]
    near = plane[reach][:, reach]
    down, right = np.unravel_index(int(near.argmax()), near.shape)
    return int(reach[down]), int(reach[right])


def _fit_patches(patches: Planes, areas: Planes) -> Planes:
    """Returns each patch's highest correlation (n,) with a window of its area."""
    size = (_AREA_PX, _AREA_PX)
    patches = patches - patches.mean(axis=(1, 2), keepdims=True)
    # The patches' mean is 0, so the windows' own means do not enter the product.
    product = fft.irfft2(fft.rfft2(areas) * np.conj(fft.rfft2(patches, size)), size)
    steps = 2 * _SEARCH_PX + 1
    spread = _window_sums(np.square(areas)) - np.square(_window_sums(areas)) / _PATCH_PX**2
    lengths = np.sqrt(np.square(patches).sum(axis=(1, 2)))[:, np.newaxis, np.newaxis]
    fits = product[:, :steps, :steps] / (np.sqrt(np.maximum(spread, 0)) * lengths + 1e-3)
    return np.asarray(fits.max(axis=(1, 2)), np.float32)


def _window_sums(areas: Planes) -> NDArray[np.float64]:
    sums = np.pad(areas.astype(np.float64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    size = _PATCH_PX
    return np.asarray(
        sums[:, size:, size:]
        - sums[:, :-size, size:]
        - sums[:, size:, :-size]
        + sums[:, :-size, :-size]
    )
