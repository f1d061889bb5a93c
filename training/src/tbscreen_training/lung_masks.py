"""Which pixels are lung: the sample's own mask where there is one, else what the finder finds."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_training.controls import Mask, tells_lungs
from tbscreen_training.lungs import LungFinder
from tbscreen_training.sample import Sample
from tbscreen_training.sources.masks import read_mask
from tbscreen_training.tensors import TensorCache

_LUNG: Final = 0.5
_BATCH: Final = 64


class LungMasks:
    """Masks of whole radiographs; the finder is only built when a sample has no mask."""

    def of(self, samples: Sequence[Sample], tensors: NDArray[np.uint8]) -> list[Mask]:
        """Returns each sample's mask, bool (S, S).

        Args:
            samples: n of them.
            tensors: the same, uint8 (n, S, S, 1).

        Raises:
            TrainingError: a sample's mask can not be read.
        """
        size = tensors.shape[1]
        found = iter(self._find(tensors[[sample.mask is None for sample in samples]]))
        return [read_mask(s, size) if s.mask is not None else next(found) for s in samples]

    def _find(self, tensors: NDArray[np.uint8]) -> list[Mask]:
        if not len(tensors):
            return []
        size = (tensors.shape[2], tensors.shape[1])
        return [
            np.asarray(Image.fromarray(lungs).resize(size, Image.Resampling.BILINEAR)) > _LUNG
            for lungs in self._finder.masks(tensors)
        ]

    @cached_property
    def _finder(self) -> LungFinder:
        return LungFinder()


def lungs_told(samples: Sequence[Sample], tensors: TensorCache) -> NDArray[np.bool_]:
    """Returns of which samples (n,) the mask is one of lungs (`controls.tells_lungs`)."""
    masks, told = LungMasks(), []
    for low in range(0, len(samples), _BATCH):
        batch = samples[low : low + _BATCH]
        images = np.stack([tensors.load(sample) for sample in batch])
        told += [tells_lungs(mask) for mask in masks.of(batch, images)]
    return np.array(told, np.bool_)
