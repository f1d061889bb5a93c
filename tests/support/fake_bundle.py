"""A bundle whose model is a few bytes: right for everything but inference."""

import hashlib
import json
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
    SiteCalibration,
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


def write_site(models_dir: Path, version: str, /, **changes: object) -> Path:
    """Writes a site's own threshold for a published bundle, with changes."""
    store = ModelStore(models_dir)
    site = SiteCalibration(
        version=version,
        model_sha256=store.load(version).manifest.model_sha256,
        created_at=datetime(2026, 11, 2, tzinfo=UTC),
        calibration=Calibration(method="platt", scale=0.5, bias=-1.0),
        operating_point=OperatingPoint(
            name="site",
            threshold=0.3,
            sensitivity=_INTERVAL,
            specificity=_INTERVAL,
            measured_on="the site's own images",
        ),
        indeterminate_band=(0.3, 0.6),
        positive_images=60,
        negative_images=200,
        unanswered_images=0,
    )
    path = store.site_path(version)
    path.write_text(json.dumps(site.model_dump(mode="json") | changes), encoding="utf-8")
    return path
