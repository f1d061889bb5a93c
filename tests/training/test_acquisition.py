import numpy as np
import pytest

from support.phantom import draw_phantom
from tbscreen_training.acquisition import vary_acquisition
from tbscreen_training.config import Augmentation

NONE = dict.fromkeys(("gamma", "contrast", "resolution", "blur_px", "noise", "jpeg", "border"), 0.0)
PIXELS = np.asarray(draw_phantom(4, size=(256, 256)))


def test_with_every_strength_at_zero_nothing_changes() -> None:
    varied = vary_acquisition(PIXELS, Augmentation(**NONE), np.random.default_rng(1))
    np.testing.assert_array_equal(varied, PIXELS)


@pytest.mark.parametrize("kind", NONE)
def test_each_kind_alone_changes_some_images_and_keeps_their_shape(kind: str) -> None:
    strengths = Augmentation(**{**NONE, kind: Augmentation.model_fields[kind].default})
    varied = [vary_acquisition(PIXELS, strengths, np.random.default_rng(n)) for n in range(12)]
    changed = [not np.array_equal(image, PIXELS) for image in varied]
    assert any(changed)
    assert not all(changed)
    assert {(image.shape, image.dtype) for image in varied} == {((256, 256), np.dtype(np.uint8))}


def test_the_same_generator_gives_the_same_image() -> None:
    first, second = (
        vary_acquisition(PIXELS, Augmentation(), np.random.default_rng(9)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
