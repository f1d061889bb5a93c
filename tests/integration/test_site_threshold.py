"""A site's own threshold: from its radiographs through `tbscreen calibrate` into the answers."""

import csv
import io
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from support.serving import Serving, run_tbscreen, running_serve
from support.waits import wait_until
from support.worker_site import copy_tiny_bundle
from tbscreen import Client, Result
from tbscreen_shared.bundle import ModelStore, SiteCalibration

VERSION = "tiny-1"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(tmp_path_factory.mktemp("models"))
    staged = copy_tiny_bundle(root / "staged", version=VERSION)
    ModelStore(root / "models").publish(staged)
    return root / "models"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Serving]:
    directory = tmp_path_factory.mktemp("serve")
    with running_serve(directory, "--models-dir", str(models_dir)) as running:
        yield running


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 pictures called TB and 70 darker others: the model scores brightness."""
    rng, root = random.Random(4), Path(tmp_path_factory.mktemp("site"))
    for label, count, brightness in (("tuberculosis", 45, 0.8), ("normal", 70, 0.5)):
        (root / label).mkdir()
        for number in range(count):
            factor = min(1.0, max(0.1, rng.gauss(brightness, 0.1)))
            picture = Image.linear_gradient("L").point(lambda level, f=factor: round(level * f))
            picture.save(root / label / f"{number}.png")
    return root


def predict(serving: Serving, radiograph: Path) -> Result:
    with Client(serving.url) as client:
        return client.predict(radiograph)


def wait_for_point(serving: Serving, radiograph: Path, name: str) -> Result:
    def look() -> Result | None:
        result = predict(serving, radiograph)
        return result if result.operating_point == name else None

    return wait_until(look, what=f"the operating point {name}")


def points_of_workers(serving: Serving) -> set[str]:
    workers = httpx.get(f"{serving.url}/health").json()["workers"]
    return {worker["operating_point"] for worker in workers}


def test_a_sites_threshold_decides_without_a_restart_and_only_for_its_model(
    serving: Serving, models_dir: Path, radiographs: Path, tmp_path: Path
) -> None:
    radiograph = radiographs / "normal" / "0.png"
    assert predict(serving, radiograph).operating_point == "balanced"
    pids = serving.pids()

    begun = time.monotonic()
    done = run_tbscreen(
        *("calibrate", radiographs, "--url", serving.url),
        *("--models-dir", models_dir, "--half-width", 0.1),
    )
    assert done.returncode == 0, done.stderr
    written = models_dir / f"{VERSION}.site.json"
    site = SiteCalibration.model_validate_json(written.read_bytes())
    assert (site.positive_images, site.negative_images) == (45, 70)

    result = wait_for_point(serving, radiograph, "site")
    assert time.monotonic() - begun < 60
    assert result.threshold == site.operating_point.threshold
    assert serving.pids() == pids, "a process was replaced"
    shown = httpx.get(f"{serving.url}/v1/models/{VERSION}").json()
    assert shown["site"] == json.loads(written.read_text())
    health = httpx.get(f"{serving.url}/health").json()
    assert health["model"]["operating_point"] == "site"
    wait_until(lambda: points_of_workers(serving) == {"site"}, what="the site's point everywhere")

    foreign = site.model_copy(update={"model_sha256": "0" * 64})
    written.write_text(foreign.model_dump_json())
    wait_for_point(serving, radiograph, "balanced")
    # The other workers follow, and say so with their next beat.
    wait_until(lambda: points_of_workers(serving) == {"balanced"}, what="its end everywhere")
    health = httpx.get(f"{serving.url}/health").json()
    assert health["status"] == "degraded"
    assert any("made for model tiny-1 (00000000)" in problem for problem in health["problems"])

    written.unlink()
    wait_until(
        lambda: httpx.get(f"{serving.url}/health").json()["status"] == "ok", what="good health"
    )


def test_printed_results_with_labels_make_the_same_threshold(
    serving: Serving, models_dir: Path, radiographs: Path, tmp_path: Path
) -> None:
    printed = run_tbscreen("predict", "--url", serving.url, "--format", "csv", radiographs)
    assert printed.returncode == 0, printed.stderr
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    with (tmp_path / "labelled.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "label"])
        writer.writeheader()
        writer.writerows({**row, "label": Path(row["file"]).parent.name} for row in rows)
    points = []
    for number, source in enumerate((tmp_path / "labelled.csv", radiographs)):
        target = tmp_path / f"{number}.json"
        done = run_tbscreen(
            *("calibrate", source, "--url", serving.url, "--models-dir", models_dir),
            *("--half-width", 0.1, "--output", target),
        )
        assert done.returncode == 0, done.stderr
        points.append(json.loads(target.read_text())["operating_point"])
    assert points[0] == points[1]
