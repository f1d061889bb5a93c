import numpy as np
import pytest

from tbscreen_training.controls import (
    BORDER_ONLY,
    LUNGS_BLANKED,
    LUNGS_ONLY,
    blank_lungs,
    control_views,
    keep_border,
    keep_lungs,
    tells_lungs,
)

SIDE = 50


@pytest.fixture
def tensor() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:40, 8:20] = mask[10:40, 30:42] = True
    return mask


def test_blanked_lungs_hold_nothing_but_their_mean(tensor: np.ndarray, mask: np.ndarray) -> None:
    before = tensor.copy()
    blanked = blank_lungs(tensor, mask)
    assert set(blanked[mask].ravel().tolist()) == {round(tensor[mask].mean())}
    assert np.array_equal(blanked[~mask], tensor[~mask])
    assert np.array_equal(tensor, before), "the image itself was changed"
    assert blanked.dtype == np.uint8 and blanked.shape == tensor.shape


def test_lungs_only_hold_nothing_else(tensor: np.ndarray, mask: np.ndarray) -> None:
    only = keep_lungs(tensor, mask)
    assert np.array_equal(only[mask], tensor[mask])
    assert set(only[~mask].ravel().tolist()) == {round(tensor[mask].mean())}


def test_the_border_is_a_tenth_of_the_side_and_the_rest_its_mean(tensor: np.ndarray) -> None:
    border = keep_border(tensor)
    inner = (slice(5, 45), slice(5, 45))
    outside = np.ones((SIDE, SIDE), bool)
    outside[inner] = False
    assert np.array_equal(border[outside], tensor[outside])
    assert set(border[inner].ravel().tolist()) == {round(tensor[outside].mean())}


def test_every_view_is_made_where_the_lungs_are_told(tensor: np.ndarray, mask: np.ndarray) -> None:
    views = control_views(tensor, mask)
    assert set(views) == {LUNGS_BLANKED, LUNGS_ONLY, BORDER_ONLY}
    assert np.array_equal(views[LUNGS_BLANKED], blank_lungs(tensor, mask))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.97, 1.0])
def test_a_mask_that_tells_no_lungs_makes_no_view_of_them(tensor: np.ndarray, share: float) -> None:
    mask = np.zeros(SIDE * SIDE, bool)
    mask[: round(share * SIDE * SIDE)] = True
    mask = mask.reshape(SIDE, SIDE)
    assert not tells_lungs(mask)
    assert set(control_views(tensor, mask)) == {BORDER_ONLY}


def test_without_a_mask_only_the_border_is_kept(tensor: np.ndarray) -> None:
    assert set(control_views(tensor, None)) == {BORDER_ONLY}


def test_a_mask_that_does_not_fit_is_refused(tensor: np.ndarray, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a mask of"):
        blank_lungs(tensor, mask[1:])
    with pytest.raises(ValueError, match="no lung"):
        keep_lungs(tensor, np.zeros_like(mask))
