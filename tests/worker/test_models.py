import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.waits import wait_until
from support.worker_site import copy_tiny_bundle
from tbscreen_shared.bundle import Bundle, ModelStore
from tbscreen_shared.errors import BundleError
from tbscreen_worker.models import ModelWatcher, NoModelError
from tbscreen_worker.predictor import LiteRtPredictor, Predictor


class Volume:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.store = ModelStore(root / "models")

    def publish(self, version: str) -> None:
        self.store.publish(copy_tiny_bundle(self._root / "staged" / version, version=version))

    def write_site(self, version: str, threshold: float, /, **changes: Any) -> None:
        manifest = self.store.load(version).manifest
        (point,) = manifest.model_dump(mode="json")["operating_points"]
        site = {
            "version": version,
            "model_sha256": manifest.model_sha256,
            "created_at": "2026-11-02T00:00:00Z",
            "operating_point": point | {"name": "site", "threshold": threshold},
            "positive_images": 60,
            "negative_images": 200,
            "unanswered_images": 0,
        }
        partial = self._root / "site.json"
        partial.write_text(json.dumps(site | changes))
        partial.replace(self.store.site_path(version))

    def name_active(self, named: bytes) -> None:
        (self._root / "models" / "current").write_bytes(named)

    def damage(self, version: str) -> None:
        (self._root / "models" / version / "model.tflite").write_bytes(b"damaged")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


@pytest.fixture
def watcher(volume: Volume) -> ModelWatcher:
    return ModelWatcher(volume.store, LiteRtPredictor)


def version_in_use(watcher: ModelWatcher) -> str:
    assert watcher.predictor is not None
    return watcher.predictor.manifest.version


def test_the_active_bundle_is_loaded(volume: Volume, watcher: ModelWatcher) -> None:
    volume.publish("one")

    watcher.look()

    assert version_in_use(watcher) == "one"
    assert watcher.rejection is None
    assert watcher.wait_for_model(0) is watcher.predictor


def test_before_the_first_bundle_there_is_no_model(watcher: ModelWatcher) -> None:
    watcher.look()

    with pytest.raises(NoModelError, match="no model has been published"):
        watcher.wait_for_model(0)


def test_a_new_bundle_replaces_the_one_in_use(volume: Volume, watcher: ModelWatcher) -> None:
    volume.publish("one")
    watcher.look()
    before = watcher.predictor

    volume.publish("two")
    watcher.look()

    assert version_in_use(watcher) == "two"
    assert before is not None
    assert before.manifest.version == "one"


def test_an_unchanged_bundle_is_not_loaded_again(volume: Volume) -> None:
    loads: list[str] = []

    def load(bundle: Bundle) -> Predictor:
        loads.append(bundle.manifest.version)
        return LiteRtPredictor(bundle)

    watcher = ModelWatcher(volume.store, load)
    volume.publish("one")
    for _ in range(3):
        watcher.look()

    assert loads == ["one"]


def test_a_damaged_bundle_is_rejected_once_and_the_old_one_kept(
    volume: Volume, watcher: ModelWatcher, caplog: pytest.LogCaptureFixture
) -> None:
    volume.publish("one")
    watcher.look()
    volume.publish("two")
    volume.damage("two")

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watcher.look()

    assert version_in_use(watcher) == "one"
    assert watcher.rejection is not None
    assert "two" in watcher.rejection
    assert len(caplog.records) == 1
    assert "model is 7 bytes" in caplog.records[0].getMessage()


def test_a_rejection_ends_with_a_sound_bundle(volume: Volume, watcher: ModelWatcher) -> None:
    volume.publish("one")
    volume.damage("one")
    watcher.look()
    with pytest.raises(NoModelError, match="bundle one"):
        watcher.wait_for_model(0)

    volume.publish("two")
    watcher.look()

    assert version_in_use(watcher) == "two"
    assert watcher.rejection is None


def test_a_rejection_ends_with_the_return_to_the_bundle_in_use(
    volume: Volume, watcher: ModelWatcher
) -> None:
    volume.publish("one")
    watcher.look()
    volume.publish("two")
    volume.damage("two")
    watcher.look()

    volume.store.activate("one")
    watcher.look()

    assert version_in_use(watcher) == "one"
    assert watcher.rejection is None


