"""The step `publish`: a bundle with everything a worker needs and a reader may ask."""

import hashlib
import json
import logging
import platform
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_shared.bundle import (
    Bundle,
    InputCheckFile,
    InputSpec,
    KnownAnswer,
    Manifest,
    ModelStore,
    OutputSpec,
)
from tbscreen_shared.bundle.store import sha256_of
from tbscreen_shared.imaging import PREPROCESSING_VERSION
from tbscreen_training.calibrate import DEFAULT_POINT, band_of
from tbscreen_training.config import INPUT_PX, LEFT_OUT, SPLITS
from tbscreen_training.dataset import Dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.evaluate import Evaluation
from tbscreen_training.gate import Gate
from tbscreen_training.input_check.familiarity import features_of
from tbscreen_training.release import judge
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import ServedModel

_log = logging.getLogger(__name__)
_MODEL: Final = "model.tflite"
_KNOWN_ANSWER: Final = "known-answer.png"
_INPUT_CHECK: Final = "input-check.npz"
_LIBRARIES: Final = ("keras", "tensorflow", "ai-edge-litert", "numpy", "pillow", "scikit-learn")
_TOLERANCE: Final = 0.1
"""Kernels for other processors round activations otherwise, which moves a dynamic-range model's
logits by some hundredths; another model or preprocessing moves them by tenths and more."""


