"""How often each training image is drawn, so that no source and no class drowns the others."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tbscreen_training.config import Balance
from tbscreen_training.sample import Sample


def draw_shares(
    samples: Sequence[Sample], balance: Balance, *, both_class_share: float
) -> NDArray[np.float64]:
    """Returns the share of draws that falls to each image (n,), summing to 1.

    Args:
        samples: the training images.
        balance: none: each image alike. class: each class alike. source: each class alike, and
            within a class the sources by the square root of their size; sources that hold every
            class take `both_class_share` of it, since only there the label can not be told from
            the source.
        both_class_share: see above.
    """
    if balance == "none":
        return np.full(len(samples), 1 / len(samples))
    classes = {sample.label for sample in samples}
    strata = Counter((s.source, s.label) if balance == "source" else ("", s.label) for s in samples)
    held: dict[str, set[str]] = {}
    for source, label in strata:
        held.setdefault(source, set()).add(label)
    weights: dict[tuple[str, str], float] = {}
    for label in classes:
        mine = [stratum for stratum in strata if stratum[1] == label]
        both = [stratum for stratum in mine if held[stratum[0]] == classes]
        single = [stratum for stratum in mine if stratum not in both]
        for part, share in ((both, both_class_share), (single, 1 - both_class_share)):
            whole = share if both and single else 1.0
            sizes = {stratum: strata[stratum] ** 0.5 for stratum in part}
            for stratum, size in sizes.items():
                weights[stratum] = whole * size / sum(sizes.values()) / strata[stratum]
    found = np.array(
        [weights[(s.source, s.label) if balance == "source" else ("", s.label)] for s in samples]
    )
    shares: NDArray[np.float64] = found / found.sum()
    return shares
