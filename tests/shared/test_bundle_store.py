import hashlib
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.errors import BundleError


def manifest(version: str, model: bytes, answer: bytes, **changes: Any) -> dict[str, Any]:
    interval = {"value": 0.9, "low": 0.8, "high": 0.95}
    fields: dict[str, Any] = {
        "version": version,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "model_bytes": len(model),
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "labels": ["Normal", "TB Positive"],
        "positive_label": "TB Positive",
        "input": {"height": 299, "width": 299, "preprocessing": "1"},
        "quantisation": "dynamic",
        "calibration": {"method": "identity", "scale": 1.0},
        "operating_points": [
            {
                "name": "balanced",
                "threshold": 0.5,
                "sensitivity": interval,
                "specificity": interval,
                "measured_on": "validation",
            }
        ],
        "default_operating_point": "balanced",
        "known_answer": {
            "file": "known_answer.png",
            "sha256": hashlib.sha256(answer).hexdigest(),
            "logits": [0.1],
            "tolerance": 0.01,
        },
        "metrics": {},
        "data": {},
        "training": {},
        "provenance": "test",
    }
    return fields | changes


def stage(directory: Path, version: str, model: bytes = b"model", **changes: Any) -> Path:
    directory.mkdir()
    (directory / "report").mkdir()
    (directory / "model.tflite").write_bytes(model)
    (directory / "known_answer.png").write_bytes(b"picture")
    fields = manifest(version, model, b"picture", **changes)
    (directory / "manifest.json").write_text(json.dumps(fields))
    return directory


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_published_bundle_is_active_and_whole(store: ModelStore, tmp_path: Path) -> None:
    assert store.active_version() is None
    store.publish(stage(tmp_path / "staged", "1"))
    bundle = store.load_active()
    bundle.read_files()
    assert bundle.manifest.version == "1"
    assert store.versions() == ["1"]


def test_no_model_is_told_as_such(store: ModelStore) -> None:
    with pytest.raises(BundleError, match="no model has been published"):
        store.load_active()
    assert store.versions() == []


@pytest.mark.parametrize("named", [b"\xff\xfe1", b"1\0", b"../1", b"1\n2", b"x" * 65])
def test_what_is_no_version_is_never_active(
    store: ModelStore, tmp_path: Path, named: bytes
) -> None:
    store.publish(stage(tmp_path / "staged", "1"))
    (tmp_path / "models" / "current").write_bytes(named)
    with pytest.raises(BundleError, match="does not hold a version"):
        store.active_version()
    with pytest.raises(BundleError, match="does not hold a version"):
        store.load_active()


def test_publishing_without_activation_keeps_the_active_version(
    store: ModelStore, tmp_path: Path
) -> None:
    store.publish(stage(tmp_path / "s1", "1"))
    store.publish(stage(tmp_path / "s2", "2", b"other"), activate=False)
    assert (store.active_version(), store.versions()) == ("1", ["1", "2"])
    store.activate("2")
    assert store.active_version() == "2"


def test_a_damaged_model_is_refused_and_the_active_one_stays(
    store: ModelStore, tmp_path: Path
) -> None:
    store.publish(stage(tmp_path / "s1", "1"))
    staged = stage(tmp_path / "s2", "2")
    (staged / "model.tflite").write_bytes(b"mudel")
    with pytest.raises(BundleError, match=r"model\.tflite is not the file"):
        store.publish(staged)
    (staged / "model.tflite").write_bytes(b"mode")
    with pytest.raises(BundleError, match="model is 4 bytes, manifest says 5"):
        store.publish(staged)
    assert (store.active_version(), store.versions()) == ("1", ["1"])


def test_a_version_can_not_be_published_twice_with_another_content(
    store: ModelStore, tmp_path: Path
) -> None:
    store.publish(stage(tmp_path / "s1", "1"))
    store.publish(stage(tmp_path / "s2", "1"))
    with pytest.raises(BundleError, match="another bundle is published as 1"):
        store.publish(stage(tmp_path / "s3", "1", b"other"))


@pytest.mark.parametrize(
    "changes",
    [
        {"positive_label": "Cancer"},
        {"labels": ["Normal", "Normal"]},
        {"default_operating_point": "nowhere"},
        {"schema_version": 2},
        {"surprise": 1},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    store: ModelStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    (tmp_path / "models").mkdir()
    bundle = stage(tmp_path / "models" / "9", "9", **changes)
    with pytest.raises(BundleError, match="does not fit the schema"):
        store.load("9")
    with pytest.raises(BundleError, match="does not fit the schema"):
        store.publish(bundle)


def test_a_folder_without_a_manifest_is_no_bundle(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle"):
        store.publish(tmp_path)


@pytest.mark.parametrize("version", ["../1", "", ".hidden", "a/b", "x" * 65])
def test_a_version_can_not_lead_out_of_the_volume(store: ModelStore, version: str) -> None:
    with pytest.raises(BundleError):
        store.load(version)


def test_a_reader_never_sees_half_a_bundle(store: ModelStore, tmp_path: Path) -> None:
    staged = [stage(tmp_path / f"s{n}", str(n), bytes([n]) * 200_000) for n in range(12)]
    store.publish(staged[0])
    done = threading.Event()
    failures: list[str] = []
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            try:
                bundle = store.load_active()
                bundle.read_files()
                seen.add(bundle.manifest.version)
                assert "0" in store.versions()
            except (BundleError, AssertionError) as error:
                failures.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for folder in staged[1:]:
        store.publish(folder)
    done.set()
    reader.join()
    assert failures == []
    assert len(seen) > 1


def test_a_bundle_whose_input_check_is_another_file_is_refused(
    store: ModelStore, tmp_path: Path
) -> None:
    described = {"file": "input-check.npz", "sha256": hashlib.sha256(b"check").hexdigest()}
    staged = stage(tmp_path / "v1", "v1", input_check=described)
    with pytest.raises(BundleError, match=r"input-check\.npz is not the file"):
        store.publish(staged)

    (staged / "input-check.npz").write_bytes(b"check")
    bundle = store.publish(staged)

    assert bundle.input_check_path is not None
    assert bundle.input_check_path.read_bytes() == b"check"
