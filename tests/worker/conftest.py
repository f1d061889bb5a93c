from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from support.worker_site import TINY_BUNDLE, copy_tiny_bundle
from tbscreen_shared.bundle import Bundle, Manifest, ModelStore
from tbscreen_worker.predictor import Prediction


class FakePredictor:
    """Answers any image with the same logits and maps."""

    def __init__(
        self, manifest: Manifest, logits: list[float], maps: NDArray[np.float32] | None = None
    ) -> None:
        self.manifest = manifest
        self.seen: list[NDArray[np.uint8]] = []
        shape = (len(logits), 4, 4)
        self._prediction = Prediction(
            np.array(logits, dtype=np.float32),
            np.ones(shape, dtype=np.float32) if maps is None else maps,
        )

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        self.seen.append(image)
        return self._prediction


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.model_validate_json((TINY_BUNDLE / "manifest.json").read_text())


@pytest.fixture
def fake_predictor(manifest: Manifest) -> FakePredictor:
    return FakePredictor(manifest, [2.0])


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Writes the tests' bundle to disk, with changes to its manifest, unchecked."""

    def write(**changes: Any) -> Bundle:
        version = changes.get("version", "tiny-1")
        copy_tiny_bundle(tmp_path / "bundles" / version, **changes)
        return ModelStore(tmp_path / "bundles").load(version)

    return write
