"""Convolutions that compute as LiteRT does after a dynamic-range export.

The export stores int8 weights and rounds each convolution's input to int8 with the range that it
has in that image. A head that was fitted to exact features meets others once it is served: on 1,972
radiographs 4.5-8.1 % of the decisions flipped (docs/adr/0015). Here the frozen network rounds in
the same places while the head is fitted, so that what is fitted is what is served.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import keras
from keras import layers, ops

LEAST_WEIGHTS: Final = 1024
"""Kernels with fewer weights stay float32 in the export
(TensorFlow's `minimum_elements_for_weights`)."""


class RoundedConv2D(layers.Conv2D):  # type: ignore[misc]  # Keras has no types
    """A convolution without bias and activation, of int8 inputs with int8 weights.

    Gradients pass as if nothing were rounded.
    """

    def call(self, inputs: Any) -> Any:
        """Returns the convolution of float32 (n, h, w, c)."""
        is_product = self.kernel_size == (1, 1)
        return self.convolution_op(
            round_inputs(inputs, by_position=is_product), round_weights(self.kernel)
        )


def round_inputs(inputs: Any, *, by_position: bool) -> Any:
    """Rounds images (n, h, w, c) to 256 levels between the lowest and the highest of value and 0.

    Args:
        inputs: float32.
        by_position: each position has its own range, as a row of a matrix product; else each image.

    Source: `xnn_f32_qd8_asymmetric_quantization_params` of XNNPACK.
    """
    axes = (3,) if by_position else (1, 2, 3)
    low = ops.minimum(ops.min(inputs, axis=axes, keepdims=True), 0.0)
    high = ops.maximum(ops.max(inputs, axis=axes, keepdims=True), 0.0)
    scale = 255.0 / ops.maximum(high - low, 1e-30)
    from_low, from_high = -128.0 - low * scale, 127.0 - high * scale
    nearer = ops.where(low * scale + high * scale - 1.0 > 0.0, from_low, from_high)
    zero = ops.round(ops.clip(nearer, -128.0, 127.0))
    levels = ops.clip(ops.round(inputs * scale) + zero, -128.0, 127.0)
    return inputs + ops.stop_gradient((levels - zero) / scale - inputs)


def round_weights(kernel: Any) -> Any:
    """Rounds a kernel (…, c_in, c_out) to -127…127 steps of each output channel's own size.

    A batch norm that the export folds into the kernel scales whole output channels, and so leaves
    the steps as they are.
    """
    axes = tuple(range(len(kernel.shape) - 1))
    step = ops.maximum(ops.max(ops.abs(kernel), axis=axes, keepdims=True), 1e-30) / 127.0
    return kernel + ops.stop_gradient(ops.round(kernel / step) * step - kernel)


def with_rounding(model: Any) -> Any:
    """Returns a copy of a model whose large convolutions round; its weights are copied too."""

    def rounded(layer: Any) -> Any:
        is_large = math.prod(layer.kernel.shape) >= LEAST_WEIGHTS
        return RoundedConv2D.from_config(layer.get_config()) if is_large else _alike(layer)

    return _copy(model, layers.Conv2D, rounded)


def without_rounding(model: Any) -> Any:
    """Returns a copy of a model that does not round, for a converter that does so itself."""
    return _copy(model, RoundedConv2D, lambda layer: layers.Conv2D.from_config(layer.get_config()))


def _copy(model: Any, kind: type, replacement: Callable[[Any], Any]) -> Any:
    def copied(layer: Any) -> Any:
        return replacement(layer) if type(layer) is kind else _alike(layer)

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    copy.trainable = model.trainable
    return copy


def _alike(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())
