import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from support.fake_bundle import publish_fake_bundle, write_site
from tbscreen_shared.bundle import ModelStore

VERSION = "2026.11.1"


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    publish_fake_bundle(tmp_path / "models", tmp_path)
    return tmp_path / "models"


@pytest.fixture
def store(models_dir: Path) -> ModelStore:
    return ModelStore(models_dir)


def test_without_a_sites_file_the_manifest_decides(store: ModelStore) -> None:
    bundle = store.load_active()
    assert (bundle.site, bundle.site_problem) == (None, None)
    assert bundle.decides_by == bundle.manifest


def test_a_sites_threshold_and_calibration_take_the_manifests_place(
    store: ModelStore, models_dir: Path
) -> None:
    write_site(models_dir, VERSION)
    bundle = store.load_active()
    decides_by = bundle.decides_by
    assert decides_by.operating_point().name == "site"
    assert decides_by.operating_point().threshold == 0.3
    assert decides_by.calibration.scale == 0.5
    assert decides_by.indeterminate_band == (0.3, 0.6)
    assert [point.name for point in decides_by.operating_points] == ["site"]
    assert bundle.manifest.default_operating_point == "balanced"


def test_a_threshold_alone_keeps_the_manifests_calibration(
    store: ModelStore, models_dir: Path
) -> None:
    write_site(models_dir, VERSION, calibration=None)
    bundle = store.load_active()
    assert bundle.decides_by.calibration == bundle.manifest.calibration


def test_a_file_of_a_release_that_did_not_tell_the_unanswered_apart_is_read(
    store: ModelStore, models_dir: Path
) -> None:
    path = write_site(models_dir, VERSION, unanswered_images=4)
    fields = json.loads(path.read_text())
    del fields["unanswered_positive_images"], fields["unanswered_negative_images"]
    path.write_text(json.dumps(fields))
    site = store.load_active().site
    assert site is not None
    assert (site.unanswered_images, site.unanswered_positive_images) == (4, None)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": "2026.10.1"}, r"made for model 2026\.10\.1"),
        ({"model_sha256": "0" * 64}, r"made for model 2026\.11\.1 \(00000000\)"),
        ({"schema_version": 2}, "does not fit the schema"),
        ({"patient": "Doe"}, "does not fit the schema"),
    ],
)
def test_a_sites_file_for_another_model_is_refused_and_the_manifest_decides(
    store: ModelStore, models_dir: Path, changes: dict[str, Any], problem: str
) -> None:
    write_site(models_dir, VERSION, **changes)
    bundle = store.load_active()
    assert bundle.site is None
    assert re.search(problem, bundle.site_problem or "")
    assert bundle.decides_by.operating_point().threshold == 0.41


def test_half_a_file_is_refused(store: ModelStore, models_dir: Path) -> None:
    path = write_site(models_dir, VERSION)
    path.write_bytes(path.read_bytes()[:100])
    assert "does not fit the schema" in (store.load_active().site_problem or "")


def test_a_file_that_can_not_be_read_is_told(store: ModelStore, models_dir: Path) -> None:
    path = write_site(models_dir, VERSION)
    path.unlink()
    path.mkdir()
    assert "can not be read" in (store.load_active().site_problem or "")


def test_the_stamp_changes_with_the_file(store: ModelStore, models_dir: Path) -> None:
    assert store.site_stamp(VERSION) is None
    path = write_site(models_dir, VERSION)
    first = store.site_stamp(VERSION)
    assert first is not None
    assert store.site_stamp(VERSION) == first
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(first[0], first[0]))
    other.replace(path)
    assert store.site_stamp(VERSION) != first


def test_a_sites_file_is_no_version(store: ModelStore, models_dir: Path) -> None:
    write_site(models_dir, VERSION)
    assert store.versions() == [VERSION]
    assert store.versions_with_a_site() == [VERSION]
