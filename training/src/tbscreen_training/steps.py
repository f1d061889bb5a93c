"""The steps of a run in their order."""

import logging
import shutil
from pathlib import Path

import numpy as np

from tbscreen_training import (
    augmentation_study,
    evaluate,
    experiments,
    export,
    export_variants,
    fit,
    folds,
)
from tbscreen_training.config import LEFT_OUT, SPLITS, RunConfig
from tbscreen_training.dataset import Dataset, load_dataset
from tbscreen_training.input_check.step import fit_check
from tbscreen_training.near_duplicates import find_repeats, report_repeats, shrink
from tbscreen_training.publish import publish_bundle
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.splits import SPLIT_FILE, divide, write_splits

_log = logging.getLogger(__name__)


def finish(run: RunDirectory, models_dir: Path, force: str | None) -> None:
    """Does every step that the run still lacks, and publishes it."""
    if not (run.root / SPLIT_FILE).is_file():
        split(run)
    if not run.head_weights.is_file():
        fit.fit_head(run)
    if run.config.fine_tune.boundary and not run.fine_tuned_weights.is_file():
        fit.fine_tune(run)
    if run.config.fit.cache_features:
        folds.train_folds(run)
    if not run.export_record.is_file():
        export.export_model(run)
    if not run.input_check_record.is_file():
        fit_check(run)
    evaluate.evaluate(run)
    publish(run, models_dir, force)
    # Gigabytes, and of no use once the run is done.
    shutil.rmtree(run.features, ignore_errors=True)


def split(run: RunDirectory) -> None:
    """Decodes the images and divides them into train, validation and test."""
    config = run.config
    found = load_dataset(config.data)
    tensors = run.tensors()
    readable = tensors.decode_all(found.samples, skip_unreadable=config.data.skip_unreadable)
    repeats = []
    if config.data.near_duplicates and readable:
        repeats = find_repeats(np.stack([shrink(tensors.load(sample)) for sample in readable]))
        report_repeats(run.root / "near-duplicates.csv", readable, repeats)
        _log.info("%d pairs of images show one film", len(repeats))
    dataset = divide(
        Dataset(tuple(readable), found.labels, found.positive),
        config.data,
        seed=config.seed,
        repeats=[(repeat.first, repeat.second) for repeat in repeats],
    )
    write_splits(run.root, dataset)
    for name in (*SPLITS, LEFT_OUT):
        _log.info("%s: %d images", name, len(dataset.of_split(name)))
    if not dataset.of_split(LEFT_OUT) and not folds.planned_folds(dataset, config.folds):
        _log.warning(
            "no source can be left out of these data, so nothing will say how the model does at "
            "another hospital: the release gate will refuse it unless --force says why"
        )


def take(step: str, run: RunDirectory, before: RunConfig) -> None:
    """Does one step between split and publish.

    Training continues from its checkpoints only if its configuration is the one that made them:
    so that is saved before the first of them.
    """
    config = run.config
    if step == "fit":
        if (config.fit, config.augmentation) != (before.fit, before.augmentation):
            shutil.rmtree(run.checkpoints(fit.HEAD), ignore_errors=True)
        config.save(run.root)
        fit.fit_head(run)
    elif step == "fine-tune":
        if config.fine_tune != before.fine_tune:
            shutil.rmtree(run.checkpoints(fit.FINE_TUNE), ignore_errors=True)
        config.save(run.root)
        fit.fine_tune(run)
    elif step == "folds":
        folds.train_folds(run)
    elif step == "export":
        export.export_model(run)
    elif step == "compare-exports":
        export_variants.compare_exports(run)
    elif step == "fit-check":
        fit_check(run)
    elif step == "report":
        evaluate.rewrite_report(run)
    else:
        evaluate.evaluate(run)


def publish(run: RunDirectory, models_dir: Path, force: str | None) -> None:
    """Makes the bundle, puts it to the release gate and activates it on the models volume."""
    bundle = publish_bundle(run, models_dir, force=force)
    _log.info("published %s", bundle.manifest.version)


def compare_augmentations(run: RunDirectory, views: int) -> None:
    """Writes augmentations.csv: what each augmentation does to the cross-validated AUC."""
    augmentation_study.compare_augmentations(run, views=views)


def log(run: RunDirectory, table: Path, note: str) -> None:
    """Appends the run to the experiment log."""
    experiments.log_run(run, table, note=note)