def publish_bundle(run: RunDirectory, models_dir: Path, *, force: str | None = None) -> Bundle:
    """Builds the run's bundle, puts it to the release gate and activates it, atomically.

    Args:
        run: an evaluated run.
        models_dir: the models volume.
        force: why it shall be published even if it fails the gate; kept in the manifest.

    Raises:
        TrainingError: the exported model has not been evaluated, or fails the gate.
    """
    evaluation = _evaluation_of_export(run)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "bundle"
        staged.mkdir()
        shutil.copyfile(run.model, staged / _MODEL)
        Image.fromarray(known_picture()[:, :, 0]).save(staged / _KNOWN_ANSWER, optimize=True)
        if run.input_check.is_file():
            shutil.copyfile(run.input_check, staged / _INPUT_CHECK)
        shutil.copytree(run.report, staged / "report")
        manifest = _manifest(run, evaluation, staged, taken=ModelStore(models_dir).versions())
        gate = judge(run, evaluation, Bundle(staged, manifest), models_dir)
        manifest = _pass(gate, manifest, force)
        (staged / "manifest.json").write_text(
            manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
        return ModelStore(models_dir).publish(staged)


def known_picture() -> NDArray[np.uint8]:
    """Returns the known-answer input, uint8 (384, 384, 1): drawn, so that it is nobody's chest."""
    y, x = np.mgrid[-1.0 : 1.0 : INPUT_PX * 1j, -1.0 : 1.0 : INPUT_PX * 1j]
    body = 170 * np.exp(-((x / 0.9) ** 4) - (y / 1.1) ** 4)
    lungs = sum(np.exp(-(((x - side) / 0.28) ** 2) - (y / 0.6) ** 2) for side in (-0.42, 0.42))
    ribs = 18 * np.sin(14 * (y + 0.4 * x**2))
    levels = body - 110 * lungs + ribs
    picture: NDArray[np.uint8] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return picture[:, :, np.newaxis]


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """Returns what identifies the data: a digest over files, labels and splits, and counts."""
    lines = sorted(f"{s.sha256} {s.label} {s.split}" for s in dataset.samples)
    sources: dict[str, Counter[str]] = {}
    for sample in dataset.samples:
        sources.setdefault(sample.source, Counter())[sample.label] += 1
    return {
        "files": len(dataset.samples),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "labels": dict(Counter(sample.label for sample in dataset.samples)),
        "sources": {source: dict(counts) for source, counts in sorted(sources.items())},
        "splits": {split: len(dataset.of_split(split)) for split in SPLITS},
        "groups": len({sample.group for sample in dataset.samples}),
        "left_out": sorted({sample.source for sample in dataset.of_split(LEFT_OUT)}),
    }


def _pass(gate: Gate, manifest: Manifest, force: str | None) -> Manifest:
    if not gate.passed and force is None:
        raise TrainingError(
            f"{gate.table()}\nNot published: it fails the release gate. `publish --force REASON` "
            "publishes it all the same, and its manifest keeps the reason."
        )
    _log.info("release gate\n%s", gate.table())
    if not gate.passed:
        gate = gate.model_copy(update={"forced": force})
        _log.warning("the release gate was overridden: %s", force)
    return manifest.model_copy(
        update={"metrics": manifest.metrics | {"gate": {"passed": gate.passed} | gate.model_dump()}}
    )


def _evaluation_of_export(run: RunDirectory) -> Evaluation:
    if not run.export_record.is_file():
        raise TrainingError(f"{run.root} has no exported model: run the step `export` first")
    if not run.predictions.is_file():
        raise TrainingError(f"{run.root} has no evaluation of it: run the step `evaluate` first")
    evaluation = Evaluation.model_validate_json((run.report / "metrics.json").read_bytes())
    if not evaluation.scored_by.startswith("tflite"):
        raise TrainingError("the exported model was not evaluated: run the step `evaluate` again")
    return evaluation


def _new_version(now: datetime, sha256: str, taken: Sequence[str]) -> str:
    version = base = f"{now:%Y.%m.%d}-{sha256[:8]}"
    # The same model may be published again, calibrated or described otherwise.
    number = 1
    while version in taken:
        number += 1
        version = f"{base}-{number}"
    return version


def _manifest(
    run: RunDirectory, evaluation: Evaluation, staged: Path, *, taken: Sequence[str]
) -> Manifest:
    dataset, config = run.dataset(), run.config
    sha256 = sha256_of(staged / _MODEL)
    answer = ServedModel(staged / _MODEL).answer(known_picture())
    now = datetime.now(UTC)
    return Manifest(
        version=_new_version(now, sha256, taken),
        created_at=now,
        model_bytes=(staged / _MODEL).stat().st_size,
        model_sha256=sha256,
        labels=list(dataset.labels),
        positive_label=dataset.positive,
        input=InputSpec(height=INPUT_PX, width=INPUT_PX, preprocessing=PREPROCESSING_VERSION),
        outputs=OutputSpec(**{name: name for name in features_of(answer)}),
        quantisation=config.quantisation,
        calibration=evaluation.calibration,
        operating_points=evaluation.operating_points,
        default_operating_point=DEFAULT_POINT,
        indeterminate_band=band_of(evaluation.operating_points, config.indeterminate_band),
        input_check=_input_check(staged),
        known_answer=KnownAnswer(
            file=_KNOWN_ANSWER,
            sha256=sha256_of(staged / _KNOWN_ANSWER),
            logits=answer.logits.tolist(),
            tolerance=_TOLERANCE + 0.05 * float(np.abs(answer.logits).max()),
        ),
        metrics=_summary(evaluation),
        data=fingerprint(dataset) | {"classes": config.data.classes},
        training=_training(run),
        provenance=config.provenance,
    )


def _input_check(staged: Path) -> InputCheckFile | None:
    path = staged / _INPUT_CHECK
    return InputCheckFile(file=path.name, sha256=sha256_of(path)) if path.is_file() else None


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    wanted = (
        "images",
        "accuracy",
        "precision",
        "recall",
        "specificity",
        "f1",
        "auc",
        "brier",
        "ece",
    )
    test = {"all_sources": evaluation.splits["test"]}
    if evaluation.both_class_sources:
        test["both_class_sources"] = evaluation.both_class_sources["test"]
    return {
        "split": "test",
        **{rows: {name: figures[name] for name in wanted} for rows, figures in test.items()},
        "both_class_source_names": list(evaluation.both_class_source_names),
        "confounded_sources": evaluation.confounded_sources,
        "operating_points": [point.model_dump() for point in evaluation.operating_points_on_test],
        "leave_one_source_out": evaluation.leave_one_source_out
        and evaluation.leave_one_source_out.model_dump(),
        "export": evaluation.export.model_dump(),
    }


def _training(run: RunDirectory) -> dict[str, Any]:
    config = run.config
    return {
        "command": config.command,
        "seed": config.seed,
        "git_revision": _git_revision(),
        "keras_backend": keras.config.backend(),
        "python": platform.python_version(),
        "libraries": {name: version_of(name) for name in _LIBRARIES},
        "fit": config.fit.model_dump(exclude={"weights"}),
        "fine_tune": config.fine_tune.model_dump(),
        "augmentation": config.augmentation.model_dump(),
        "starting_weights": Path(config.fit.weights).name,
        "export": json.loads(run.export_record.read_bytes()),
    }


def _git_revision() -> str | None:
    """Returns the source's commit, marked if changed since; None where git knows of none."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
