import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.imaging import Radiograph, to_model_input


def radiograph_of(pixels: NDArray[np.uint8]) -> Radiograph:
    height, width = pixels.shape
    return Radiograph(pixels, width, height, ImageFormat.PNG)


def test_the_tensor_has_the_shape_type_and_levels_of_the_models_input() -> None:
    tensor = to_model_input(
        radiograph_of(np.full((900, 700), 77, dtype=np.uint8)), height=299, width=301
    )

    assert tensor.shape == (299, 301, 1)
    assert tensor.dtype == np.uint8
    assert (tensor == 77).all()


def test_an_image_of_the_inputs_size_passes_unchanged() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (64, 48), dtype=np.uint8)

    tensor = to_model_input(radiograph_of(pixels), height=64, width=48)

    np.testing.assert_array_equal(tensor[:, :, 0], pixels)


def test_the_whole_radiograph_is_squashed_not_cropped() -> None:
    pixels = np.zeros((400, 800), dtype=np.uint8)
    pixels[:200] += 100
    pixels[:, :400] += 50

    tensor = to_model_input(radiograph_of(pixels), height=100, width=100)[:, :, 0]

    assert [tensor[10, 10], tensor[10, 90], tensor[90, 10], tensor[90, 90]] == [150, 100, 50, 0]


def test_fine_structure_averages_out_instead_of_aliasing() -> None:
    pixels = np.zeros((3000, 3000), dtype=np.uint8)
    pixels[:, ::2] = 200

    tensor = to_model_input(radiograph_of(pixels), height=299, width=299)

    assert tensor.min() >= 95
    assert tensor.max() <= 105


def test_the_same_radiograph_gives_the_same_tensor() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (1111, 777), dtype=np.uint8)

    first = to_model_input(radiograph_of(pixels), height=299, width=299)
    second = to_model_input(radiograph_of(pixels.copy()), height=299, width=299)

    np.testing.assert_array_equal(first, second)
