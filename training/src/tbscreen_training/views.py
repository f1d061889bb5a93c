"""What the network trains on: augmented images, or stored features of them."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from tbscreen_training.augment import augment, view_generator
from tbscreen_training.config import Augmentation
from tbscreen_training.controls import Mask, blank_lungs, tells_lungs
from tbscreen_training.dataset import Sample
from tbscreen_training.lung_masks import LungMasks
from tbscreen_training.tensors import TensorCache

_WIDEST_PX: Final = 10
_NARROWEST_PX: Final = 8


class Views(Protocol):
    """Gives each training image in another variant in each epoch."""

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[Any]:
        """Returns the network's input for the samples at `indices` in `epoch`."""


class ImageViews:
    """Augments images as they are asked for; each epoch has its own variants.

    Args:
        samples: the images.
        tensors: the decoded images.
        strengths: of the variants; None for the images as they are.
        seed: of the variants.
        blanked: with the lungs filled with their mean, so that a score can only rest on the rest;
            where they are not told, the whole frame is.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tensors: TensorCache,
        strengths: Augmentation | None,
        seed: int,
        *,
        blanked: bool = False,
    ) -> None:
        self._samples = samples
        self._tensors = tensors
        self._strengths = strengths
        self._seed = seed
        self._masks = LungMasks() if blanked else None

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
        """Returns the epoch's variants, uint8, shape (n, 384, 384, 1)."""
        chosen = [self._samples[index] for index in indices]
        tensors = np.stack([self._tensors.load(sample) for sample in chosen])
        masks: Sequence[Mask | None] = [None] * len(chosen)
        if self._masks is not None:
            masks = self._masks.of(chosen, tensors)
        return np.stack(
            [
                self._variant(sample, tensor, mask, epoch)
                for sample, tensor, mask in zip(chosen, tensors, masks, strict=True)
            ]
        )

    def _variant(
        self, sample: Sample, tensor: NDArray[np.uint8], mask: Mask | None, view: int
    ) -> NDArray[np.uint8]:
        rng = view_generator(self._seed, sample.sha256, view)
        if mask is not None:
            resized = mask if self._strengths is None else _resized(mask, rng)
            told = next((m for m in (resized, mask) if tells_lungs(m)), np.ones_like(mask))
            tensor = blank_lungs(tensor, told)
        return tensor if self._strengths is None else augment(tensor, self._strengths, rng)


class CachedViews:
    """Runs through stored variants of features; each image has its own order of them.

    Args:
        views: arrays (n, …) of all images.
        rows: which of them are trained on.
        seed: of the order.
    """

    def __init__(self, views: Sequence[NDArray[Any]], rows: NDArray[np.int64], seed: int) -> None:
        self._views = views
        self._rows = rows
        self._first = np.random.default_rng(seed).integers(len(views), size=len(rows))

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """Returns the epoch's variants, float32, shape (n, …)."""
        which = (self._first[indices] + epoch) % len(self._views)
        return np.stack(
            [self._views[view][self._rows[i]] for view, i in zip(which, indices, strict=True)]
        ).astype(np.float32)


def _resized(mask: Mask, rng: np.random.Generator) -> Mask:
    """Widens or narrows every second mask: how well it fits must not tell what was under it."""
    kind, extent = rng.integers(4), rng.random()
    if kind == 0:
        wide: Mask = ndimage.binary_dilation(mask, iterations=1 + int(extent * _WIDEST_PX))
        return wide
    if kind == 1:
        narrow: Mask = ndimage.binary_erosion(mask, iterations=1 + int(extent * _NARROWEST_PX))
        return narrow
    return mask
