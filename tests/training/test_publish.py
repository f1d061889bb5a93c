import csv
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tbscreen_shared.bundle import Bundle, ModelStore
from tbscreen_shared.imaging import ImageLimits, read_radiograph, to_model_input
from tbscreen_training.cli import main
from tbscreen_training.config import INPUT_PX
from tbscreen_training.publish import known_picture
from tbscreen_training.served import ServedModel


@pytest.fixture(params=["two_class_run", "three_class_run"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    run: Path = request.getfixturevalue(request.param)
    return ModelStore(run.parent / "models").load_active()


def test_the_published_bundle_is_whole_and_active(bundle: Bundle) -> None:
    bundle.read_files()
    manifest = bundle.manifest
    assert manifest.version.endswith(manifest.model_sha256[:8])
    assert [point.name for point in manifest.operating_points] == ["triage", "balanced", "confirm"]
    assert manifest.default_operating_point == "triage"
    triage, confirm = manifest.operating_point("triage"), manifest.operating_point("confirm")
    band = (triage.threshold, confirm.threshold)
    assert manifest.indeterminate_band == (band if band[0] < band[1] else None)
    assert manifest.quantisation == "dynamic"


def test_the_known_answer_comes_out_again(bundle: Bundle) -> None:
    known = bundle.manifest.known_answer
    picture = read_radiograph(bundle.known_answer_path, limits=ImageLimits())
    tensor = to_model_input(picture, height=INPUT_PX, width=INPUT_PX)
    assert np.array_equal(tensor, known_picture())
    answer = ServedModel(bundle.model_path).answer(tensor)
    assert np.abs(answer.logits - known.logits).max() < known.tolerance / 10


def test_labels_are_in_the_order_of_the_outputs(bundle: Bundle) -> None:
    manifest = bundle.manifest
    outputs = len(manifest.known_answer.logits)
    if len(manifest.labels) == 2:
        assert outputs == 1
        assert manifest.labels == ["Normal", "TB Positive"]
    else:
        assert outputs == 3
        assert manifest.labels == ["normal", "other", "tuberculosis"]


def test_the_manifest_fingerprints_the_data(two_class_run: Path, phantom_folders: Path) -> None:
    data = ModelStore(two_class_run.parent / "models").load_active().manifest.data
    assert data["files"] == 20
    assert data["labels"] == {"Normal": 10, "TB Positive": 10}
    assert sum(data["splits"].values()) == 20
    with (two_class_run / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    text = "\n".join(sorted(f"{row['sha256']} {row['label']} {row['split']}" for row in rows))
    assert data["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    files = {hashlib.sha256(p.read_bytes()).hexdigest() for p in phantom_folders.rglob("*.png")}
    assert {row["sha256"] for row in rows} == files


def test_nothing_published_names_a_folder_of_the_machine(bundle: Bundle) -> None:
    for path in bundle.root.rglob("*"):
        if path.suffix in (".json", ".html"):
            text = path.read_text()
            assert str(bundle.root.parent.parent) not in text
            assert str(Path.home()) not in text
    command: Any = bundle.manifest.training["command"]
    assert command.startswith("tbscreen-training run --data ")


def test_the_known_picture_is_drawn_alike_each_time_and_is_no_flat_field() -> None:
    assert np.array_equal(known_picture(), known_picture())
    assert known_picture().std() > 30


def test_a_model_published_again_gets_a_version_of_its_own(
    two_class_run: Path, tmp_path: Path
) -> None:
    # Publishing keeps its flags in the run, which other tests read too.
    run = tmp_path / "run"
    shutil.copytree(two_class_run, run, ignore=shutil.ignore_patterns("checkpoints", "weights"))
    models = tmp_path / "models"
    store, versions = ModelStore(models), []
    for provenance in ("First.", "Second."):
        status = main(
            [
                *("publish", "--run", str(run), "--models-dir", str(models)),
                *("--provenance", provenance, "--force", "a test"),
            ]
        )
        assert status == 0
        versions.append(store.load_active().manifest.version)
        assert store.load_active().manifest.provenance == provenance
    assert versions[1] == f"{versions[0]}-2"
