"""The client and `tbscreen predict` against everything that `tbscreen serve` runs."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.radiographs import radiograph_files
from support.serving import MODELS_DIR, Serving, run_tbscreen, running_serve
from support.waits import wait_until
from tbscreen import Client, JobFailed, JobNotFound, UploadRefused


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_serve(tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return radiograph_files(tmp_path_factory.mktemp("radiographs"))[:8]


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client(serving.url) as made:
        yield made


def test_radiographs_are_answered_with_the_published_model(
    serving: Serving, radiographs: list[Path], tmp_path: Path
) -> None:
    completed = run_tbscreen(
        *("predict", "--url", serving.url, "--format", "json"),
        *("--heatmaps", tmp_path / "maps", *radiographs),
    )
    assert completed.returncode == 0, completed.stderr
    lines = [json.loads(line) for line in completed.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(path) for path in radiographs]
    version = (MODELS_DIR / "current").read_text().strip()
    for line in lines:
        result = line["result"]
        assert result["prediction"] in ("TB Positive", "Normal", "Indeterminate")
        assert 0 <= result["probability"] <= 1
        assert result["model"]["version"] == version
        assert Path(line["heatmap"]).read_bytes().startswith(b"\x89PNG")
    wait_until(lambda: not serving.uploads_at_rest(), timeout_s=20, what="the erasure")


def test_csv_has_a_row_for_each_file_good_or_bad(
    serving: Serving, radiographs: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.jpg").symlink_to(radiographs[0])
    (folder / "b.png").write_bytes(b"not an image at all")
    (folder / "c.jpg").write_bytes(radiographs[0].read_bytes()[:5000])
    (folder / "d.png").write_bytes(b"")
    completed = run_tbscreen("predict", "--url", serving.url, "--format", "csv", folder)
    assert completed.returncode == 1
    rows = list(csv.DictReader(io.StringIO(completed.stdout)))
    assert [row["error_code"] for row in rows] == [
        "",
        "unsupported_media_type",
        "unreadable_image",
        "empty_upload",
    ]


def test_same_radiograph_has_the_same_answer(client: Client, radiographs: list[Path]) -> None:
    first, second = (client.predict(radiographs[0]) for _ in range(2))
    assert first.probability == second.probability


def test_file_that_is_no_image_is_refused_at_once(client: Client) -> None:
    with pytest.raises(UploadRefused) as caught:
        client.submit(b"%PDF-1.7 and so on")
    assert (caught.value.status, caught.value.code) == (415, "unsupported_media_type")


def test_damaged_image_fails_with_its_code(client: Client, radiographs: list[Path]) -> None:
    with pytest.raises(JobFailed) as caught:
        client.predict(radiographs[0].read_bytes()[:5000])
    assert caught.value.job.error is not None
    assert caught.value.job.error.code == "unreadable_image"


def test_erased_job_is_gone(client: Client, radiographs: list[Path]) -> None:
    job = client.wait(client.submit(radiographs[0]).id)
    client.delete(job.id)
    with pytest.raises(JobNotFound):
        client.get(job.id)
    with pytest.raises(JobNotFound):
        client.get("never-existed")


def test_health_names_the_workers_and_their_model(client: Client) -> None:
    health = client.health()
    assert (health.status, health.problems) == ("ok", [])
    assert {worker.model.version for worker in health.workers if worker.model} == {
        (MODELS_DIR / "current").read_text().strip()
    }
