from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_shared.input_check import (
    LAYOUT_FEATURES,
    Familiarity,
    InputCheck,
    Kind,
    LayoutModel,
    layout_of,
)


def half_bright(side: int) -> NDArray[np.uint8]:
    image = np.zeros((side, side, 1), dtype=np.uint8)
    image[: side // 2] = 200
    return image


@pytest.fixture
def layout_model() -> LayoutModel:
    """Takes what is bright above for frontal, what is bright below for inverted."""
    weights = np.zeros((LAYOUT_FEATURES, 2), np.float32)
    cells = slice(512, 576)
    above = np.repeat([1.0, -1.0], 32)
    weights[cells] = np.stack([above, -above], axis=1)
    return LayoutModel(
        kinds=(Kind.FRONTAL, Kind.INVERTED),
        mean=np.zeros(LAYOUT_FEATURES, np.float32),
        spread=np.ones(LAYOUT_FEATURES, np.float32),
        weights=weights,
        bias=np.zeros(2, np.float32),
    )


@pytest.fixture
def familiarity() -> Familiarity:
    """Two features about 0, of which the second varies ten times as widely."""
    return Familiarity(
        parts=("lungs", "frame_features"),
        mean=np.zeros(2, np.float32),
        spread=np.ones(2, np.float32),
        axes=np.eye(2, dtype=np.float32),
        lengths=np.array([0.1, 1.0], np.float32),
        limit=2.0,
    )


def test_the_layout_hardly_depends_on_the_size_of_the_image() -> None:
    np.testing.assert_allclose(layout_of(half_bright(64)), layout_of(half_bright(512)), atol=1e-5)


def test_the_layout_hardly_depends_on_the_exposure() -> None:
    image = half_bright(64)
    tones = LAYOUT_FEATURES - 10

    darker = layout_of(image // 2)

    np.testing.assert_allclose(darker[:tones], layout_of(image)[:tones], atol=1e-5)


def test_the_layout_tells_an_image_from_its_negative() -> None:
    image = half_bright(64)

    assert np.abs(layout_of(image) - layout_of(255 - image)).max() > 1


def test_a_single_grey_has_no_edges_and_no_nan() -> None:
    layout = layout_of(np.full((64, 64, 1), 77, dtype=np.uint8))

    assert np.isfinite(layout).all()
    assert not layout[:512].any()


def test_grain_is_not_blown_up_to_structure() -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(99, 102, (64, 64, 1)).astype(np.uint8)

    assert layout_of(grain)[:512].mean() < 0.5 * layout_of(half_bright(64))[:512].max()


def test_the_likeliest_kind_is_named_and_an_unlikely_frontal_view_refused(
    layout_model: LayoutModel,
) -> None:
    check = InputCheck(layout_model, threshold=0.5, familiarity=None)
    image = half_bright(96)

    upright, turned = check.judge(image), check.judge(image[::-1])

    assert (upright.kind, upright.is_refused) == (Kind.FRONTAL, False)
    assert (turned.kind, turned.is_refused) == (Kind.INVERTED, True)


def test_below_one_half_a_frontal_view_may_be_admitted_though_another_kind_is_likelier(
    layout_model: LayoutModel,
) -> None:
    doubtful = replace(layout_model, bias=np.array([0.0, 128.5], np.float32))
    check = InputCheck(doubtful, threshold=0.3, familiarity=None)

    verdict = check.judge(half_bright(64))

    assert (verdict.kind, verdict.is_refused) == (Kind.INVERTED, False)


@pytest.mark.parametrize(
    ("features", "is_foreign"),
    [
        ((0.0, 0.0), False),
        ((0.1, 1.0), False),
        ((0.4, 0.0), True),
        ((0.0, 2.5), False),
        ((0.0, 3.5), True),
        ((float("nan"), 0.0), True),
    ],
)
def test_a_radiograph_is_foreign_beyond_the_limit(
    familiarity: Familiarity, features: tuple[float, float], is_foreign: bool
) -> None:
    given = {
        "frame_features": np.array([features[1]], np.float32),
        "lungs": np.array([[features[0]]], np.float32),
        "lung_features": np.array([99.0], np.float32),
    }

    assert familiarity.is_foreign(given) is is_foreign


@pytest.mark.parametrize("has_familiarity", [True, False])
def test_a_stored_check_judges_as_before(
    layout_model: LayoutModel, familiarity: Familiarity, has_familiarity: bool, tmp_path: Path
) -> None:
    check = InputCheck(layout_model, 0.4, familiarity if has_familiarity else None)
    check.write(tmp_path / "input-check.npz")

    read = InputCheck.read(tmp_path / "input-check.npz")

    assert read.threshold == 0.4
    assert read.layout.kinds == layout_model.kinds
    np.testing.assert_array_equal(read.layout.weights, layout_model.weights)
    assert (read.familiarity is not None) is has_familiarity
    if read.familiarity is not None:
        assert read.familiarity.parts == familiarity.parts
        assert read.familiarity.limit == 2.0
    assert read.judge(half_bright(64)) == check.judge(half_bright(64))


def test_a_file_that_is_no_check_is_refused(tmp_path: Path, layout_model: LayoutModel) -> None:
    path = tmp_path / "input-check.npz"

    path.write_bytes(b"junk")
    with pytest.raises(ValueError):
        InputCheck.read(path)

    np.savez(path, something=1)
    with pytest.raises(ValueError, match="no input check"):
        InputCheck.read(path)

    short = replace(layout_model, weights=layout_model.weights[:9])
    InputCheck(short, 0.5, None).write(path)
    with pytest.raises(ValueError, match="another layout"):
        InputCheck.read(path)


def test_a_check_of_another_format_is_refused(tmp_path: Path, layout_model: LayoutModel) -> None:
    path = tmp_path / "input-check.npz"
    InputCheck(layout_model, 0.5, None).write(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["format"] = np.array(2)
    np.savez(path, **arrays)

    with pytest.raises(ValueError, match="format 2"):
        InputCheck.read(path)


def test_a_check_that_knows_no_frontal_view_is_refused(
    tmp_path: Path, layout_model: LayoutModel
) -> None:
    path = tmp_path / "input-check.npz"
    blind = replace(layout_model, kinds=(Kind.INVERTED, Kind.OTHER))
    InputCheck(blind, 0.5, None).write(path)

    with pytest.raises(ValueError, match="no frontal view"):
        InputCheck.read(path)


@pytest.mark.parametrize(
    ("name", "odd"), [("threshold", np.array([0.5, 0.5])), ("layout_kinds", np.array(1))]
)
def test_a_field_of_another_shape_is_refused(
    tmp_path: Path, layout_model: LayoutModel, name: str, odd: NDArray[np.generic]
) -> None:
    path = tmp_path / "input-check.npz"
    InputCheck(layout_model, 0.5, None).write(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, name: odd})

    with pytest.raises(ValueError, match="no input check"):
        InputCheck.read(path)
