from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_shared.contracts import Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.input_check import Familiarity, InputCheck, Kind
from tbscreen_worker.check import admit, warn_of_foreign
from tbscreen_worker.predictor import Prediction

Image = NDArray[np.uint8]


@pytest.fixture
def upright() -> Image:
    image = np.zeros((16, 16, 1), dtype=np.uint8)
    image[:8] = 200
    return image


def prediction(*features: float) -> Prediction:
    empty = np.zeros((1, 4, 4), np.float32)
    found = {"lung_features": np.array(features, np.float32)}
    return Prediction(np.zeros(1, np.float32), empty, found)


def test_a_frontal_radiograph_is_admitted_as_it_is(upright: Image, input_check: InputCheck) -> None:
    admission = admit(upright, input_check)

    assert admission.image is upright
    assert admission.warnings == ()


def test_without_a_check_anything_is_admitted(upright: Image) -> None:
    assert admit(upright[::-1], None).warnings == ()


def test_an_inverted_radiograph_is_read_as_its_negative_with_a_warning(
    upright: Image, input_check: InputCheck
) -> None:
    admission = admit(255 - upright, input_check)

    np.testing.assert_array_equal(admission.image, upright)
    assert admission.warnings == (Warning.INVERTED,)


def test_what_is_no_radiograph_as_a_negative_either_is_refused(
    upright: Image, input_check: InputCheck
) -> None:
    never = replace(input_check, threshold=1.1)

    with pytest.raises(ImageError, match="does not look like a frontal") as refusal:
        admit(255 - upright, never)

    assert refusal.value.code is ErrorCode.NOT_A_CHEST_RADIOGRAPH


def test_a_radiograph_on_its_side_is_refused_with_that_reason(
    upright: Image, input_check: InputCheck
) -> None:
    with pytest.raises(ImageError, match="lies on its side") as refusal:
        admit(np.rot90(upright), input_check)

    assert refusal.value.code is ErrorCode.NOT_A_CHEST_RADIOGRAPH


def test_anything_else_is_refused(input_check: InputCheck) -> None:
    with pytest.raises(ImageError, match="does not look like a frontal chest radiograph"):
        admit(np.full((16, 16, 1), 90, dtype=np.uint8), input_check)


@pytest.mark.parametrize(
    ("likelier", "warning"),
    [
        (Kind.OTHER, Warning.NOT_A_CHEST_RADIOGRAPH),
        (Kind.LATERAL, Warning.LATERAL_VIEW),
    ],
)
def test_a_doubtful_radiograph_is_admitted_with_a_warning(
    likelier: Kind, warning: Warning, upright: Image, input_check: InputCheck
) -> None:
    layout = input_check.layout
    doubtful = replace(
        layout,
        kinds=(*layout.kinds[:3], likelier),
        # A logit of 64 is the upright image's own.
        bias=np.array([0.0, 0.0, 0.0, 64.5], np.float32),
    )

    admission = admit(upright, replace(input_check, layout=doubtful))

    assert admission.warnings == (warning,)


def test_features_unlike_those_of_the_training_are_warned_of(input_check: InputCheck) -> None:
    one = np.ones(1, np.float32)
    familiarity = Familiarity(
        parts=("lung_features",),
        mean=0 * one,
        spread=one,
        axes=one[:, np.newaxis],
        lengths=one,
        limit=2.0,
    )
    check = replace(input_check, familiarity=familiarity)

    assert warn_of_foreign(prediction(1.5), check) == ()
    assert warn_of_foreign(prediction(2.5), check) == (Warning.OUT_OF_DISTRIBUTION,)
    assert warn_of_foreign(prediction(2.5), input_check) == ()
    assert warn_of_foreign(prediction(2.5), None) == ()
