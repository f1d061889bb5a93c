"""A run with every table of an evaluation and no model, made of a table of predictions."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from support.phantom import draw_phantom
from tbscreen_training import tables
from tbscreen_training.baselines import guess_sources
from tbscreen_training.config import RunConfig
from tbscreen_training.controls import BORDER_ONLY, LUNGS_BLANKED, LUNGS_ONLY
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.localisation import MapCorrelation, MapOnLung, save_table
from tbscreen_training.predictions import Predictions
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.splits import write_splits

KEPT = {LUNGS_BLANKED: 0.1, LUNGS_ONLY: 0.9, BORDER_ONLY: 0.0}
"""How much of each logit a view keeps."""


def make_evaluated_run(
    root: Path, plain: Predictions, *, show_source: tuple[str, ...] = ()
) -> RunDirectory:
    """Writes the run; two folds leave `both` out, one leaves `sick` and `well` out."""
    root.mkdir(parents=True)
    config = RunConfig.model_validate(
        {
            "data": {"roots": [root / "images"]},
            "show_source": show_source,
            "provenance": "Drawn <phantoms> & nothing else.",
        }
    )
    config.save(root)
    run = RunDirectory(root, config)
    dataset = _write_dataset(run, plain)
    rng = np.random.default_rng(7)
    with_views(plain, rng).save(run.predictions)
    for name, seed in (("both", 1), ("both-again", 2)):
        write_fold(run, name, plain, ("both",), rng, seed=seed)
    write_fold(run, "one-kind-each", plain, ("sick", "well"), rng)
    write_fold(run, "label-shuffle", plain, (), rng)
    _write_controls(run, plain, dataset, rng)
    (root / "history.csv").write_text(
        "phase,epoch,loss,accuracy,val_loss,val_accuracy,val_auc,seconds\n"
        "head,1,0.6,0.7,0.5,0.7,0.8,2.0\nhead,2,0.5,0.8,0.4,0.8,0.9,2.0\n"
        "fine-tune,1,0.4,0.8,0.3,0.8,0.9,9.0\n"
    )
    return run


def with_views(plain: Predictions, rng: np.random.Generator) -> Predictions:
    """Returns the table with rows for each control view below the plain ones."""
    parts = [plain]
    for view, kept in KEPT.items():
        logits = kept * plain.logits + rng.normal(0, 1, plain.logits.shape)
        unknown = np.full_like(logits, np.nan)
        named = np.full(len(plain), view)
        part = replace(plain, views=named, logits=logits, keras_logits=unknown)
        parts.append(part.uncalibrated())
    return Predictions.stack(parts)


def write_fold(
    run: RunDirectory,
    name: str,
    plain: Predictions,
    left_out: tuple[str, ...],
    rng: np.random.Generator,
    *,
    seed: int = 1,
) -> None:
    """Writes a fold of images of the sources left out; without any, one of shuffled labels."""
    folder = run.folds / name
    folder.mkdir(parents=True)
    rows = plain
    if left_out:
        chosen = plain.of_sources(left_out)
        rows = replace(chosen, splits=np.full(len(chosen), "left_out"))
    else:
        rows = replace(plain, logits=rng.normal(0, 1, plain.logits.shape)).uncalibrated()
    with_views(rows, rng).save(folder / "predictions.csv")
    trained_on = sorted(set(plain.sources.tolist()) - set(left_out))
    record = {"name": name, "left_out": left_out, "trained_on": trained_on, "seed": seed}
    (folder / "fold.json").write_text(json.dumps(record | {"seconds": 12.5}))


def _write_dataset(run: RunDirectory, plain: Predictions) -> Dataset:
    samples = [
        Sample(
            path=run.root / "images" / f"{number}.png",
            name=str(plain.files[number]),
            source=str(plain.sources[number]),
            label=str(plain.labels[number]),
            group=str(plain.groups[number]),
            split=str(plain.splits[number]),
            sha256=f"{number:064x}",
        )
        for number in range(len(plain))
    ]
    (run.root / "images").mkdir()
    picture = io.BytesIO()
    draw_phantom(1, size=(64, 64)).save(picture, "PNG")
    for sample in samples:
        sample.path.write_bytes(picture.getvalue())
    dataset = Dataset(tuple(samples), plain.classes, plain.positive)
    write_splits(run.root, dataset)
    return dataset


def _write_controls(
    run: RunDirectory, plain: Predictions, dataset: Dataset, rng: np.random.Generator
) -> None:
    run.controls.mkdir()
    (run.controls / tables.RECORD).write_text('{"scored_by": "tflite dynamic"}')
    histogram = replace(plain, logits=rng.normal(0, 1, plain.logits.shape)).uncalibrated()
    histogram.save(run.controls / tables.HISTOGRAM_BASELINE)
    guesses = guess_sources(_features(plain, rng), dataset.samples, seed=1)
    assert guesses is not None
    guesses.save(run.controls / tables.SOURCE_GUESSES)
    np.save(run.controls / tables.MAPS, rng.random((len(plain), 8, 8)).astype(np.float16))
    on_lung = [MapOnLung(s.name, s.group, s.label, 0.6, 0.25) for s in dataset.samples]
    save_table(run.controls / tables.MAPS_ON_LUNG, on_lung)
    correlations = [
        MapCorrelation(sample.name, sample.group, name, float(rng.normal(0, 0.2)))
        for name in ("head", "head and mixed5")
        for sample in dataset.samples[:20]
    ]
    save_table(run.controls / tables.MAP_CORRELATIONS, correlations)


def _features(plain: Predictions, rng: np.random.Generator) -> NDArray[np.float64]:
    features: NDArray[np.float64] = rng.normal(size=(len(plain), 6))
    features[:, 0] += 4 * (plain.sources == "sick")
    return features
