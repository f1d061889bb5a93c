import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_training.config import Quantisation
from tbscreen_training.export import convert, save_serving_function
from tbscreen_training.lungs import PlaceInFrame
from tbscreen_training.network import Network
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import Answer, ServedModel


@pytest.fixture(scope="module")
def network(three_class_run: Path) -> Network:
    return RunDirectory.open(three_class_run).trained_network()


@pytest.fixture(scope="module")
def tensors(three_class_run: Path) -> list[NDArray[np.uint8]]:
    run = RunDirectory.open(three_class_run)
    return [run.tensors().load(sample) for sample in run.dataset().samples[:4]]


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory,
    three_class_run: Path,
    network: Network,
    tensors: list[NDArray[np.uint8]],
) -> Callable[[Quantisation], list[Answer]]:
    """Exports the network once for each quantisation and gives its answers to the tensors."""
    folder = Path(tmp_path_factory.mktemp("exports"))
    save_serving_function(network, folder / "saved")
    shutil.copyfile(three_class_run / "model.tflite", folder / "dynamic.tflite")

    def of(quantisation: Quantisation) -> list[Answer]:
        path = folder / f"{quantisation}.tflite"
        if not path.is_file():
            path.write_bytes(convert(folder / "saved", quantisation, lambda: iter(tensors)))
        return [ServedModel(path).answer(tensor) for tensor in tensors]

    return of


def gradient_tape_cam(network: Network, tensor: NDArray[np.uint8], output: int) -> Any:
    """Grad-CAM as its paper has it: weights are the gradient's mean over the map's positions."""
    import tensorflow as tf

    seen = network.reader(tf.constant(tensor[np.newaxis]), training=False)
    maps = network.base(seen["field"], training=False)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logit = network.head(tf.reduce_mean(maps, axis=(1, 2)), training=False)[0, output]
    weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2))
    over_field = tf.nn.relu(tf.reduce_sum(maps[0] * weights[0], axis=-1))
    return PlaceInFrame(8)(over_field[None, None], seen["box"])[0, 0].numpy()


def test_the_second_output_is_grad_cam_of_each_logit(
    network: Network,
    tensors: list[NDArray[np.uint8]],
    answers: Callable[[Quantisation], list[Answer]],
) -> None:
    compared = 0
    for tensor, answer in zip(tensors, answers("float32"), strict=True):
        assert answer.maps.shape == (3, 8, 8)
        for output in range(3):
            expected = gradient_tape_cam(network.exact(), tensor, output)
            if expected.max() > 0:
                error = np.abs(answer.maps[output] - expected).max() / expected.max()
                assert error < 1e-3
                compared += 1
            else:
                assert answer.maps[output].max() < 1e-6
    assert compared >= len(tensors)


def test_float32_answers_as_keras_does_without_rounding(
    network: Network,
    tensors: list[NDArray[np.uint8]],
    answers: Callable[[Quantisation], list[Answer]],
) -> None:
    expected = network.exact().full.predict(np.stack(tensors), verbose=0)
    exported = np.stack([answer.logits for answer in answers("float32")])
    assert np.abs(exported - expected).max() < 1e-3 * max(1.0, np.abs(expected).max())


def test_dynamic_range_answers_as_the_network_that_rounds(
    network: Network,
    tensors: list[NDArray[np.uint8]],
    answers: Callable[[Quantisation], list[Answer]],
) -> None:
    exported = np.stack([answer.lung_features for answer in answers("dynamic")])

    def error(of: Network) -> float:
        seen = of.pooled.predict(np.stack(tensors), verbose=0)
        hidden = keras.Model(of.head.input, of.head.get_layer("hidden").output)
        return float(np.abs(hidden.predict(seen, verbose=0) - exported).mean())

    assert error(network) < 0.3 * error(network.exact())


@pytest.mark.parametrize(
    ("quantisation", "least"), [("dynamic", 0.99), ("float16", 0.999), ("int8", 0.95)]
)
def test_quantised_maps_show_the_same_places(
    answers: Callable[[Quantisation], list[Answer]], quantisation: Quantisation, least: float
) -> None:
    exact, quantised = (
        np.concatenate([answer.maps.ravel() for answer in answers(kind)])
        for kind in ("float32", quantisation)
    )
    assert exact.max() > 0
    assert quantised.min() >= 0.0
    assert np.corrcoef(exact, quantised)[0, 1] > least


@pytest.mark.parametrize("quantisation", ["dynamic", "float16", "int8"])
def test_each_quantisation_runs_in_litert_and_answers_alike(
    answers: Callable[[Quantisation], list[Answer]], quantisation: Quantisation
) -> None:
    for exact, quantised in zip(answers("float32"), answers(quantisation), strict=True):
        assert quantised.maps.shape == exact.maps.shape == (3, 8, 8)
        assert quantised.maps.dtype == quantised.logits.dtype == np.float32
        assert np.isfinite(quantised.maps).all()
        assert quantised.maps.min() >= 0.0
        assert np.array_equal(quantised.lungs, exact.lungs)
        scale = np.abs(exact.logits).max()
        assert np.abs(quantised.logits - exact.logits).max() < 0.4 * scale
