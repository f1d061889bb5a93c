"""The step `export`: Keras to a TensorFlow Lite file that also gives Grad-CAM, lungs and features.

With maps A (14 x 14 x 768), g their mean, h = ReLU(W1' g + b1) and z = W2' h + b2, the gradient of
a logit z_k with respect to A is the same at each position: W1 (1[h > 0] * w2_k) / 196. So Grad-CAM
(Selvaraju et al. 2017) is ReLU of A weighted by it: exact, in the forward pass. It is then placed
where the lung field lies in the frame.
"""

import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.config import INPUT_PX, MAPS_PX, Quantisation
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import write_atomically
from tbscreen_training.lungs import PlaceInFrame
from tbscreen_training.network import Network
from tbscreen_training.quantise import Tensors, quantise
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import (
    FRAME_FEATURES_NAME,
    INPUT_NAME,
    LOGITS_NAME,
    LUNG_FEATURES_NAME,
    LUNGS_NAME,
    MAPS_NAME,
    ServedModel,
    refuse_foreign_operations,
)

_log = logging.getLogger(__name__)
_REPRESENTATIVE_IMAGES: Final = 128


def export_model(run: RunDirectory) -> None:
    """Writes model.tflite and export.json into the run directory.

    Raises:
        TrainingError: nothing is fitted, Keras runs on another backend than TensorFlow, or the
            converter needed operations that LiteRT lacks.
    """
    run.forget_evaluation()
    if run.config.fit.rounds != (run.config.quantisation == "dynamic"):
        _log.warning(
            "the head was fitted to features %s rounding, and the export is %s: the release gate "
            "may find decisions flipped. --rounds belongs to dynamic, --no-rounds to the others",
            *("with" if run.config.fit.rounds else "without", run.config.quantisation),
        )
    tensors, train = run.tensors(), run.dataset().of_split("train")
    step = max(1, len(train) // _REPRESENTATIVE_IMAGES)

    def representative() -> Iterator[NDArray[np.uint8]]:
        for sample in train[::step][:_REPRESENTATIVE_IMAGES]:
            yield tensors.load(sample)

    with tempfile.TemporaryDirectory() as folder:
        save_serving_function(run.trained_network(), Path(folder))
        model = convert(Path(folder), run.config.quantisation, representative)
    write_atomically(run.model, model)
    milliseconds = ServedModel(run.model).measure_ms()
    record = {
        "quantisation": run.config.quantisation,
        "bytes": len(model),
        "sha256": sha256_of(run.model),
        "ms_per_image_1_thread": round(milliseconds, 1),
    }
    write_atomically(run.export_record, json.dumps(record, indent=2).encode())
    _log.info(
        "%s: %.1f MB, %.0f ms an image on one thread",
        *(run.config.quantisation, len(model) / 1e6, milliseconds),
    )


def save_serving_function(network: Network, folder: Path) -> None:
    """Writes the network as a SavedModel whose signature is the served one.

    It takes `radiograph`, uint8 (1, 384, 384, 1), and gives `logits`, float32 (1, K);
    `activation_maps`, float32 (1, K, 8, 8), ≥ 0, over the frame; `lungs`, float32 (1, 32, 32), the
    share of lung in each cell of the frame; `frame_features`, float32 (1, 192), of the lung finder;
    `lung_features`, float32 (1, 256), the head's hidden layer.

    Raises:
        TrainingError: Keras runs on another backend than TensorFlow.
    """
    if keras.config.backend() != "tensorflow":
        raise TrainingError("export needs TensorFlow: run it with KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    network = network.exact()
    archive = keras.export.ExportArchive()
    archive.track(network.reader)
    archive.track(network.base)
    archive.add_endpoint("serving_default", **_serving_endpoint(tf, network))
    archive.write_out(folder, verbose=False)


def convert(folder: Path, quantisation: Quantisation, representative: Tensors) -> bytes:
    """Returns a SavedModel as a TensorFlow Lite file.

    Args:
        folder: the SavedModel.
        quantisation: of the base's convolutions (quantise.py).
        representative: gives uint8 (384, 384, 1) tensors, from which int8 learns its ranges.

    Raises:
        TrainingError: the file would need operations that LiteRT lacks.
    """
    import tensorflow as tf

    # The ban is on its interpreter; the converter exists nowhere else.
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))  # noqa: TID251
    model = quantise(converter.convert(), quantisation, representative)
    refuse_foreign_operations(model)
    return model


def _serving_endpoint(tf: Any, network: Network) -> dict[str, Any]:
    w1, b1 = (weight.numpy() for weight in network.head.get_layer("hidden").weights)
    w2, b2 = (weight.numpy() for weight in network.head.get_layer("logits").weights)
    place = PlaceInFrame(MAPS_PX)

    def serve(radiograph: Any) -> dict[str, Any]:
        seen = network.reader(radiograph, training=False)
        maps = network.base(seen["field"], training=False)
        hidden = tf.nn.relu(
            tf.reduce_sum(tf.reduce_mean(maps, axis=(1, 2))[:, :, None] * w1, 1) + b1
        )
        cam = class_activation(tf, maps, hidden, w1, w2)
        return {
            LOGITS_NAME: tf.reduce_sum(hidden[:, :, None] * w2, 1) + b2,
            MAPS_NAME: place(cam, seen["box"]),
            LUNGS_NAME: tf.nn.avg_pool2d(seen["lungs"], 2, 2, "VALID")[..., 0],
            FRAME_FEATURES_NAME: seen["features"],
            LUNG_FEATURES_NAME: hidden,
        }

    specification = tf.TensorSpec((1, INPUT_PX, INPUT_PX, 1), tf.uint8, name=INPUT_NAME)
    return {"fn": serve, "input_signature": [specification]}


def class_activation(tf: Any, maps: Any, hidden: Any, w1: Any, w2: Any) -> Any:
    """Returns Grad-CAM of each logit over the field: (1, K, m, m), ≥ 0, for one image's maps."""
    side, outputs = maps.shape[1], w2.shape[1]
    is_active = tf.cast(hidden > 0.0, tf.float32)
    gradient = tf.reduce_sum((is_active * w2.T)[:, None] * w1, axis=2) / side**2
    weighted = tf.reshape(maps, (side**2, maps.shape[-1])) @ tf.transpose(gradient)
    return tf.reshape(tf.transpose(tf.nn.relu(weighted)), (1, outputs, side, side))