@pytest.mark.parametrize("named", [b"\xff\xfe", b"two\0", b"../two"])
def test_a_damaged_name_of_the_active_bundle_is_told_once_and_the_old_one_kept(
    volume: Volume, watcher: ModelWatcher, named: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    volume.publish("one")
    watcher.look()

    volume.name_active(named)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watcher.look()

    assert version_in_use(watcher) == "one"
    assert "does not hold a version" in (watcher.rejection or "")
    assert len(caplog.records) == 1

    volume.name_active(b"one\n")
    watcher.look()
    assert watcher.rejection is None


def test_a_rejected_bundle_is_tried_again_after_a_while(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    def load(bundle: Bundle) -> Predictor:
        loads.append(bundle.manifest.version)
        if len(loads) == 1:
            raise BundleError("the volume hiccuped")
        return LiteRtPredictor(bundle)

    watcher = ModelWatcher(volume.store, load)
    volume.publish("one")
    watcher.look()
    watcher.look()
    assert loads == ["one"]

    later = time.monotonic() + 31
    monkeypatch.setattr("tbscreen_worker.models.time.monotonic", lambda: later)
    watcher.look()

    assert version_in_use(watcher) == "one"


def threshold_in_use(watcher: ModelWatcher) -> tuple[str, float]:
    assert watcher.predictor is not None
    point = watcher.predictor.manifest.operating_point()
    return point.name, point.threshold


def test_a_sites_threshold_is_taken_and_given_up_with_its_file(
    volume: Volume, watcher: ModelWatcher
) -> None:
    volume.publish("one")
    watcher.look()
    assert threshold_in_use(watcher) == ("balanced", 0.5)

    volume.write_site("one", 0.3)
    watcher.changed.clear()
    watcher.look()
    assert threshold_in_use(watcher) == ("site", 0.3)
    assert watcher.changed.is_set()

    volume.write_site("one", 0.2)
    watcher.look()
    assert threshold_in_use(watcher) == ("site", 0.2)

    volume.store.site_path("one").unlink()
    watcher.look()
    assert threshold_in_use(watcher) == ("balanced", 0.5)
    assert watcher.site_rejection is None


def test_a_threshold_made_for_another_model_is_refused_once_and_told(
    volume: Volume, watcher: ModelWatcher, caplog: pytest.LogCaptureFixture
) -> None:
    volume.publish("one")
    volume.write_site("one", 0.3, version="zero")

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watcher.look()

    assert threshold_in_use(watcher) == ("balanced", 0.5)
    assert watcher.rejection is None
    assert "made for model zero" in (watcher.site_rejection or "")
    assert len(caplog.records) == 1

    volume.write_site("one", 0.3)
    watcher.look()
    assert threshold_in_use(watcher) == ("site", 0.3)
    assert watcher.site_rejection is None


def test_a_threshold_does_not_go_over_to_the_next_model(
    volume: Volume, watcher: ModelWatcher, caplog: pytest.LogCaptureFixture
) -> None:
    volume.publish("one")
    volume.write_site("one", 0.3)
    watcher.look()

    volume.publish("two")
    with caplog.at_level(logging.WARNING):
        watcher.look()

    assert threshold_in_use(watcher) == ("balanced", 0.5)
    assert "the site's own were made for one" in caplog.text

    volume.store.activate("one")
    watcher.look()
    assert threshold_in_use(watcher) == ("site", 0.3)


@pytest.fixture
def running(watcher: ModelWatcher) -> Iterator[ModelWatcher]:
    watcher.start()
    yield watcher
    watcher.stop()


def test_who_waits_for_a_model_gets_it_when_it_is_published(
    volume: Volume, running: ModelWatcher
) -> None:
    with pytest.raises(NoModelError):
        running.wait_for_model(0.1)

    volume.publish("one")

    assert running.wait_for_model(10).manifest.version == "one"


def test_the_thread_outlives_a_fault_of_the_loader(
    volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    def load(bundle: Bundle) -> Predictor:
        if bundle.manifest.version == "one":
            raise KeyError("a bug")
        return LiteRtPredictor(bundle)

    watcher = ModelWatcher(volume.store, load)
    volume.publish("one")
    watcher.start()
    with pytest.raises(NoModelError):
        watcher.wait_for_model(0.5)
    wait_until(lambda: "looking for a model failed" in caplog.text, timeout_s=10)

    volume.publish("two")

    assert watcher.wait_for_model(10).manifest.version == "two"
    watcher.stop()
