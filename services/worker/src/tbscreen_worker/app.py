"""The worker's Celery application."""

import logging
import os
from typing import Any, Final

from celery import Celery, signals

from tbscreen_shared.queue import make_celery_app
from tbscreen_worker.process import WorkerProcess
from tbscreen_worker.settings import WorkerSettings
from tbscreen_worker.tasks import register_screen_task

_log: Final = logging.getLogger(__name__)


def make_worker_app(settings: WorkerSettings) -> Celery:
    """Returns the application whose children screen jobs; each builds its own parts when it starts.

    Celery's signals are global, so one process makes one such application.
    """
    app = make_celery_app(settings)
    # Empty in the parent for ever; each child fills its own copy.
    processes: list[WorkerProcess] = []

    def start(**_: Any) -> None:
        try:
            process = WorkerProcess(settings)
            process.start()
        except Exception:
            # Celery logs and goes on with a child that has no parts, which then sends every job
            # back to the queue, for ever. One that ends is replaced, or ends a worker that starts.
            _log.critical("a worker process could not start", exc_info=True)
            os._exit(1)
        processes.append(process)

    def stop(**_: Any) -> None:
        while processes:
            processes.pop().stop()

    def keep_logging_as_it_is(**_: Any) -> None:
        """Celery sets up its own unless someone is connected to this signal."""

    signals.worker_process_init.connect(start, weak=False)
    signals.worker_process_shutdown.connect(stop, weak=False)
    signals.setup_logging.connect(keep_logging_as_it_is, weak=False)
    register_screen_task(app, lambda job_id: processes[0].screening.screen(job_id))
    return app
