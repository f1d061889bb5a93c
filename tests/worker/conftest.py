from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from support.redis_server import running_redis
from support.screening_bench import Bench
from support.worker_site import TINY_BUNDLE, copy_tiny_bundle
from tbscreen_shared.bundle import Bundle, Manifest, ModelStore
from tbscreen_shared.input_check import LAYOUT_FEATURES, InputCheck, Kind, LayoutModel
from tbscreen_shared.queue import connect_redis
from tbscreen_worker.predictor import Prediction, Predictor


class FakePredictor:
    """Answers any image with the same logits and maps."""

    input_check: InputCheck | None = None

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
def input_check() -> InputCheck:
    """Takes what is brightest above for frontal, below for inverted, left for sideways.

    An image of which none is true is of another kind.
    """
    kinds = (Kind.FRONTAL, Kind.INVERTED, Kind.SIDEWAYS, Kind.OTHER)
    rows, columns = np.mgrid[0:8, 0:8]
    above = np.where(rows < 4, 1.0, -1.0).ravel()
    left = np.where(columns < 4, 1.0, -1.0).ravel()
    weights = np.zeros((LAYOUT_FEATURES, len(kinds)), np.float32)
    weights[512:576] = np.stack([above, -above, left, 0 * left], axis=1)
    return InputCheck(
        LayoutModel(
            kinds,
            mean=np.zeros(LAYOUT_FEATURES, np.float32),
            spread=np.ones(LAYOUT_FEATURES, np.float32),
            weights=weights,
            bias=np.array([0.0, 0.0, 0.0, 30.0], np.float32),
        ),
        threshold=0.3,
        familiarity=None,
    )


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Writes the tests' bundle to disk, with changes to its manifest, unchecked."""

    def write(**changes: Any) -> Bundle:
        version = changes.get("version", "tiny-1")
        copy_tiny_bundle(tmp_path / "bundles" / version, **changes)
        return ModelStore(tmp_path / "bundles").load(version)

    return write


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running_redis(Path(tmp_path_factory.mktemp("redis"))) as url, connect_redis(url) as client:
        yield client


@pytest.fixture
def bench(redis: Redis, tmp_path: Path, fake_predictor: Predictor) -> Bench:
    return Bench(redis, tmp_path, fake_predictor)


@pytest.fixture
def radiograph(tmp_path: Path) -> bytes:
    path = tmp_path / "image.png"
    Image.effect_noise((400, 300), 60).save(path)
    return path.read_bytes()
