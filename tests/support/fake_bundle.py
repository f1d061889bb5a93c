"""A bundle whose model is a few bytes: right for everything but inference."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from tbscreen_shared.bundle import (
    Bundle,
    Calibration,
    InputSpec,
    Interval,
    KnownAnswer,
    Manifest,
    ModelStore,
    OperatingPoint,
)

_INTERVAL = Interval(value=0.9, low=0.85, high=0.94)


def publish_fake_bundle(
    models_dir: Path, staging_dir: Path, version: str = "2026.11.1", *, report: bool = True
) -> Bundle:
    staged = staging_dir / f"staged-{version}"
    staged.mkdir(parents=True)
    model, known_answer = b"not a model", b"not a picture"
    (staged / "model.tflite").write_bytes(model)
    (staged / "known_answer.png").write_bytes(known_answer)
    if report:
        (staged / "report").mkdir()
        (staged / "report" / "index.html").write_text("<h1>Evaluation</h1>", encoding="utf-8")
        (staged / "report" / "metrics.json").write_text('{"auc": 0.9}', encoding="utf-8")
    manifest = Manifest(
        version=version,
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
        model_bytes=len(model),
        model_sha256=hashlib.sha256(model).hexdigest(),
        labels=["Normal", "TB Positive"],
        positive_label="TB Positive",
        input=InputSpec(height=299, width=299, preprocessing="1"),
        quantisation="dynamic",
        calibration=Calibration(method="identity", scale=1),
        operating_points=[
            OperatingPoint(
                name="balanced",
                threshold=0.41,
                sensitivity=_INTERVAL,
                specificity=_INTERVAL,
                measured_on="test",
            )
        ],
        default_operating_point="balanced",
        known_answer=KnownAnswer(
            file="known_answer.png",
            sha256=hashlib.sha256(known_answer).hexdigest(),
            logits=[0.0],
            tolerance=0.1,
        ),
        metrics={"auc": 0.9},
        data={},
        training={},
        provenance="made for tests",
    )
    (staged / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return ModelStore(models_dir).publish(staged)
