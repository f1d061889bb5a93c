"""Runs a worker: `python -m tbscreen_worker [--concurrency N]`.

SIGTERM ends it warmly: the jobs in hand are finished, no other is taken.
"""

import argparse
import logging
import secrets
import sys

from tbscreen_shared.logging import configure_logging
from tbscreen_shared.queue import QUEUE_NAME, connect_redis
from tbscreen_shared.settings import load_settings
from tbscreen_worker.app import make_worker_app
from tbscreen_worker.pool import UncountedPool
from tbscreen_worker.prefetch import free_slots_of_lost_acks
from tbscreen_worker.settings import WorkerSettings
from tbscreen_worker.stall import StallWatchdog


def main() -> int:
    """Runs a worker until it is told to end; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tbscreen_worker", description=__doc__)
    parser.add_argument("--concurrency", type=int, help="child processes, one job each")
    arguments = parser.parse_args()
    settings = load_settings(WorkerSettings, program="tbscreen_worker")
    configure_logging("worker", log_format=settings.log_format, level=settings.log_level)
    # Two lines from Celery for each job, beside the worker's own.
    for chatter in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatter).setLevel(logging.WARNING)
    free_slots_of_lost_acks()
    redis = connect_redis(settings.redis_url.get_secret_value())
    StallWatchdog(
        lambda: int(redis.llen(QUEUE_NAME)),
        patience_s=settings.stall_timeout_s,
        job_limit_s=settings.task_time_limit_s,
    ).start()
    worker = make_worker_app(settings).Worker(
        # Containers may share a host name; Celery's nodes must not.
        hostname=f"tbscreen-{secrets.token_hex(4)}@%h",
        pool_cls=UncountedPool,
        concurrency=arguments.concurrency or settings.worker_concurrency,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel=settings.log_level,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
