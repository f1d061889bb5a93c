"""The network: InceptionV3 without its top, global average pooling, and a small head.

uint8 (n, 299, 299, 1) ─ scale to -1…1 ─ grey to 3 channels ─ InceptionV3 ─▶ maps (n, 8, 8, 2048)
    ─ mean ─ Dense 256 ReLU ─ Dropout ─ Dense ─▶ logits (n, K)
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import keras

from tbscreen_training.config import INPUT_PX
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing

HIDDEN_UNITS: Final = 256
FEATURES: Final = 2048


@dataclass(frozen=True)
class Network:
    """The network in the pieces that training and export need; all share their weights.

    Attributes:
        base: InceptionV3, (n, 299, 299, 3) in -1…1 to maps (n, 8, 8, 2048).
        head: pooled features (n, 2048) to logits (n, K).
    """

    base: Any
    head: Any

    @cached_property
    def full(self) -> Any:
        """The whole network, uint8 (n, 299, 299, 1) to logits; never compiled."""
        images = keras.Input((INPUT_PX, INPUT_PX, 1), dtype="uint8", name="radiograph")
        maps = self.base(_to_base_input(images), training=False)
        return keras.Model(images, self.head(_pool(maps)), name="network")

    def trunk(self, boundary: str) -> Any:
        """Everything up to the layer `boundary`: uint8 (n, 299, 299, 1) to its output."""
        images = keras.Input((INPUT_PX, INPUT_PX, 1), dtype="uint8", name="radiograph")
        lower = keras.Model(self.base.input, self.base.get_layer(boundary).output)
        return keras.Model(images, lower(_to_base_input(images), training=False))

    def upper(self, boundary: str) -> Any:
        """Everything after the layer `boundary`, up to the pooled features (n, 2048)."""
        blocks = self._blocks_after(boundary)
        maps = keras.Input(blocks.input.shape[1:])
        return keras.Model(maps, _pool(blocks(maps, training=False)))

    def tail(self, boundary: str) -> Any:
        """Everything after the layer `boundary`, up to the logits."""
        upper = self.upper(boundary)
        return keras.Model(upper.input, self.head(upper.output))

    def freeze_up_to(self, boundary: str | None) -> None:
        """Leaves only the head, and the convolutions after `boundary` if given, trainable.

        Batch norm stays as it is. It is frozen as a layer, which makes it use its statistics: that
        the base is called with training=False does not hold once Keras trains the model around it
        (Keras 3 hands its own `training` down to every layer).
        """
        self.base.trainable = False
        if boundary is not None:
            for layer in self._blocks_after(boundary).layers:
                layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)

    def save(self, path: Path) -> None:
        """Writes all weights to a .weights.h5 file, whole or not at all."""
        with replacing(path) as partial:
            self.full.save_weights(partial)

    def load(self, path: Path) -> None:
        """Reads all weights from a file that `save` wrote."""
        self.full.load_weights(path)

    def _blocks_after(self, boundary: str) -> Any:
        return keras.Model(self.base.get_layer(boundary).output, self.base.output)


def build_network(*, classes: int, weights: str, dropout: float, seed: int) -> Network:
    """Builds the network for `classes` classes: two share one logit, more have one each.

    Args:
        classes: how many.
        weights: "imagenet" (Keras fetches them), "none" (random) or a .weights.h5 file of
            InceptionV3 without its top.
        dropout: between the head's layers.
        seed: of every initial weight that is not read from a file.

    Raises:
        TrainingError: the weights can not be had, or do not fit.
    """
    keras.utils.set_random_seed(seed)
    base = _build_base(weights)
    features = keras.Input((FEATURES,), name="features")
    hidden = keras.layers.Dense(HIDDEN_UNITS, activation="relu", name="hidden")(features)
    kept = keras.layers.Dropout(dropout, seed=seed, name="dropout")(hidden)
    logits = keras.layers.Dense(1 if classes == 2 else classes, name="logits")(kept)
    return Network(base, keras.Model(features, logits, name="head"))


def _build_base(weights: str) -> Any:
    shape = (INPUT_PX, INPUT_PX, 3)
    application = keras.applications.InceptionV3
    if weights == "imagenet":
        try:
            return application(include_top=False, weights="imagenet", input_shape=shape)
        except Exception as error:
            # Keras raises a bare Exception when the download fails.
            raise TrainingError(
                f"the ImageNet weights could not be fetched ({error}). Offline, name a file: "
                "--weights FILE.weights.h5"
            ) from error
    if weights != "none" and not Path(weights).is_file():
        raise TrainingError(f"--weights {weights}: no such file")
    base = application(include_top=False, weights=None, input_shape=shape)
    if weights != "none":
        try:
            base.load_weights(weights)
        except (OSError, ValueError) as error:
            raise TrainingError(f"--weights {weights} does not fit InceptionV3: {error}") from error
    return base


def _to_base_input(images: Any) -> Any:
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    return keras.layers.Concatenate()([scaled, scaled, scaled])


def _pool(maps: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D()(maps)
