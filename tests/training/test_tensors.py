from pathlib import Path

import numpy as np
import pytest

from support.radiographs import radiograph_files
from tbscreen_shared.bundle.store import sha256_of
from tbscreen_shared.imaging import ImageLimits, read_radiograph, to_model_input
from tbscreen_training.config import INPUT_PX
from tbscreen_training.dataset import Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.tensors import TensorCache


def sample_of(path: Path) -> Sample:
    return Sample(path, f"set/{path.name}", "set", "tb", "", "", sha256_of(path))


def test_training_sees_the_tensor_that_a_worker_sees_to_the_bit(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path / "cache")
    for path in radiograph_files(tmp_path):
        radiograph = read_radiograph(path, limits=ImageLimits(), target_px=INPUT_PX)
        served = to_model_input(radiograph, height=INPUT_PX, width=INPUT_PX)
        for _ in ("decoded", "from the cache"):
            trained = cache.load(sample_of(path))
            assert trained.dtype == np.uint8
            assert np.array_equal(trained, served)


def test_a_decoded_image_is_not_decoded_again(tmp_path: Path) -> None:
    path = radiograph_files(tmp_path)[0]
    sample, cache = sample_of(path), TensorCache(tmp_path / "cache")
    first = cache.load(sample)
    gone = Sample(tmp_path / "gone.png", "gone", "", "", "", "", sample.sha256)
    assert np.array_equal(cache.load(gone), first)


def test_unreadable_images_are_all_named(tmp_path: Path) -> None:
    for name in ("one.png", "two.jpg"):
        (tmp_path / name).write_bytes(b"no image " + name.encode())
    samples = [sample_of(tmp_path / name) for name in ("one.png", "two.jpg")]
    with pytest.raises(TrainingError, match=r"(?s)set/one\.png.*set/two\.jpg.*--skip-unreadable"):
        TensorCache(tmp_path / "cache").decode_all(samples, skip_unreadable=False)


def test_unreadable_images_are_left_out_and_listed_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = sample_of(radiograph_files(tmp_path)[0])
    readable = TensorCache(tmp_path / "cache").decode_all(
        [sample_of(tmp_path / "bad.png"), good], skip_unreadable=True
    )
    assert readable == [good]
    assert "set/bad.png" in caplog.text
