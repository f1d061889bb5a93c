from typing import Any

import numpy as np
import pytest

from tbscreen_training.augment import augment, view_generator
from tbscreen_training.config import Augmentation

OFF: dict[str, Any] = {
    "rotation_deg": 0,
    "shift": 0,
    "shear_deg": 0,
    "zoom": 0,
    "brightness": 0,
    "horizontal_flip": False,
    "vertical_flip": False,
    "gamma": 0,
    "contrast": 0,
    "resolution": 0,
    "blur_px": 0,
    "noise": 0,
    "jpeg": 0,
    "border": 0,
}
IMAGE = np.random.default_rng(1).integers(0, 256, (299, 299, 1)).astype(np.uint8)
SHA256 = "ab" * 32


def variants(count: int = 20, **strengths: Any) -> list[np.ndarray]:
    chosen = Augmentation(**(OFF | strengths))
    return [augment(IMAGE, chosen, view_generator(1, SHA256, view)) for view in range(count)]


def test_with_everything_off_the_image_stays() -> None:
    assert all(np.array_equal(variant, IMAGE) for variant in variants())


@pytest.mark.parametrize(("flag", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_a_flip_mirrors_about_half_the_variants_exactly(flag: str, axis: int) -> None:
    mirrored = np.flip(IMAGE, axis)
    made = variants(40, **{flag: True})
    flipped = sum(np.array_equal(variant, mirrored) for variant in made)
    assert flipped + sum(np.array_equal(variant, IMAGE) for variant in made) == 40
    assert 8 <= flipped <= 32


@pytest.mark.parametrize(
    "strengths",
    [
        {"rotation_deg": 30},
        {"shift": 0.2},
        {"shear_deg": 20},
        {"zoom": 0.3},
        {"brightness": 0.5},
    ],
)
def test_each_strength_varies_the_image_by_itself(strengths: dict[str, Any]) -> None:
    made = variants(5, **strengths)
    assert all(v.shape == IMAGE.shape and v.dtype == np.uint8 for v in made)
    assert len({v.tobytes() for v in made} | {IMAGE.tobytes()}) == 6


def test_a_shift_stays_within_its_share_of_the_side() -> None:
    spot = np.zeros((299, 299, 1), np.uint8)
    spot[145:154, 145:154] = 255
    strengths = Augmentation(**(OFF | {"shift": 0.1}))
    for view in range(30):
        moved = augment(spot, strengths, view_generator(1, SHA256, view))[:, :, 0]
        rows, columns = np.nonzero(moved > 127)
        assert abs(rows.mean() - 149) <= 0.1 * 299 + 1
        assert abs(columns.mean() - 149) <= 0.1 * 299 + 1


def test_brightness_is_a_factor_within_its_strength() -> None:
    flat = np.full((299, 299, 1), 100, np.uint8)
    strengths = Augmentation(**(OFF | {"brightness": 0.2}))
    levels = [
        augment(flat, strengths, view_generator(1, SHA256, v))[150, 150, 0] for v in range(50)
    ]
    assert 80 <= min(levels) < 90
    assert 110 < max(levels) <= 120


def test_a_variant_depends_on_seed_image_and_view_alone() -> None:
    strengths = Augmentation(rotation_deg=20)

    def variant(seed: int, sha256: str, view: int) -> bytes:
        return augment(IMAGE, strengths, view_generator(seed, sha256, view)).tobytes()

    assert variant(1, SHA256, 0) == variant(1, SHA256, 0)
    others = {variant(2, SHA256, 0), variant(1, "cd" * 32, 0), variant(1, SHA256, 1)}
    assert len(others | {variant(1, SHA256, 0)}) == 4
