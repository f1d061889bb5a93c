"""The lung finder as a tool: masks of many frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbscreen_training.lungs.finder import build_finder


class LungFinder:
    """The trained lung finder.

    Args:
        finder: another than the one that the package carries.
    """

    def __init__(self, finder: Any = None) -> None:
        self._finder = finder or build_finder()

    def masks(self, tensors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the probability of lung (n, 64, 64) for frames, uint8 (n, 384, 384, 1)."""
        found, _ = self._finder.predict(tensors.astype(np.float32), batch_size=32, verbose=0)
        masks: NDArray[np.float32] = found[..., 0]
        return masks

    def features(self, tensors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the finder's features of the whole frame, float32 (n, 192)."""
        _, features = self._finder.predict(tensors.astype(np.float32), batch_size=32, verbose=0)
        pooled: NDArray[np.float32] = features
        return pooled
