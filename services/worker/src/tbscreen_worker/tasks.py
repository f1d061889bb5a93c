"""The one task, thin: what a delivery becomes is decided here, what a job becomes in screening."""

import logging
import time
from collections.abc import Callable
from typing import Final

from celery import Celery
from celery.exceptions import Reject

from tbscreen_shared.blobs import BlobStoreMissingError
from tbscreen_shared.logging import bound_contextvars
from tbscreen_shared.queue import SCREEN_TASK
from tbscreen_worker.models import NoModelError

_PAUSE_S: Final = 1.0
"""Between a fault and the redelivery, so that a dependency that is down is not hammered."""

_log: Final = logging.getLogger(__name__)


def register_screen_task(app: Celery, screen: Callable[[str], None]) -> None:
    """Registers the task that calls `screen(job_id)`.

    Whatever `screen` raises sends the delivery back to the queue: the count of claims decides when
    a job is given up, not Celery, which would drop the delivery.
    """

    @app.task(name=SCREEN_TASK)  # type: ignore[untyped-decorator]  # Celery's
    def screen_job(job_id: str) -> None:
        with bound_contextvars(job_id=job_id):
            try:
                screen(job_id)
            except NoModelError as error:
                _log.warning("the job waits for a model: %s", error)
                raise Reject(requeue=True) from error
            except BlobStoreMissingError as error:
                _log.warning("the job waits for the upload volume: %s", error)
                time.sleep(_PAUSE_S)
                raise Reject(requeue=True) from error
            except Exception as error:
                _log.exception("screening failed; the job goes back to the queue")
                time.sleep(_PAUSE_S)
                raise Reject(requeue=True) from error
