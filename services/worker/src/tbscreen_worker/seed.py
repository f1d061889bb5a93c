"""Puts the default model on a models volume without one that this release's workers can serve.

Run as `python -m tbscreen_worker.seed SOURCE`.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Final

from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.errors import BundleError
from tbscreen_shared.logging import configure_logging
from tbscreen_shared.settings import ProcessSettings, load_settings
from tbscreen_worker.predictor import LiteRtPredictor

_log: Final = logging.getLogger(__name__)


def seed(source: Path, models_dir: Path) -> bool:
    """Publishes a bundle unless one is active that a worker of this release can serve.

    After an upgrade the active bundle may be made for another preprocessing: no worker would take
    it and every job would wait. It stays on the volume, and is active no more.

    Args:
        source: a bundle's folder, or a models folder whose `current` names the bundle.
        models_dir: the models volume.

    Returns:
        Whether it was published; False leaves the volume as it is.

    Raises:
        BundleError: `source` holds no valid bundle.
        OSError: the volume can not be read or written; a fault that may pass costs no site its
            model.
    """
    store = ModelStore(models_dir)
    try:
        active = store.active_version()
        if active is not None:
            # As the workers do it, so that neither takes what the other would not.
            LiteRtPredictor(store.load(active))
            _log.info("a model is active already and stays", extra={"model": active})
            return False
    except BundleError as error:
        _log.warning(
            "the active model can not be served by this release, the default one takes its place: "
            "%s",
            error.detail,
        )
    default = ModelStore(source)
    bundle = source if default.active_version() is None else default.load_active().root
    try:
        published = store.publish(bundle)
    except OSError:
        # Another worker that starts at this moment may have moved the same bundle there first.
        published = store.publish(bundle)
    _log.info("default model published", extra={"model": published.manifest.version})
    return True


def main() -> int:
    """Seeds the volume that the settings name; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tbscreen_worker.seed", description=__doc__)
    parser.add_argument("source", type=Path, help="folder of the default bundle")
    arguments = parser.parse_args()
    settings = load_settings(ProcessSettings, program="tbscreen_worker.seed")
    configure_logging("seed", log_format=settings.log_format, level=settings.log_level)
    try:
        seed(arguments.source, settings.models_dir)
    except (BundleError, OSError) as error:
        _log.error("the models volume was not seeded: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
