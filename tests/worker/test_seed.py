import json
from pathlib import Path

import pytest

from support.worker_site import TINY_BUNDLE, copy_tiny_bundle
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.errors import BundleError
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
    monkeypatch.setenv("REDIS_URL", "redis://localhost:1/0")
    monkeypatch.setenv("TBSCREEN_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("sys.argv", ["seed", str(tmp_path / "source")])

    assert main() == 1
