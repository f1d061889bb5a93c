from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tbscreen_training.dynamic_range import (
    LEAST_WEIGHTS,
    RoundedConv2D,
    round_inputs,
    with_rounding,
    without_rounding,
)


def block(channels: int, kernel: int) -> Any:
    """A convolution, batch norm with statistics of its own, ReLU; of what may be negative."""
    keras.utils.set_random_seed(channels + kernel)
    inputs = keras.Input((24, 24, channels))
    x = keras.layers.Conv2D(32, kernel, padding="same", use_bias=False)(inputs)
    outputs = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    model.layers[2].set_weights([rng.uniform(-2, 2, 32) for _ in range(3)] + [rng.random(32) + 0.1])
    return model


def answer_of_litert(model: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    # The ban is on its interpreter; the converter exists nowhere else.
    converter = tf.lite.TFLiteConverter.from_keras_model(model)  # noqa: TID251
    converter.optimizations = [tf.lite.Optimize.DEFAULT]  # noqa: TID251
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    answer: NDArray[np.float32] = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"]
    )
    return answer


@pytest.mark.parametrize(("channels", "kernel"), [(16, 3), (64, 1), (48, 5)])
def test_a_rounded_convolution_computes_what_litert_does(channels: int, kernel: int) -> None:
    model = block(channels, kernel)
    image = np.random.default_rng(2).normal(size=(1, 24, 24, channels)).astype(np.float32)
    served = answer_of_litert(model, image)
    rounded = np.asarray(with_rounding(model)(image))
    exact = np.asarray(model(image))
    assert np.abs(served - exact).mean() > 1e-4
    assert np.abs(served - rounded).mean() < 1e-3 * np.abs(served - exact).mean()


def test_small_kernels_stay_exact_and_rounding_comes_off_again() -> None:
    large, small = block(16, 3), block(3, 3)
    assert 3 * 3 * 3 * 32 < LEAST_WEIGHTS <= 3 * 3 * 16 * 32
    rounded = with_rounding(large)
    assert [type(layer) for layer in rounded.layers].count(RoundedConv2D) == 1
    assert RoundedConv2D not in [type(layer) for layer in with_rounding(small).layers]
    image = np.random.default_rng(3).normal(size=(2, 24, 24, 16)).astype(np.float32)
    restored = without_rounding(rounded)
    np.testing.assert_array_equal(np.asarray(restored(image)), np.asarray(large(image)))


def test_rounding_leaves_zero_and_flat_images_alone_and_lets_gradients_pass() -> None:
    image = tf.constant(np.random.default_rng(4).normal(size=(1, 4, 4, 3)), tf.float32)
    image = tf.concat([image, tf.zeros((1, 1, 4, 3))], axis=1)
    with tf.GradientTape() as tape:
        tape.watch(image)
        rounded = round_inputs(image, by_position=False)
    np.testing.assert_array_equal(rounded[:, 4:], 0.0)
    np.testing.assert_array_equal(tape.gradient(rounded, image), 1.0)
    assert (
        0
        < np.abs(rounded - image).max()
        <= (float(tf.reduce_max(image) - tf.reduce_min(image))) / 255
    )
    flat = np.zeros((1, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(np.asarray(round_inputs(flat, by_position=True)), flat)
