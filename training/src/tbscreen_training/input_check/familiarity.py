"""Fits what is familiar: how the model's features spread over radiographs it never learned."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.input_check import Familiarity, standardise
from tbscreen_training.served import (
    FRAME_FEATURES_NAME,
    LUNG_FEATURES_NAME,
    LUNGS_NAME,
    Answer,
)

PARTS: Final = (FRAME_FEATURES_NAME, LUNG_FEATURES_NAME)
"""The lungs' 1,024 cells are no part of it: with them, 44 % of pictures are foreign instead of
91 %, at as many warnings on radiographs."""

_MOST_AXES: Final = 32
_ROWS_PER_AXIS: Final = 10
_QUANTILE: Final = 0.98
_LEAST_SPREAD: Final = 1e-3


def features_of(answer: Answer) -> dict[str, NDArray[np.float32]]:
    """Returns the features that an exported model gives beside its answer, by output."""
    found = {
        LUNGS_NAME: answer.lungs,
        FRAME_FEATURES_NAME: answer.frame_features,
        LUNG_FEATURES_NAME: answer.lung_features,
    }
    return {name: features for name, features in found.items() if features is not None}


def fit_familiarity(
    rows: NDArray[np.float32], parts: tuple[str, ...], *, limit: float = np.inf
) -> Familiarity:
    """Fits the spread of joined features (n, d).

    Along the widest principal axes of the standardised features: one axis for every ten rows, 32 at
    most, since a spread along more is not known from so few.
    """
    mean = rows.mean(axis=0)
    spread = rows.std(axis=0) + np.float32(_LEAST_SPREAD)
    deviations = standardise(rows, mean, spread)
    centre = deviations.mean(axis=0)
    count = max(1, min(_MOST_AXES, len(rows) // _ROWS_PER_AXIS, rows.shape[1]))
    _, lengths, axes = np.linalg.svd(deviations - centre, full_matrices=False)
    return Familiarity(
        parts=parts,
        mean=mean,
        spread=spread,
        axes=axes[:count].T.astype(np.float32),
        lengths=(lengths[:count] / np.sqrt(len(rows))).astype(np.float32)
        + np.float32(_LEAST_SPREAD),
        limit=limit,
    )


def cross_fitted_distances(
    rows: NDArray[np.float32], origins: NDArray[np.str_], parts: tuple[str, ...]
) -> NDArray[np.float32]:
    """Returns each row's distance by a spread that was fitted without its origin (n,)."""
    distances = np.zeros(len(rows), np.float32)
    for origin in np.unique(origins):
        held = origins == origin
        distances[held] = fit_familiarity(rows[~held], parts).distances(rows[held])
    return distances


def choose_limit(distances: NDArray[np.float32]) -> float:
    """Returns the distance that 2 % of the radiographs, cross-fitted, exceed."""
    return float(np.quantile(distances, _QUANTILE, method="higher"))
