"""The network: lung field, InceptionV3 without its top, global average pooling, a small head.

uint8 frame (n, 384, 384, 1) ─ lung finder, crop, standardise ─▶ field (n, 256, 256, 1) in -1…1
    ─ InceptionV3 of one channel, up to its block mixed5 ─▶ maps (n, 14, 14, 768)
    ─ mean ─ Dense 256 ReLU ─ Dropout ─ Dense ─▶ logits (n, K)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from tbscreen_training.dynamic_range import with_rounding, without_rounding
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing
from tbscreen_training.lungs import FIELD_PX, FRAME_PX, build_lung_reader

HIDDEN: Final = "hidden"
LOGITS: Final = "logits"
"""Names of the head's layers."""

HIDDEN_UNITS: Final = 256
"""Of one head; several side by side are one wider layer."""


@dataclass(frozen=True)
class Network:
    """The network in the pieces that training and export need; all share their weights.

    Attributes:
        reader: uint8 (n, 384, 384, 1) to a dictionary: `field` (n, 256, 256, 1), `box` (n, 4),
            `lungs` (n, 64, 64, 1) and `features` (n, 192); never trained here.
        base: InceptionV3 up to its top block, (n, 256, 256, 1) in -1…1 to maps (n, m, m, C).
        head: pooled features (n, C) to logits (n, K).
    """

    reader: Any
    base: Any
    head: Any

    @cached_property
    def full(self) -> Any:
        """The whole network, uint8 (n, 384, 384, 1) to logits; never compiled."""
        frames = keras.Input((FRAME_PX, FRAME_PX, 1), dtype="uint8", name="radiograph")
        maps = self.base(self.reader(frames)["field"], training=False)
        return keras.Model(frames, self.head(_pool(maps)), name="network")

    @property
    def features(self) -> int:
        """How many pooled features there are, C."""
        return int(self.base.output.shape[-1])

    @cached_property
    def pooled(self) -> Any:
        """Everything below the head: uint8 (n, 384, 384, 1) to pooled features (n, C)."""
        frames = keras.Input((FRAME_PX, FRAME_PX, 1), dtype="uint8", name="radiograph")
        maps = self.base(self.reader(frames)["field"], training=False)
        return keras.Model(frames, _pool(maps))

    def trunk(self, boundary: str) -> Any:
        """Everything up to the layer `boundary`: uint8 (n, 384, 384, 1) to its output."""
        frames = keras.Input((FRAME_PX, FRAME_PX, 1), dtype="uint8", name="radiograph")
        lower = keras.Model(self.base.input, self.base.get_layer(boundary).output)
        field = self.reader(frames)["field"]
        return keras.Model(frames, lower(field, training=False))

    def upper(self, boundary: str) -> Any:
        """Everything after the layer `boundary`, up to the pooled features (n, C)."""
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
        self.reader.trainable = False
        self.base.trainable = False
        if boundary is not None:
            for layer in self._blocks_after(boundary).layers:
                layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)

    def exact(self) -> "Network":
        """Returns a copy that does not round: the export rounds itself (dynamic_range.py)."""
        return replace(self, base=without_rounding(self.base))

    def save(self, path: Path) -> None:
        """Writes all weights to a .weights.h5 file, whole or not at all."""
        with replacing(path) as partial:
            self.full.save_weights(partial)

    def load(self, path: Path) -> None:
        """Reads all weights from a file that `save` wrote."""
        self.full.load_weights(path)

    def _blocks_after(self, boundary: str) -> Any:
        return keras.Model(self.base.get_layer(boundary).output, self.base.output)


def build_network(
    *,
    classes: int,
    weights: str,
    dropout: float,
    seed: int,
    top_block: str = "mixed5",
    lung_field: bool = True,
    rounds: bool = True,
    heads: int = 1,
) -> Network:
    """Builds the network for `classes` classes: two share one logit, more have one each.

    Args:
        classes: how many.
        weights: "imagenet" (Keras fetches them), "none" (random) or a .weights.h5 file of
            InceptionV3 without its top.
        dropout: between the head's layers.
        seed: of every initial weight that is not read from a file.
        top_block: last block of InceptionV3 that is used, mixed5 to mixed10.
        lung_field: reduce radiographs to their lungs; False keeps the whole frame.
        rounds: the base computes as the dynamic-range export does.
        heads: how many heads are averaged, side by side in one of as many times the width.

    Raises:
        TrainingError: the weights can not be had, or do not fit.
    """
    keras.utils.set_random_seed(seed)
    whole = _of_one_channel(_build_base(weights))
    base = keras.Model(whole.input, whole.get_layer(top_block).output, name="inception_v3")
    if rounds:
        base = with_rounding(base)
    head = build_head(
        base.output.shape[-1],
        outputs=1 if classes == 2 else classes,
        units=HIDDEN_UNITS * heads,
        dropout=dropout,
        seed=seed,
    )
    return Network(build_lung_reader(crops=lung_field), base, head)


def build_head(features: int, *, outputs: int, units: int, dropout: float, seed: int) -> Any:
    """Builds a head: pooled features (n, C) to logits (n, outputs) over `units` hidden units."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((features,), name="features")
    hidden = keras.layers.Dense(units, activation="relu", name=HIDDEN)(inputs)
    kept = keras.layers.Dropout(dropout, seed=seed, name="dropout")(hidden)
    return keras.Model(inputs, keras.layers.Dense(outputs, name=LOGITS)(kept), name="head")


def set_to_mean(head: Any, parts: Sequence[Any]) -> None:
    """Gives a wide head the weights with which its logits are the mean of those of `parts`."""
    hidden = [part.get_layer(HIDDEN).get_weights() for part in parts]
    logits = [part.get_layer(LOGITS).get_weights() for part in parts]
    head.get_layer(HIDDEN).set_weights(
        [np.concatenate(weights, axis=-1) for weights in zip(*hidden, strict=True)]
    )
    head.get_layer(LOGITS).set_weights(
        [
            np.concatenate([kernel for kernel, _ in logits]) / len(parts),
            np.mean([bias for _, bias in logits], axis=0),
        ]
    )


def _build_base(weights: str) -> Any:
    shape = (FIELD_PX, FIELD_PX, 3)
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


def _of_one_channel(base: Any) -> Any:
    """Returns a base that reads grey as the given one reads grey in all three channels."""
    first, *others = base.get_weights()
    grey = keras.models.clone_model(base, input_tensors=keras.Input((FIELD_PX, FIELD_PX, 1)))
    grey.set_weights([first.sum(axis=2, keepdims=True), *others])
    return grey


def _pool(maps: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D()(maps)
