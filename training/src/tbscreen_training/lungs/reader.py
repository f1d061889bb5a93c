"""From the whole frame to what the network reads, with what is known of the lungs on the way."""

from typing import Any

import keras
from keras import layers, ops

from tbscreen_training.lungs.field import LungBox, LungField, LungsOrFrame
from tbscreen_training.lungs.finder import FRAME_PX, build_finder


def build_lung_reader(*, crops: bool = True, trained: bool = True) -> Any:
    """Builds the part of the network before the base.

    Args:
        crops: False keeps the whole frame, standardised: for comparison.
        trained: False gives a finder with random weights, for tests of what follows it.

    Returns:
        a model: uint8 (n, 384, 384, 1) to a dictionary of `field` (n, 256, 256, 1) in -1…1, `box`
        (n, 4) top, bottom, left, right as shares of the frame, `lungs` (n, 64, 64, 1) probability,
        `features` (n, 192).
    """
    frames = keras.Input((FRAME_PX, FRAME_PX, 1), dtype="uint8", name="radiograph")
    levels = layers.Rescaling(1.0)(frames)
    lungs, features = build_finder(trained=trained)(levels, training=False)
    kept = LungsOrFrame(name="kept")(lungs) if crops else _Everything()(lungs)
    box = LungBox(name="box")(kept)
    field = LungField(name="field")(levels, kept, box)
    outputs = {"field": field, "box": box, "lungs": lungs, "features": features}
    return keras.Model(frames, outputs, name="lung_reader")


class _Everything(layers.Layer):  # type: ignore[misc]  # Keras has no types
    def call(self, lungs: Any) -> Any:
        return ops.ones_like(lungs)
