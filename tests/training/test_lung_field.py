import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from support.phantom import draw_phantom
from tbscreen_training.lungs import FIELD_PX, FRAME_PX, LungFinder, PlaceInFrame, build_lung_reader
from tbscreen_training.lungs.field import LungBox, LungField, LungsOrFrame, crop


@pytest.fixture(scope="module")
def reader() -> keras.Model:
    return build_lung_reader()


def frame(seed: int = 3) -> NDArray[np.uint8]:
    return np.asarray(draw_phantom(seed, size=(FRAME_PX, FRAME_PX)))


def read(reader: keras.Model, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    return {
        name: np.asarray(value)[0] for name, value in reader(pixels[np.newaxis, :, :, None]).items()
    }


def test_the_finder_finds_two_lungs_in_a_drawn_chest() -> None:
    (mask,) = LungFinder().masks(frame()[np.newaxis, :, :, None])
    columns = (mask > 0.5).any(axis=0)
    edges = np.flatnonzero(np.diff(columns.astype(int)) == 1)
    assert 0.1 < (mask > 0.5).mean() < 0.5
    assert 1 <= len(edges) <= 2
    assert mask[:, 28:36].mean() < mask[:, 12:24].mean()


def test_the_field_is_cut_to_the_lungs(reader: keras.Model) -> None:
    seen = read(reader, frame())
    top, bottom, left, right = seen["box"]
    rows, columns = np.nonzero(seen["lungs"][:, :, 0] > 0.5)
    assert top < rows.mean() / 64 < bottom
    assert left < columns.min() / 64 + 0.05
    assert right > columns.max() / 64 - 0.05
    assert seen["field"].shape == (FIELD_PX, FIELD_PX, 1)
    assert np.abs(seen["field"]).max() <= 1


def test_exposure_and_contrast_leave_the_field_as_it_is(reader: keras.Model) -> None:
    pixels = frame()
    darker = np.rint(pixels * 0.6 + 20).astype(np.uint8)
    before, after = read(reader, pixels)["field"], read(reader, darker)["field"]
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_what_lies_far_from_the_lungs_does_not_reach_the_field(reader: keras.Model) -> None:
    pixels = frame()
    marked = pixels.copy()
    marked[2:30, 340:380] = 255
    before, after = read(reader, pixels), read(reader, marked)
    assert np.abs(before["field"] - after["field"]).mean() < 0.02


def test_blank_lungs_give_an_empty_field(reader: keras.Model) -> None:
    pixels = frame()
    lungs = read(reader, pixels)["lungs"][:, :, 0]
    mask = np.asarray(Image.fromarray(lungs).resize((FRAME_PX, FRAME_PX))) > 0.5
    blanked = np.where(mask, np.uint8(pixels[mask].mean()), pixels)
    assert read(reader, blanked)["field"].std() < 0.6 * read(reader, pixels)["field"].std()


def test_without_lungs_the_whole_frame_is_kept() -> None:
    kept = LungsOrFrame()(np.full((1, 64, 64, 1), 0.1, np.float32))
    box = LungBox()(kept)
    rising = np.broadcast_to(np.linspace(40, 200, FRAME_PX, dtype=np.float32), (FRAME_PX, FRAME_PX))
    field = np.asarray(LungField()(rising[np.newaxis, :, :, np.newaxis], kept, box))[0, :, :, 0]
    np.testing.assert_allclose(np.asarray(box)[0], [-0.05, 1.05, -0.05, 1.05], atol=0.03)
    assert field.std() > 0.2
    assert (np.diff(field[128, 30:-30]) >= -1e-5).all()


def test_lungs_of_next_to_nothing_are_none() -> None:
    lungs = np.zeros((3, 64, 64, 1), np.float32)
    lungs[:, 20:32, 20:36] = np.array([0.1, 0.5, 1.0])[:, None, None, None]
    kept = np.asarray(LungsOrFrame()(lungs))
    assert kept[0].min() == 1
    assert kept[1].min() == 1
    assert np.array_equal(kept[2], lungs[2])


def test_the_box_moves_with_the_lungs_edge_and_not_in_steps() -> None:
    lungs = np.zeros((2, 64, 64, 1), np.float32)
    lungs[:, 20:50, 20:50] = 1.0
    lungs[:, 20:50, 50] = np.array([0.499, 0.501])[:, None, None]
    near = np.asarray(LungBox()(lungs))
    assert np.abs(near[0] - near[1]).max() < 1e-3


@pytest.mark.parametrize("share", [0.3, 0.57, 0.83, 1.0])
def test_an_even_plane_stays_even_when_it_is_scaled(share: float) -> None:
    box = np.array([[0.0, share, 0.0, share]], np.float32)
    cut = np.asarray(crop(np.full((1, FRAME_PX, FRAME_PX), 100, np.float32), box, FIELD_PX))[0]
    np.testing.assert_allclose(cut[4:-4, 4:-4], 100, rtol=1e-5)


def test_cropping_agrees_with_pillows_triangle_filter() -> None:
    rng = np.random.default_rng(1)
    plane = np.asarray(Image.fromarray(rng.random((24, 24), np.float32)).resize((FRAME_PX,) * 2))
    box = np.array([[0.25, 0.75, 0.125, 0.875]], np.float32)
    ours = np.asarray(crop(plane[np.newaxis], box, 96))[0]
    theirs = np.asarray(
        Image.fromarray(plane).resize(
            (96, 96),
            Image.Resampling.BILINEAR,
            box=(0.125 * FRAME_PX, 0.25 * FRAME_PX, 0.875 * FRAME_PX, 0.75 * FRAME_PX),
        )
    )
    # Pillow's filter stops at the box, ours reads on beyond it.
    np.testing.assert_allclose(ours[2:-2, 2:-2], theirs[2:-2, 2:-2], atol=2e-3)


def test_no_cell_of_a_map_is_lost_when_it_is_placed() -> None:
    """Each keeps its mass: its height times the share of the frame that it covers."""
    one_hot = np.eye(196, dtype=np.float32).reshape(1, 196, 14, 14)
    box = np.array([[0.15, 0.75, 0.12, 0.88]], np.float32)
    placed = np.asarray(PlaceInFrame(8)(one_hot, box))[0]
    covered = (0.6 / 14) * (0.76 / 14)
    np.testing.assert_allclose(placed.sum(axis=(1, 2)) / 64, covered, rtol=1e-4)


def test_maps_are_placed_where_the_field_lies_in_the_frame() -> None:
    field = np.zeros((1, 1, 6, 6), np.float32)
    field[0, 0, 0, 5] = 1.0
    box = np.array([[0.5, 1.0, 0.0, 0.5]], np.float32)
    placed = np.asarray(PlaceInFrame(8)(field, box))[0, 0]
    assert np.unravel_index(placed.argmax(), placed.shape) == (4, 3)
    assert placed[:4].max() == 0
    assert placed[:, 4:].max() == 0
