"""The gate on a run of two sources: made by hand, since training one takes minutes."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.phantom import draw_phantom
from tbscreen_shared.bundle import ModelStore
from tbscreen_training.cli import main
from tbscreen_training.config import INPUT_PX, LEFT_OUT
from tbscreen_training.controls import LUNGS_BLANKED
from tbscreen_training.dataset import Sample
from tbscreen_training.left_out import LABEL_SHUFFLE
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import INPUT_NAME, LOGITS_NAME, MAPS_NAME, ServedModel
from tbscreen_training.standing import stated_standing

SOURCES = ("north", "south")
AGAINST_ACTIVE = "AUC, sources left out, new - active"
GAP = "AUC plain - lungs blanked, new - active"


class Brightness(tf.Module):
    """Scores the mean brightness; its map is that of 8 x 8 cells."""

    @tf.function(input_signature=[tf.TensorSpec((1, INPUT_PX, INPUT_PX, 1), tf.uint8, INPUT_NAME)])
    def serve(self, radiograph: tf.Tensor) -> dict[str, tf.Tensor]:
        grey = tf.cast(radiograph, tf.float32) / 255.0
        cells = tf.nn.avg_pool2d(grey, INPUT_PX // 8, INPUT_PX // 8, "VALID")
        logits = 8.0 * (tf.reduce_mean(cells, axis=(1, 2)) - 0.5)
        return {LOGITS_NAME: logits, MAPS_NAME: tf.reshape(cells, (1, 1, 8, 8))}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = str(tmp_path_factory.mktemp("saved-model"))
    module = Brightness()
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    # The ban is on its interpreter; the converter exists nowhere else.
    converted: bytes = tf.lite.TFLiteConverter.from_saved_model(folder).convert()  # noqa: TID251
    return converted


def table(samples: list[Sample], split: str, view: str, logits: np.ndarray) -> Predictions:
    return Predictions(
        classes=("Normal", "TB Positive"),
        positive="TB Positive",
        files=np.array([sample.name for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        groups=np.array([sample.group for sample in samples]),
        labels=np.array([sample.label for sample in samples]),
        splits=np.array([split or sample.split for sample in samples]),
        views=np.full(len(samples), view),
        logits=logits[:, np.newaxis],
        keras_logits=logits[:, np.newaxis],
        probabilities=np.empty((len(samples), 2)),
    ).uncalibrated()


def write_fold(folds: Path, name: str, left_out: tuple[str, ...], rows: Predictions) -> None:
    record = {"name": name, "left_out": left_out, "trained_on": [], "seed": 1, "seconds": 1.0}
    (folds / name).mkdir(parents=True)
    (folds / name / "fold.json").write_text(json.dumps(record))
    rows.save(folds / name / "predictions.csv")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model: bytes) -> Path:
    """An evaluated run of 64 phantoms whose folds tell TB from the rest, but not without lungs."""
    root = Path(tmp_path_factory.mktemp("release"))
    rows = []
    for seed in range(64):
        name, label = f"{seed}.png", ("Normal", "TB Positive")[seed % 2]
        draw_phantom(seed, positive=seed % 2 == 1, size=(256, 256)).save(root / name)
        rows.append({"file": name, "label": label, "source": SOURCES[seed // 32]})
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    folder = root / "run"
    # Phantoms look so much alike that they would all be one film.
    split = ["split", "--run", str(folder), "--data", str(root / "manifest.csv")]
    assert main([*split, "--no-near-duplicates"]) == 0
    made = RunDirectory.open(folder)
    made.model.write_bytes(model)
    record = {
        "quantisation": "dynamic",
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "ms_per_image_1_thread": 1.0,
    }
    made.export_record.write_text(json.dumps(record))
    dataset, rng = made.dataset(), np.random.default_rng(0)
    scored = [*dataset.of_split("validation"), *dataset.of_split("test")]
    logits = ServedModel(made.model).logits(scored, made.tensors())[:, 0]
    table(scored, "", PLAIN, logits).save(made.predictions)
    made.controls.mkdir()
    (made.controls / "scored.json").write_text(json.dumps({"scored_by": "tflite dynamic"}))
    for source in SOURCES:
        samples = [sample for sample in dataset.samples if sample.source == source]
        sick = np.array([sample.label == "TB Positive" for sample in samples])
        plain = table(samples, LEFT_OUT, PLAIN, 3 * sick + rng.normal(0, 1, len(sick)))
        noise = table(samples, LEFT_OUT, LUNGS_BLANKED, rng.normal(0, 1, len(sick)))
        write_fold(made.folds, source, (source,), Predictions.stack([plain, noise]))
    # Chance itself: both kinds get the same scores.
    test = dataset.of_split("test")
    kinds = [[s for s in test if s.label == label] for label in ("Normal", "TB Positive")]
    few = min(map(len, kinds))
    paired = [*kinds[0][:few], *kinds[1][:few]]
    shuffled = table(paired, "test", PLAIN, np.tile(np.arange(few, dtype=float), 2))
    write_fold(made.folds, LABEL_SHUFFLE, (), shuffled)
    assert main(["report", "--run", str(folder)]) == 0
    return folder


def publish(run: Path, models_dir: Path) -> dict[str, dict[str, Any]]:
    """Publishes and returns the gate's checks by name."""
    assert main(["publish", "--run", str(run), "--models-dir", str(models_dir)]) == 0
    gate = ModelStore(models_dir).load_active().manifest.metrics["gate"]
    assert (gate["passed"], gate["forced"]) == (True, None)
    return {check["name"]: check for check in gate["checks"]}


