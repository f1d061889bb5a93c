"""Features of a frozen network, computed once and kept in the run directory.

With the trunk frozen, training on N stored variants of each image is training on N epochs of
augmented images, at a hundredth of the time for each further epoch.
"""

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from tbscreen_shared.imaging import PREPROCESSING_VERSION
from tbscreen_training.config import Augmentation
from tbscreen_training.dataset import Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing
from tbscreen_training.network import FEATURES, Network
from tbscreen_training.tensors import TensorCache
from tbscreen_training.views import ImageViews

_log = logging.getLogger(__name__)
_BATCH: Final = 32
_LOWEST_UPPER_BLOCK: Final = "mixed9"

Features = NDArray[np.float16]


class FeatureStore:
    """Pooled features, and the feature maps at one layer, of images and of their variants.

    Args:
        root: folder of the stored features.
        network: with its starting weights in the base.
        boundary: layer whose output is stored beside the pooled features; None for pooled alone.
        weights: name or SHA-256 of the starting weights; features of others are never reused.
        tensors: the decoded images.
        seed: of the variants.
    """

    def __init__(
        self,
        root: Path,
        network: Network,
        *,
        boundary: str | None,
        weights: str,
        tensors: TensorCache,
        seed: int,
    ) -> None:
        self._root = root
        self._network = network
        self._boundary = boundary
        self._weights = weights
        self._tensors = tensors
        self._seed = seed

    def pooled(
        self, samples: Sequence[Sample], strengths: Augmentation | None, views: int = 1
    ) -> list[Features]:
        """Returns float16 arrays (n, 2048), one for each of `views` variants.

        Args:
            samples: the images, n of them.
            strengths: of the variants; None for the images as they are.
            views: how many variants.
        """
        return self._load("pooled", samples, strengths, views)

    def maps(
        self, samples: Sequence[Sample], strengths: Augmentation | None, views: int = 1
    ) -> list[Features]:
        """Returns the boundary's output as float16 arrays (n, …), read from disk as it is used."""
        return self._load("maps", samples, strengths, views)

    def _load(
        self, kind: str, samples: Sequence[Sample], strengths: Augmentation | None, views: int
    ) -> list[Features]:
        folder = self._root / self._key(samples, strengths)
        stems = [f"view-{view:02d}" for view in range(views)]
        missing = [stem for stem in stems if not (folder / f"{stem}.pooled.npy").is_file()]
        self._refuse_a_full_disk(len(missing) * len(samples))
        loaded = []
        for view, stem in enumerate(stems):
            if stem in missing:
                self._compute(
                    folder,
                    stem,
                    samples,
                    ImageViews(samples, self._tensors, strengths, self._seed),
                    view,
                )
            loaded.append(np.load(folder / f"{stem}.{kind}.npy", mmap_mode="r"))
        return loaded

    def _refuse_a_full_disk(self, tensors: int) -> None:
        if self._boundary is None or tensors == 0:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        needed = tensors * 2 * math.prod(self._models[0].output.shape[1:])
        free = shutil.disk_usage(self._root).free
        if needed > free:
            raise TrainingError(
                f"the stored features would take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                "free: store fewer variants (--cache-features), or none with --cache-features 0"
            )

    def _key(self, samples: Sequence[Sample], strengths: Augmentation | None) -> str:
        parts = [
            PREPROCESSING_VERSION,
            self._weights,
            self._boundary,
            self._seed,
            strengths.model_dump() if strengths else None,
            [sample.sha256 for sample in samples],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _compute(
        self, folder: Path, stem: str, samples: Sequence[Sample], images: ImageViews, view: int
    ) -> None:
        started = time.monotonic()
        pooled = np.empty((len(samples), FEATURES), np.float16)
        with ExitStack() as files:
            maps = None
            if self._boundary is not None:
                shape = (len(samples), *self._models[0].output.shape[1:])
                partial = files.enter_context(replacing(folder / f"{stem}.maps.npy"))
                maps = open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            for rows, output, features in self._outputs(len(samples), images, view):
                pooled[rows] = features
                if maps is not None:
                    maps[rows] = output
        # Written last: its presence says that the view is complete.
        with replacing(folder / f"{stem}.pooled.npy") as partial, partial.open("wb") as stream:
            np.save(stream, pooled)
        seconds = time.monotonic() - started
        _log.info("features of %d images, %s: %.0f s", len(samples), stem, seconds)

    def _outputs(
        self, count: int, images: ImageViews, view: int
    ) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
        trunk, upper = self._models
        for low in range(0, count, _BATCH):
            rows = slice(low, min(low + _BATCH, count))
            output = trunk.predict_on_batch(images.batch(np.arange(rows.start, rows.stop), view))
            yield rows, output, upper.predict_on_batch(output)

    @cached_property
    def _models(self) -> tuple[Any, Any]:
        boundary = self._boundary or _LOWEST_UPPER_BLOCK
        return self._network.trunk(boundary), self._network.upper(boundary)
