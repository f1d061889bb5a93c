"""Whether an image may be asked about, and what a reader must know of it. No I/O."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.contracts import Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.input_check import InputCheck, Kind
from tbscreen_worker.predictor import Prediction

_REASONS: Final = {
    Kind.SIDEWAYS: "this looks like a chest radiograph that lies on its side: turn it upright",
    Kind.UPSIDE_DOWN: "this looks like a chest radiograph that is upside down: turn it upright",
    Kind.PART: "this looks like a part of a chest radiograph: send the whole one",
    Kind.LATERAL: "this looks like a chest radiograph from the side: only frontal views are read",
}
_NOT_A_RADIOGRAPH: Final = "this does not look like a frontal chest radiograph"
_DOUBTS: Final = {Kind.LATERAL: Warning.LATERAL_VIEW}


@dataclass(frozen=True)
class Admission:
    """An image that may be asked about.

    Attributes:
        image: uint8 (height, width, 1), 0-255, bone bright.
        warnings: what the check doubts.
    """

    image: NDArray[np.uint8]
    warnings: tuple[Warning, ...]


def admit(image: NDArray[np.uint8], check: InputCheck | None) -> Admission:
    """Judges an image (height, width, 1), 0-255, before the network sees it.

    A radiograph with black and white swapped is read as its negative, with a warning: many viewers
    export it so, nothing is lost by it, and the reader sees the same picture. One that is turned is
    refused: its activation map would lie elsewhere than what the reader sees.

    Raises:
        ImageError: `not_a_chest_radiograph`; the detail says what it looks like.
    """
    if check is None:
        return Admission(image, ())
    verdict = check.judge(image)
    if not verdict.is_refused:
        return Admission(image, _doubts(verdict.kind))
    if verdict.kind is Kind.INVERTED:
        negative = 255 - image
        second = check.judge(negative)
        if not second.is_refused:
            return Admission(negative, (Warning.INVERTED, *_doubts(second.kind)))
    raise ImageError(
        ErrorCode.NOT_A_CHEST_RADIOGRAPH, _REASONS.get(verdict.kind, _NOT_A_RADIOGRAPH)
    )


def warn_of_foreign(prediction: Prediction, check: InputCheck | None) -> tuple[Warning, ...]:
    """Returns `out_of_distribution` where the network found what its training did not hold."""
    if check is None or check.familiarity is None:
        return ()
    if check.familiarity.is_foreign(prediction.features):
        return (Warning.OUT_OF_DISTRIBUTION,)
    return ()


def _doubts(kind: Kind) -> tuple[Warning, ...]:
    """Admitted, but another kind is likelier than a frontal view."""
    if kind is Kind.FRONTAL:
        return ()
    return (_DOUBTS.get(kind, Warning.NOT_A_CHEST_RADIOGRAPH),)