def change_active(models_dir: Path, **changes: Any) -> None:
    path = ModelStore(models_dir).load_active().root / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def published(run: Path, tmp_path: Path) -> Path:
    publish(run, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def spoil(run: Path, tmp_path: Path) -> Callable[[Callable[[Path], None]], Path]:
    """Copies the run and lets something happen to the copy."""

    def make(change: Callable[[Path], None]) -> Path:
        copy = tmp_path / "spoiled"
        shutil.copytree(run, copy)
        change(copy)
        return copy

    return make


def test_a_sound_run_is_published_without_force(run: Path, tmp_path: Path) -> None:
    checks = publish(run, tmp_path)
    assert all(check["passed"] for check in checks.values())
    assert checks[AGAINST_ACTIVE]["note"] == "there is no active model"
    assert "no active model" in checks[GAP]["note"]
    manifest = ModelStore(tmp_path).load_active().manifest
    standing = stated_standing(manifest.metrics)
    assert standing is not None
    assert {name: found.left_out for name, found in standing.items()} == {
        "north": ("north",),
        "south": ("south",),
    }
    assert all(found.images == 32 for found in standing.values())
    assert manifest.default_operating_point == "triage"


def test_a_model_trained_on_the_source_is_compared_by_what_it_stated(
    run: Path, published: Path
) -> None:
    check = publish(run, published)[AGAINST_ACTIVE]
    assert check["figure"].startswith("+0.000")
    assert "north: figures stated on 32 images" in check["note"]


def test_a_model_that_never_saw_the_source_is_scored_on_the_same_images(
    run: Path, published: Path
) -> None:
    change_active(published, data={"sources": {"elsewhere": {"Normal": 3}}})
    check = publish(run, published)[AGAINST_ACTIVE]
    assert "north: the same 32 images, which the active model never saw" in check["note"]
    # The fold's AUC is about 0.98; brightness, the active model, is no better than chance.
    assert float(check["figure"].split()[0]) > 0.2


def test_a_model_of_another_preprocessing_that_states_nothing_is_not_compared(
    run: Path, published: Path
) -> None:
    other = {"height": 299, "width": 299, "preprocessing": "0"}
    change_active(published, input=other, metrics={})
    checks = publish(run, published)
    assert checks[AGAINST_ACTIVE]["figure"] == "not comparable"
    assert "takes other input" in checks[AGAINST_ACTIVE]["note"]
    assert "states no such gap" in checks[GAP]["note"]


def flip_decisions(run: Path) -> None:
    rows = Predictions.load(
        run / "predictions.csv", classes=("Normal", "TB Positive"), positive="TB Positive"
    )
    replace(rows, keras_logits=-rows.logits).save(run / "predictions.csv")


def drop_folds(run: Path) -> None:
    shutil.rmtree(run / "folds")


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (flip_decisions, "decisions flipped by exporting, triage"),
        (drop_folds, AGAINST_ACTIVE),
        (drop_folds, "AUC trained on shuffled labels"),
    ],
)
def test_what_fails_the_gate_is_not_published_but_for_a_reason(
    spoil: Callable[[Callable[[Path], None]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    failing: str,
) -> None:
    run, models_dir = spoil(change), tmp_path / "models"
    command = ["publish", "--run", str(run), "--models-dir", str(models_dir)]
    assert main(command) == 1
    assert f"FAIL  {failing}" in capsys.readouterr().err
    assert ModelStore(models_dir).versions() == []
    assert main([*command, "--force", "shown at a fair"]) == 0
    gate = ModelStore(models_dir).load_active().manifest.metrics["gate"]
    assert (gate["passed"], gate["forced"]) == (False, "shown at a fair")


def test_an_empty_reason_is_none(run: Path, tmp_path: Path) -> None:
    command = ["publish", "--run", str(run), "--models-dir", str(tmp_path)]
    with pytest.raises(SystemExit):
        main([*command, "--force", " "])
