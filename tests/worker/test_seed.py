import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.worker_site import TINY_BUNDLE, copy_tiny_bundle
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.errors import BundleError
from tbscreen_worker.predictor import LiteRtPredictor
from tbscreen_worker.seed import main, seed


def test_an_empty_volume_gets_the_default_bundle(tmp_path: Path) -> None:
    assert seed(TINY_BUNDLE, tmp_path / "models") is True

    assert ModelStore(tmp_path / "models").load_active().manifest.version == "tiny-1"


def test_a_models_folder_gives_the_bundle_it_names(tmp_path: Path) -> None:
    source = ModelStore(tmp_path / "source")
    for version in ("old", "new"):
        source.publish(copy_tiny_bundle(tmp_path / version, version=version))
    source.activate("old")

    assert seed(tmp_path / "source", tmp_path / "models") is True

    assert ModelStore(tmp_path / "models").active_version() == "old"


def test_a_volume_with_an_active_model_is_left_as_it_is(tmp_path: Path) -> None:
    models = ModelStore(tmp_path / "models")
    models.publish(copy_tiny_bundle(tmp_path / "own", version="own"))

    assert seed(TINY_BUNDLE, tmp_path / "models") is False

    assert models.active_version() == "own"
    assert models.versions() == ["own"]


def damage_model(bundle: Path) -> None:
    (bundle / "model.tflite").write_bytes(b"damaged")


def damage_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{}")


def make_for_another_preprocessing(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["input"]["preprocessing"] = "1"
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (make_for_another_preprocessing, "made for preprocessing 1, this worker's is"),
        (damage_model, "model is 7 bytes"),
        (damage_manifest, "does not fit the schema"),
        (shutil.rmtree, "there is no bundle own"),
    ],
)
def test_an_active_model_that_no_worker_can_serve_gives_way_and_stays_on_the_volume(
    spoil: Callable[[Path], None], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = ModelStore(tmp_path / "models")
    models.publish(copy_tiny_bundle(tmp_path / "own", version="own"))
    spoil(tmp_path / "models" / "own")
    left = sorted((tmp_path / "models").rglob("own/*"))

    assert seed(TINY_BUNDLE, tmp_path / "models") is True

    assert models.active_version() == "tiny-1"
    assert LiteRtPredictor(models.load_active()).manifest.version == "tiny-1"
    assert sorted((tmp_path / "models").rglob("own/*")) == left
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert reason in warning.getMessage()
    assert seed(TINY_BUNDLE, tmp_path / "models") is False


def test_a_damaged_name_of_the_active_model_gives_way(tmp_path: Path) -> None:
    models = ModelStore(tmp_path / "models")
    models.publish(copy_tiny_bundle(tmp_path / "own", version="own"))
    (tmp_path / "models" / "current").write_bytes(b"\xff\xfe")

    assert seed(TINY_BUNDLE, tmp_path / "models") is True

    assert models.active_version() == "tiny-1"


def test_a_volume_that_can_not_be_read_keeps_its_model(tmp_path: Path) -> None:
    models = ModelStore(tmp_path / "models")
    models.publish(copy_tiny_bundle(tmp_path / "own", version="own"))
    manifest = tmp_path / "models" / "own" / "manifest.json"
    manifest.unlink()
    manifest.mkdir()

    with pytest.raises(OSError):
        seed(TINY_BUNDLE, tmp_path / "models")

    assert models.active_version() == "own"


def test_a_damaged_default_bundle_is_not_published(tmp_path: Path) -> None:
    source = copy_tiny_bundle(tmp_path / "source")
    (source / "model.tflite").write_bytes(b"damaged")

    with pytest.raises(BundleError):
        seed(source, tmp_path / "models")

    assert ModelStore(tmp_path / "models").active_version() is None


@pytest.mark.parametrize("manifest", [None, {"schema_version": 99}])
def test_the_command_fails_when_there_is_nothing_to_seed_with(
    manifest: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    if manifest is not None:
        (tmp_path / "source" / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("TBSCREEN_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("sys.argv", ["seed", str(tmp_path / "source")])

    assert main() == 1
