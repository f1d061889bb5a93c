"""Makes the bundle that the worker's tests run: a few kilobytes, its answers computable by hand.

    python tests/worker/data/make_tiny_bundle.py

Needs TensorFlow, which the worker does without, so the bundle is kept under version control.
For an image of mean brightness m (0-1): logit = 8 (m - 0.5); its activation map is the image's
4 x 4 block means. Its lungs are these too, its frame features their mean and maximum, its lung
features their minimum; the manifest does not name them.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from tbscreen_shared.imaging import PREPROCESSING_VERSION

BUNDLE = Path(__file__).parent / "tiny"
SIDE = 16


class Tiny(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 1), tf.uint8, name="image")])
    def serve(self, image: Any) -> dict[str, Any]:
        brightness = tf.cast(image, tf.float32) / 255.0
        blocks = tf.nn.avg_pool2d(brightness, 4, 4, "VALID")
        logits = 8.0 * (tf.reduce_mean(blocks, axis=(1, 2)) - 0.5)
        mean, peak = tf.reduce_mean(blocks, axis=(1, 2)), tf.reduce_max(blocks, axis=(1, 2))
        return {
            "logits": logits,
            "activation_maps": tf.reshape(blocks, (1, 1, 4, 4)),
            "lungs": tf.reshape(blocks, (1, 4, 4)),
            "frame_features": tf.concat([mean, peak], axis=1),
            "lung_features": tf.reduce_min(blocks, axis=(1, 2)),
        }


def convert() -> bytes:
    model = Tiny()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder, signatures={"serving_default": model.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)  # noqa: TID251
        return bytes(converter.convert())


def main() -> None:
    BUNDLE.mkdir(exist_ok=True)
    model = convert()
    (BUNDLE / "model.tflite").write_bytes(model)
    levels = np.linspace(0, 200, SIDE * SIDE).astype(np.uint8).reshape(SIDE, SIDE)
    Image.fromarray(levels).save(BUNDLE / "known_answer.png")
    runner = Interpreter(model_content=model).get_signature_runner("serving_default")
    logits = runner(image=levels[np.newaxis, :, :, np.newaxis])["logits"][0]

    def digest(name: str) -> str:
        return hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest()

    def figure(value: float) -> dict[str, float]:
        return {"value": value, "low": value, "high": value}

    manifest = {
        "schema_version": 1,
        "version": "tiny-1",
        "created_at": "2026-11-01T00:00:00Z",
        "model_bytes": len(model),
        "model_sha256": digest("model.tflite"),
        "labels": ["Normal", "TB Positive"],
        "positive_label": "TB Positive",
        "input": {"height": SIDE, "width": SIDE, "preprocessing": PREPROCESSING_VERSION},
        "quantisation": "float32",
        "calibration": {"method": "identity", "scale": 1.0},
        "operating_points": [
            {
                "name": "balanced",
                "threshold": 0.5,
                "sensitivity": figure(0.9),
                "specificity": figure(0.8),
                "measured_on": "nothing: a test's bundle",
            }
        ],
        "default_operating_point": "balanced",
        "known_answer": {
            "file": "known_answer.png",
            "sha256": digest("known_answer.png"),
            "logits": [float(logit) for logit in logits],
            "tolerance": 1e-4,
        },
        "metrics": {},
        "data": {},
        "training": {"command": "python tests/worker/data/make_tiny_bundle.py"},
        "provenance": "made by tbscreen's tests; no data, no starting weights",
    }
    (BUNDLE / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
