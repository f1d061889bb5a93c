"""What the network trains on: augmented images, or stored features of them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tbscreen_training.augment import augment, view_generator
from tbscreen_training.config import Augmentation
from tbscreen_training.dataset import Sample
from tbscreen_training.tensors import TensorCache


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
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tensors: TensorCache,
        strengths: Augmentation | None,
        seed: int,
    ) -> None:
        self._samples = samples
        self._tensors = tensors
        self._strengths = strengths
        self._seed = seed

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
        """Returns the epoch's variants, uint8, shape (n, 299, 299, 1)."""
        chosen = [self._samples[index] for index in indices]
        return np.stack([self._variant(sample, epoch) for sample in chosen])

    def _variant(self, sample: Sample, view: int) -> NDArray[np.uint8]:
        tensor = self._tensors.load(sample)
        if self._strengths is None:
            return tensor
        return augment(tensor, self._strengths, view_generator(self._seed, sample.sha256, view))


class CachedViews:
    """Runs through stored variants of features; each image has its own order of them."""

    def __init__(self, views: Sequence[NDArray[Any]], seed: int) -> None:
        self._views = views
        self._first = np.random.default_rng(seed).integers(len(views), size=len(views[0]))

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """Returns the epoch's variants, float32, shape (n, …)."""
        which = (self._first[indices] + epoch) % len(self._views)
        return np.stack(
            [self._views[view][index] for view, index in zip(which, indices, strict=True)]
        ).astype(np.float32)
