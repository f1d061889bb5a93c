"""The steps of a run in their order."""

import logging
import shutil
from pathlib import Path

from tbscreen_training import augmentation_study, evaluate, export, fit
from tbscreen_training.config import RunConfig
from tbscreen_training.dataset import Dataset, load_dataset
from tbscreen_training.publish import publish_bundle
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.splits import SPLIT_FILE, divide, write_splits

_log = logging.getLogger(__name__)


def finish(run: RunDirectory, models_dir: Path) -> None:
    """Does every step that the run still lacks, and publishes it."""
    if not (run.root / SPLIT_FILE).is_file():
        split(run)
    if not run.head_weights.is_file():
        fit.fit_head(run)
    if run.config.fine_tune.boundary and not run.fine_tuned_weights.is_file():
        fit.fine_tune(run)
    if not run.export_record.is_file():
        export.export_model(run)
    evaluate.evaluate(run)
    publish(run, models_dir)
    # Gigabytes, and of no use once the run is done.
    shutil.rmtree(run.features, ignore_errors=True)


def split(run: RunDirectory) -> None:
    """Decodes the images and divides them into train, validation and test."""
    config = run.config
    found = load_dataset(config.data)
    readable = run.tensors().decode_all(found.samples, skip_unreadable=config.data.skip_unreadable)
    dataset = divide(
        Dataset(tuple(readable), found.labels, found.positive), config.data, seed=config.seed
    )
    write_splits(run.root, dataset)
    for name in ("train", "validation", "test"):
        _log.info("%s: %d images", name, len(dataset.of_split(name)))


def take(step: str, run: RunDirectory, before: RunConfig) -> None:
    """Does one step between split and publish.

    Training continues from its checkpoints only if its configuration is the one that made them.
    """
    config = run.config
    if step == "fit":
        if (config.fit, config.augmentation) != (before.fit, before.augmentation):
            shutil.rmtree(run.checkpoints(fit.HEAD), ignore_errors=True)
        fit.fit_head(run)
    elif step == "fine-tune":
        if config.fine_tune != before.fine_tune:
            shutil.rmtree(run.checkpoints(fit.FINE_TUNE), ignore_errors=True)
        fit.fine_tune(run)
    elif step == "export":
        export.export_model(run)
    else:
        evaluate.evaluate(run)


def publish(run: RunDirectory, models_dir: Path) -> None:
    """Makes the bundle and activates it on the models volume."""
    bundle = publish_bundle(run, models_dir)
    _log.info("published %s", bundle.manifest.version)


def compare_augmentations(run: RunDirectory, views: int) -> None:
    """Writes augmentations.csv: what each augmentation does to the cross-validated AUC."""
    augmentation_study.compare_augmentations(run, views=views)
