import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from tbscreen_training.config import Augmentation
from tbscreen_training.dataset import Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.features import FeatureStore
from tbscreen_training.network import build_network
from tbscreen_training.tensors import TensorCache

Usage = namedtuple("Usage", ["total", "used", "free"])


def test_features_that_the_disk_can_not_hold_are_refused_before_they_are_computed(
    tmp_path: Path,
    make_samples: Callable[..., list[Sample]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**9))
    store = FeatureStore(
        tmp_path,
        make_samples([("a", "tb", "")] * 1000),
        build_network(classes=2, weights="none", dropout=0.0, seed=1),
        boundary="mixed3",
        weights="none",
        tensors=TensorCache(tmp_path / "absent"),
        strengths=Augmentation(),
        seed=1,
    )
    # 1,000 images x 7 variants x 14 x 14 x 768 half-precision numbers
    with pytest.raises(TrainingError, match=r"2\.1 GB and 1\.0 GB are free: .*--cache-features"):
        store.maps("augmented", 7)
