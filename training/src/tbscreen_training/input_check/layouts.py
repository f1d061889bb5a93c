"""Fits the layout model, and scores every example by one that never saw its origin."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tbscreen_shared.input_check import Kind, LayoutModel, standardise
from tbscreen_training.input_check.examples import Examples

_STRENGTH: Final = 1e-3
"""Inverse weight of the penalty. A third and three times as much refused and missed no less."""

_MOST_ITERATIONS: Final = 200
_LEAST_SPREAD: Final = 1e-3
_MOST_FALSE_REFUSALS: Final = 0.01
_HIGHEST_THRESHOLD: Final = 0.5


def fit_layouts(examples: Examples, rows: NDArray[np.bool_]) -> LayoutModel:
    """Fits the model to some rows of the examples; the kinds weigh alike in it, as far as seen."""
    layouts = examples.layouts[rows]
    mean = layouts.mean(axis=0)
    spread = layouts.std(axis=0) + np.float32(_LEAST_SPREAD)
    regression = LogisticRegression(C=_STRENGTH, max_iter=_MOST_ITERATIONS)
    regression.fit(standardise(layouts, mean, spread), examples.kinds[rows])
    return LayoutModel(
        kinds=tuple(Kind(kind) for kind in regression.classes_),
        mean=mean,
        spread=spread,
        weights=regression.coef_.T.astype(np.float32),
        bias=regression.intercept_.astype(np.float32),
    )


def cross_fitted_shares(examples: Examples, folds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns each example's shares of the kinds (n, kinds), by models fitted without its fold.

    The columns are in the order of the kinds' sorted values; a kind that a fold's model never saw
    has share 0 there.
    """
    kinds = sorted(set(examples.kinds))
    shares = np.zeros((len(folds), len(kinds)), np.float32)
    for fold in np.unique(folds):
        held = folds == fold
        model = fit_layouts(examples, ~held & examples.is_fitted)
        columns = [kinds.index(kind.value) for kind in model.kinds]
        shares[np.ix_(held, columns)] = model.shares(examples.layouts[held])
    return shares


def folds_by_origin(examples: Examples) -> NDArray[np.int64]:
    """Returns a fold for each example (n,) such that no origin is in two.

    Each origin of radiographs is a fold of its own; the other origins are dealt out over these.
    """
    sources = sorted(set(examples.origins[examples.is_radiograph]))
    others = sorted(set(examples.origins[~examples.is_radiograph]))
    fold_of = {source: place for place, source in enumerate(sources)}
    fold_of |= {origin: place % len(sources) for place, origin in enumerate(others)}
    return np.array([fold_of[origin] for origin in examples.origins], dtype=np.int64)


def choose_threshold(frontal: NDArray[np.float32]) -> float:
    """Returns the share of `frontal` below which an image is refused.

    The highest at which at most 1 % of the radiographs are refused, and at most 0.5.

    Args:
        frontal: that share, cross-fitted, of radiographs (n,).
    """
    refusing = float(np.quantile(frontal, _MOST_FALSE_REFUSALS, method="lower"))
    return min(refusing, _HIGHEST_THRESHOLD)
