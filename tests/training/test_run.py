import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tbscreen_training.cli import main
from tbscreen_training.config import RunConfig
from tbscreen_training.controls import VIEWS
from tbscreen_training.predictions import Predictions


def history_of(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(params=["two_class_run", "three_class_run"])
def finished_run(request: pytest.FixtureRequest) -> Path:
    run: Path = request.getfixturevalue(request.param)
    return run


def test_a_run_leaves_every_table_it_promises(finished_run: Path) -> None:
    for name in ("config.json", "split.csv", "history.csv", "predictions.csv", "model.tflite"):
        assert (finished_run / name).stat().st_size > 0
    assert not list(finished_run.rglob(".*")), "a half-written file was left behind"


def test_a_killed_run_ends_with_all_its_epochs_once_resumed(three_class_run: Path) -> None:
    config = RunConfig.load(three_class_run)
    before = json.loads((three_class_run / "rows-when-killed.json").read_text())
    assert 0 < len(before) < config.fit.epochs, "it was not killed in the midst of the phase"
    history = history_of(three_class_run)
    phases = Counter(row["phase"] for row in history)
    assert phases == {"head": config.fit.epochs, "fine-tune": config.fine_tune.epochs}
    for killed, row in zip(before, history, strict=False):
        assert float(row["val_loss"]) == killed["val_loss"]
        assert float(row["seconds"]) == killed["seconds"], "the epoch was done twice"


def test_fine_tuning_changes_the_named_convolutions_and_no_batch_norm(
    three_class_run: Path,
) -> None:
    def variables(name: str) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}

        def collect(path: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                found[path] = item[()]

        with h5py.File(three_class_run / "weights" / name) as weights:
            weights.visititems(collect)
        return found

    head, tuned = variables("head.weights.h5"), variables("fine-tuned.weights.h5")
    changed = {path for path in head if not np.array_equal(head[path], tuned[path])}
    # mixed5, the last block that is used, holds ten convolutions; the first of all is not rounded.
    kernels = {path for path in changed if "conv2d" in path}
    assert {int(path.split("conv2d_")[1].split("/")[0]) for path in kernels} == set(range(39, 49))
    assert not [path for path in changed if "batch_normalization" in path]


def test_the_reports_figures_follow_from_the_table(finished_run: Path) -> None:
    metrics = json.loads((finished_run / "report" / "metrics.json").read_text())
    table = Predictions.load(
        finished_run / "predictions.csv",
        classes=tuple(metrics["classes"]),
        positive=metrics["positive"],
    )
    assert set(table.splits.tolist()) == {"validation", "test"}
    default = metrics["default_operating_point"]
    threshold = next(p["threshold"] for p in metrics["operating_points"] if p["name"] == default)
    for split, figures in metrics["splits"].items():
        rows = table.of_split(split).of_view("plain")
        assert figures["images"] == len(rows)
        assert figures["auc"]["value"] == pytest.approx(
            roc_auc_score(rows.is_positive, rows.scores), abs=1e-12
        )
        assert figures["accuracy"]["value"] == (rows.decide(threshold) == rows.labels).mean()
        called = rows.scores >= threshold
        assert figures["recall"]["value"] == pytest.approx(called[rows.is_positive].mean())
        specificity = pytest.approx((~called[~rows.is_positive]).mean())
        assert figures["specificity"]["value"] == specificity
    assert metrics["scored_by"] == "tflite dynamic"
    assert np.allclose(table.probabilities.sum(axis=1), 1.0)


def test_the_table_has_each_scored_image_once_in_each_view_that_it_has(finished_run: Path) -> None:
    with (finished_run / "split.csv").open(newline="") as stream:
        split = {row["file"]: row for row in csv.DictReader(stream)}
    with (finished_run / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = {name for name, row in split.items() if row["split"] != "train"}
    once = Counter(dict.fromkeys(expected, 1))
    views = {row["view"] for row in rows}
    assert {"plain", "border_only"} <= views <= {*VIEWS}
    for view in ("plain", "border_only"):
        assert Counter(row["file"] for row in rows if row["view"] == view) == once
    assert max(Counter((row["file"], row["view"]) for row in rows).values()) == 1
    for row in rows:
        for column in ("source", "group", "label", "split"):
            assert row[column] == split[row["file"]][column]


def test_the_report_comes_out_again_without_the_model(finished_run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    kept = shutil.ignore_patterns("*.tflite", "weights", "checkpoints", "features", "tensors")
    shutil.copytree(finished_run, again, ignore=kept)
    shutil.rmtree(again / "report")
    assert main(["report", "--run", str(again)]) == 0
    for name in ("metrics.json", "model-card.md"):
        before = (finished_run / "report" / name).read_bytes()
        assert (again / "report" / name).read_bytes() == before, name


def test_the_report_warns_and_shows_no_radiograph(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text()
    assert "Research tool, not a medical device" in page
    files = {path.name for path in (finished_run / "report").iterdir()}
    assert files == {"index.html", "metrics.json", "model-card.md"}
    assert "data:image/svg+xml" in page and "data:image/jpeg" not in page
    assert "http" not in page, "the report must open offline"


def test_the_balanced_threshold_of_the_report_is_the_one_published(finished_run: Path) -> None:
    manifest = next((finished_run.parent / "models").glob("*/manifest.json"))
    metrics = json.loads((finished_run / "report" / "metrics.json").read_text())
    published = json.loads(manifest.read_text())
    assert published["operating_points"] == metrics["operating_points"]
    assert published["calibration"] == metrics["calibration"]


def test_evaluation_without_an_export_scores_keras(tmp_path: Path, two_class_run: Path) -> None:
    for name in ("config.json", "split.csv", "classes.json", "history.csv"):
        shutil.copyfile(two_class_run / name, tmp_path / name)
    (tmp_path / "weights").symlink_to(two_class_run / "weights")
    assert main(["evaluate", "--run", str(tmp_path), "--calibration", "temperature"]) == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["scored_by"] == "keras"
    assert metrics["calibration"]["method"] == "temperature"
    assert main(["publish", "--run", str(tmp_path), "--models-dir", str(tmp_path)]) == 1
