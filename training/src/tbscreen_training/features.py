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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from tbscreen_shared.imaging import PREPROCESSING_VERSION
from tbscreen_training.config import LEFT_OUT, Augmentation
from tbscreen_training.dataset import Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing
from tbscreen_training.network import Network
from tbscreen_training.tensors import TensorCache
from tbscreen_training.views import ImageViews

_log = logging.getLogger(__name__)
_BATCH: Final = 32

Features = NDArray[np.float16]


Kind = Literal["plain", "blanked", "augmented", "blanked-augmented"]
"""The images as they are or with the lungs blanked, each also varied at random."""


class FeatureStore:
    """Pooled features, and the feature maps at one layer, of images and of their variants.

    Args:
        root: folder of the stored features.
        samples: the images, n of them.
        network: with its starting weights in the base.
        boundary: layer whose output is stored beside the pooled features; None for pooled alone.
        weights: name or SHA-256 of the starting weights; features of others are never reused.
        tensors: the decoded images.
        strengths: of the variants.
        seed: of the variants.
    """

    def __init__(
        self,
        root: Path,
        samples: Sequence[Sample],
        network: Network,
        *,
        boundary: str | None,
        weights: str,
        tensors: TensorCache,
        strengths: Augmentation,
        seed: int,
    ) -> None:
        self._samples = samples
        self._network = network
        self._boundary = boundary
        self._tensors = tensors
        self._strengths = strengths
        self._seed = seed
        self._root = root / self._key(weights)

    def pooled(self, kind: Kind, views: int = 1) -> list[Features]:
        """Returns float16 arrays (n, C), one for each of `views` variants."""
        return self._load("pooled", kind, views)

    def maps(self, kind: Kind, views: int = 1) -> list[Features]:
        """Returns the boundary's output as float16 arrays (n, …), read from disk as it is used."""
        return self._load("maps", kind, views)

    def _load(self, what: str, kind: Kind, views: int) -> list[Features]:
        stems = [f"{kind}-{view:02d}" for view in range(views)]
        missing = [stem for stem in stems if not (self._root / f"{stem}.pooled.npy").is_file()]
        self._refuse_a_full_disk(len(missing) * len(self._samples))
        loaded = []
        for view, stem in enumerate(stems):
            if stem in missing:
                self._compute(stem, self._images(kind), view)
            loaded.append(np.load(self._root / f"{stem}.{what}.npy", mmap_mode="r"))
        return loaded

    def _images(self, kind: Kind) -> ImageViews:
        return ImageViews(
            self._samples,
            self._tensors,
            self._strengths if kind.endswith("augmented") else None,
            self._seed,
            blanked=kind.startswith("blanked"),
        )

    def _refuse_a_full_disk(self, tensors: int) -> None:
        if self._boundary is None or tensors == 0:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        needed = tensors * 2 * math.prod(self._models(self._boundary)[0].output.shape[1:])
        free = shutil.disk_usage(self._root).free
        if needed > free:
            raise TrainingError(
                f"the stored features would take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                "free: store fewer variants (--cache-features), or none with --cache-features 0"
            )

    def _key(self, weights: str) -> str:
        parts = [
            PREPROCESSING_VERSION,
            weights,
            self._boundary,
            self._seed,
            self._strengths.model_dump(),
            [(sample.sha256, sample.split == LEFT_OUT) for sample in self._samples],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _compute(self, stem: str, images: ImageViews, view: int) -> None:
        started = time.monotonic()
        count = len(self._samples)
        # What a run leaves out is scored, never trained on: its rows stay empty in the variants.
        varied = "augmented" in stem
        wanted = np.flatnonzero([not varied or s.split != LEFT_OUT for s in self._samples])
        pooled = np.zeros((count, self._network.features), np.float16)
        with ExitStack() as files:
            maps = None
            if self._boundary is not None:
                shape = (count, *self._models(self._boundary)[0].output.shape[1:])
                partial = files.enter_context(replacing(self._root / f"{stem}.maps.npy"))
                maps = open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            for rows, output, features in self._outputs(wanted, images, view):
                pooled[rows] = features
                if maps is not None:
                    maps[rows] = output
        # Written last: its presence says that the view is complete.
        with replacing(self._root / f"{stem}.pooled.npy") as partial, partial.open("wb") as stream:
            np.save(stream, pooled)
        seconds = time.monotonic() - started
        _log.info("features of %d images, %s: %.0f s", len(wanted), stem, seconds)

    def _outputs(
        self, wanted: NDArray[np.int64], images: ImageViews, view: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32] | None, NDArray[np.float32]]]:
        batches = [wanted[low : low + _BATCH] for low in range(0, len(wanted), _BATCH)]

        # The next images are varied while the network reads these.
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(images.batch, batches[0], view)
            for rows, after in zip(batches, [*batches[1:], None], strict=True):
                frames = coming.result()
                if after is not None:
                    coming = ahead.submit(images.batch, after, view)
                yield rows, *self._read(frames)

    def _read(
        self, frames: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        if self._boundary is None:
            return None, self._network.pooled.predict_on_batch(frames)
        trunk, upper = self._models(self._boundary)
        maps = trunk.predict_on_batch(frames)
        return maps, upper.predict_on_batch(maps)

    @cache  # noqa: B019  # a store lives as long as its network
    def _models(self, boundary: str) -> tuple[Any, Any]:
        return self._network.trunk(boundary), self._network.upper(boundary)
