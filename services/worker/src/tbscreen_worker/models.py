"""Which model answers: follows the models volume, and swaps only to what has proved itself.

A site's own threshold is followed as well: when its file changes, the bundle is loaded anew.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from tbscreen_shared.bundle import Bundle, ModelStore
from tbscreen_shared.bundle.store import SiteStamp
from tbscreen_shared.errors import BundleError
from tbscreen_worker.predictor import Predictor

_POLL_INTERVAL_S: Final = 1.0
_RETRY_REJECTED_S: Final = 30.0
"""A bundle may be rejected for the volume's fault, not its own; so it is tried again."""

_log: Final = logging.getLogger(__name__)


class NoModelError(Exception):
    """No model has been published, or none of those that were could be loaded."""


class ModelWatcher:
    """Loads the active bundle, and its successors, in a thread beside the work.

    Whoever screens takes the predictor once per radiograph; a swap in the meantime leaves that one
    alone.
    """

    def __init__(self, store: ModelStore, load: Callable[[Bundle], Predictor]) -> None:
        """Takes where bundles are, and what verifies and loads one or raises BundleError."""
        self._store = store
        self._load = load
        self._predictor: Predictor | None = None
        self._in_use: tuple[str, SiteStamp | None] | None = None
        self._site_rejection: str | None = None
        self._rejected_version: str | None = None
        self._rejected_at = 0.0
        self._rejection: str | None = None
        self.changed = threading.Event()
        """Set when the model or the rejection has changed; whoever has seen it clears it."""
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)

    @property
    def predictor(self) -> Predictor | None:
        """The model in use, or None before the first."""
        return self._predictor

    @property
    def rejection(self) -> str | None:
        """Why the active bundle is not the one in use, or None when it is."""
        return self._rejection

    @property
    def site_rejection(self) -> str | None:
        """Why the site's own threshold is not applied, or None when it is or there is none."""
        return self._site_rejection

    def start(self) -> None:
        """Starts watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stops watching; a load in hand is not waited for."""
        self._stopping.set()

    def wait_for_model(self, timeout_s: float) -> Predictor:
        """Returns the model in use, as soon as there is one.

        Raises:
            NoModelError: there is none after `timeout_s`.
        """
        self._ready.wait(timeout_s)
        if self._predictor is None:
            raise NoModelError(self._rejection or "no model has been published yet")
        return self._predictor

    def look(self) -> None:
        """Compares the volume with the model in use, once, and swaps or rejects."""
        try:
            version = self._store.active_version()
            stamp = self._store.site_stamp(version) if version else None
        except BundleError as error:
            self._reject(None, error.detail)
            return
        except OSError as error:
            self._reject(None, f"the models volume can not be read: {error.strerror}")
            return
        if version is None or (version, stamp) == self._in_use:
            # Also after a return from a rejected bundle to the one in use.
            self._rejected_version = self._rejection = None
            return
        if version == self._rejected_version and (
            time.monotonic() - self._rejected_at < _RETRY_REJECTED_S
        ):
            return
        try:
            bundle = self._store.load(version)
            self._predictor = self._load(bundle)
        except BundleError as error:
            self._reject(version, error.detail)
        except OSError as error:
            self._reject(version, f"bundle {version} can not be read: {error.strerror}")
        else:
            self._rejected_version = self._rejection = None
            replaced, self._in_use = self._in_use, (version, stamp)
            self._tell_site(bundle)
            self._ready.set()
            self.changed.set()
            _log.info(
                "model loaded",
                extra={
                    "model": version,
                    "operating_point": bundle.decides_by.default_operating_point,
                    "replaced": replaced[0] if replaced else None,
                },
            )

    def _tell_site(self, bundle: Bundle) -> None:
        self._site_rejection = bundle.site_problem
        if bundle.site_problem:
            _log.error("the published thresholds decide: %s", bundle.site_problem)
        elif bundle.site is None and (others := self._store.versions_with_a_site()):
            _log.warning(
                "the published thresholds decide: the site's own were made for %s",
                ", ".join(others),
            )

    def _reject(self, version: str | None, reason: str) -> None:
        if reason != self._rejection:
            _log.error("model rejected: %s", reason)
        self._rejected_version, self._rejected_at = version, time.monotonic()
        self._rejection = reason
        self.changed.set()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                # The thread must outlive anything a bundle can do to it.
                _log.exception("looking for a model failed")
            self._stopping.wait(_POLL_INTERVAL_S)
