"""The lung finder: a small U-Net (Ronneberger et al. 2015) over the whole frame, averaged down.

float32 (n, 384, 384, 1) grey 0-255 ─ mean of 3 x 3 ─ standardise ─▶ (n, 128, 128, 1)
    ─ 4 halvings to (n, 8, 8, 96) ─▶ features (n, 192): their mean and maximum
    ─ 3 doublings ─▶ lungs (n, 64, 64, 1), probability
"""

from importlib.resources import as_file, files
from typing import Any, Final

import keras
from keras import layers, ops

from tbscreen_training.config import INPUT_PX

FRAME_PX: Final = INPUT_PX
"""Side of the square frame that a radiograph is squashed to, pixels."""

SEEN_PX: Final = 128
LUNGS_PX: Final = 64
"""Side of the finder's mask, cells."""

_WIDTHS: Final = (16, 32, 64, 96)
_WEIGHTS: Final = "finder.weights.h5"


def build_finder(*, trained: bool = True) -> Any:
    """Builds the finder, frame to (lungs, features).

    Args:
        trained: with the weights that the package carries, fitted to the lung masks of the NLM
            Shenzhen set (docs/training.md); else random ones.
    """
    frame = keras.Input((FRAME_PX, FRAME_PX, 1), dtype="float32", name="frame")
    x = layers.AveragePooling2D(FRAME_PX // SEEN_PX)(frame)
    x = _Standardise(name="standardise")(x)
    skips = []
    for depth, width in enumerate(_WIDTHS):
        x = _convolve(x, width, name=f"down{depth}", strides=2)
        x = _convolve(x, width, name=f"level{depth}")
        skips.append(x)
    mean, peak = layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)
    features = layers.Concatenate(name="features")([mean, peak])
    for depth in (2, 1, 0):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up{depth}")(x)
        x = layers.Concatenate()([x, skips[depth]])
        x = _convolve(x, _WIDTHS[depth], name=f"merge{depth}")
    lungs = layers.Conv2D(1, 1, activation="sigmoid", name="lungs")(x)
    finder = keras.Model(frame, [lungs, features], name="lung_finder")
    if trained:
        with as_file(files(__package__) / _WEIGHTS) as path:
            finder.load_weights(path)
    finder.trainable = False
    return finder


class _Standardise(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Each frame to mean 0 and spread 1, so that exposure and window do not matter."""

    def call(self, frame: Any) -> Any:
        mean = _mean(frame)
        spread = ops.sqrt(_mean(ops.square(frame - mean)))
        return ops.clip((frame - mean) / ops.maximum(spread, 4.0), -3.0, 3.0)


def _mean(planes: Any) -> Any:
    # In two steps: one long sum differs in its fifth digit between Keras and LiteRT.
    return ops.mean(ops.average_pool(planes, 16), axis=(1, 2), keepdims=True)


def _convolve(x: Any, width: int, *, name: str, strides: int = 1) -> Any:
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
    return layers.ReLU()(x)
