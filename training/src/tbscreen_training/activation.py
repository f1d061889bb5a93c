"""From logits to probabilities: the same formula as the manifest's calibration."""

import numpy as np
from numpy.typing import NDArray


def class_probabilities(
    logits: NDArray[np.floating], *, scale: float = 1.0, bias: float = 0.0
) -> NDArray[np.float64]:
    """Returns softmax(scale x logits + bias), for one logit the sigmoid.

    Args:
        logits: (n, K); K = 1 is the second of two classes.
        scale: of the calibration.
        bias: of the calibration; without effect where K > 1.

    Returns:
        (n, classes); rows sum to 1.
    """
    wide = scale * logits.astype(np.float64) + bias
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    exponents = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return shares
