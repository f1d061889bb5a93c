"""How well sources, and labels, can be told apart by traces alone.

Where traces tell the label, a network can score without looking at a lung: a label's AUC by
traces is what any AUC on the same images must be read against.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen
from tbscreen_training.delong import auc_interval
from tbscreen_training.inspection.readings import Reading
from tbscreen_training.inspection.traces import Traces, Values

_FOLDS: Final = 5
_REGULARISATION: Final = 0.1
_SEED: Final = 1

_BY: Final[dict[str, Callable[[Traces], Values]]] = {
    "histogram": lambda traces: traces.histogram,
    "border": lambda traces: traces.border,
    "spectrum": lambda traces: traces.spectrum,
    "all": Traces.together,
}


class Separability(Frozen):
    """How well one kind of image is told from the rest without anatomy.

    Attributes:
        what: the question: a source against the rest, or a label against the rest, among which.
        images: how many, of both kinds.
        of_kind: how many of the kind asked for.
        auc: by histogram, border, spectrum and all of them, each image judged by a logistic model
            that saw none of its group; 0.5 is chance, 1 is a source or label that needs no lungs.
    """

    what: str
    images: int
    of_kind: int
    auc: dict[str, Interval]


def measure_separability(readings: Sequence[Reading], groups: Sequence[str]) -> list[Separability]:
    """Asks for each source, each label, and each label within the sources that have several.

    Args:
        readings: the images.
        groups: of each, what must not be on both sides of a fold.

    Returns:
        an answer for each question that has at least five groups of both kinds.
    """
    sources = np.array([reading.sample.source for reading in readings])
    labels = np.array([reading.sample.label for reading in readings])
    everyone = np.ones(len(readings), np.bool_)
    questions = [
        (f"source {source}", everyone, sources == source) for source in sorted({*sources.tolist()})
    ]
    questions += [
        (f"label {label}", everyone, labels == label) for label in _ask_for(labels.tolist())
    ]
    for source in sorted({*sources.tolist()}):
        among = sources == source
        questions += [
            (f"label {label} within {source}", among, labels == label)
            for label in _ask_for(labels[among].tolist())
        ]
    answers = []
    for what, among, kind in questions:
        answer = _ask(what, among, kind, readings, np.array(groups))
        if answer is not None:
            answers.append(answer)
    return answers


def _ask_for(labels: Sequence[str]) -> list[str]:
    """Returns the labels to ask for: of two, one against the other is the same question."""
    names = sorted({*labels})
    return names if len(names) > 2 else names[1:]


def _ask(
    what: str,
    among: NDArray[np.bool_],
    kind: NDArray[np.bool_],
    readings: Sequence[Reading],
    groups: NDArray[np.str_],
) -> Separability | None:
    truth, held = kind[among], groups[among]
    if min(len({*held[truth].tolist()}), len({*held[~truth].tolist()})) < _FOLDS:
        return None
    chosen = [reading.traces for reading, one in zip(readings, among, strict=True) if one]
    auc = {}
    for name, describe in _BY.items():
        scores = cross_val_predict(
            make_pipeline(
                StandardScaler(),
                LogisticRegression(C=_REGULARISATION, class_weight="balanced", max_iter=2000),
            ),
            np.stack([describe(traces) for traces in chosen]),
            truth,
            groups=held,
            cv=StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=_SEED),
            method="decision_function",
        )
        auc[name] = auc_interval(truth, np.asarray(scores, np.float64))
    return Separability(what=what, images=len(truth), of_kind=int(truth.sum()), auc=auc)
