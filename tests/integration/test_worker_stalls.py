"""Workers that live and do not work, and deliveries that come twice."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.redis_server import running_redis
from support.waits import wait_until
from support.worker_site import WorkerSite
from tbscreen_shared.contracts import JobStatus
from tbscreen_worker.stall import EXIT_STATUS

STALL_TIMEOUT_S = 5

# A worker with the fault: its channel believes for ever that it has no slot left.
STALLING_WORKER = """
import sys
from tbscreen_worker import __main__, prefetch
prefetch.SlotFreeingQoS.can_consume = lambda qos: False
sys.exit(__main__.main())
"""

# Another: it believes for ever that it has a job in hand.
JAMMED_WORKER = """
import sys
from celery import signals
from celery.worker import state
from tbscreen_worker import __main__, prefetch
class Request:
    pass
request = Request()
signals.worker_ready.connect(lambda **_: state.reserved_requests.add(request), weak=False)
prefetch.SlotFreeingQoS.can_consume = lambda qos: False
sys.exit(__main__.main())
"""
JOB_LIMIT_S = 4

# Its child ends each job with the lock of the count of its results in hand: one that is killed
# while it looks at the count keeps that for ever.
LOCKING_WORKER = """
import gc, sys
from billiard.pool import Worker
from celery import signals
from tbscreen_worker import __main__
def take_lock(**_):
    for child in gc.get_objects():
        if isinstance(child, Worker) and child.on_ready_counter:
            child.on_ready_counter.acquire()
signals.task_postrun.connect(take_lock, weak=False)
sys.exit(__main__.main())
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_redis(tmp_path) as url:
        site = WorkerSite(tmp_path, url)
        site.environment["TBSCREEN_STALL_TIMEOUT_S"] = str(STALL_TIMEOUT_S)
        site.publish()
        yield site
        site.close()


def test_a_worker_that_takes_nothing_while_tasks_wait_ends_itself_and_says_why(
    site: WorkerSite, radiograph: Path
) -> None:
    worker = site.start_worker("-c", STALLING_WORKER)
    site.wait_for_beat(worker, lambda beat: beat.model is not None)
    # Idle is not stalled.
    time.sleep(STALL_TIMEOUT_S + 2)
    assert worker.main.poll() is None
    begun = time.monotonic()
    job_id = site.submit(radiograph)
    assert worker.main.wait(40) == EXIT_STATUS
    assert STALL_TIMEOUT_S - 3 < time.monotonic() - begun < 5 * STALL_TIMEOUT_S
    assert "tasks wait and this worker takes none" in worker.text()
    site.start_ready_worker()
    assert site.wait_for_end(job_id).status is JobStatus.SUCCEEDED


def test_a_job_in_hand_excuses_for_no_longer_than_a_job_may_take(
    site: WorkerSite, radiograph: Path
) -> None:
    site.environment["TBSCREEN_TASK_TIME_LIMIT_S"] = str(JOB_LIMIT_S)
    worker = site.start_worker("-c", JAMMED_WORKER)
    site.wait_for_beat(worker, lambda beat: beat.model is not None)
    begun = time.monotonic()
    job_id = site.submit(radiograph)
    assert worker.main.wait(40) == EXIT_STATUS
    assert time.monotonic() - begun > STALL_TIMEOUT_S + JOB_LIMIT_S - 3
    site.start_ready_worker()
    assert site.wait_for_end(job_id).status is JobStatus.SUCCEEDED


def test_no_lock_of_a_child_holds_up_the_main_process(site: WorkerSite, radiograph: Path) -> None:
    worker = site.start_worker("-c", LOCKING_WORKER)
    site.wait_for_beat(worker, lambda beat: beat.model is not None)
    for _ in range(2):
        assert site.wait_for_end(site.submit(radiograph)).status is JobStatus.SUCCEEDED


def test_a_worker_with_a_job_in_hand_is_not_stalled(site: WorkerSite, radiograph: Path) -> None:
    worker = site.start_ready_worker()
    held = site.submit_held(radiograph)
    site.wait_for_start(held.id)
    waiting = site.submit(radiograph)
    time.sleep(STALL_TIMEOUT_S + 3)
    assert worker.main.poll() is None
    held.put_upload_in_place()
    held.let_go_on()
    for job_id in (held.id, waiting):
        assert site.wait_for_end(job_id).status is JobStatus.SUCCEEDED


def test_a_second_delivery_of_a_job_in_hand_is_dropped(site: WorkerSite, radiograph: Path) -> None:
    site.start_ready_worker()
    held = site.submit_held(radiograph)
    announced = site.listen(held.id)
    site.wait_for_start(held.id)
    second = site.start_ready_worker()
    for _ in range(3):
        site.send_task(held.id)
    wait_until(lambda: site.redis.llen("tbscreen") == 0, what="the second worker's deliveries")
    wait_until(
        lambda: second.text().count("nothing to do: the job is held") == 3, what="three refusals"
    )
    held.put_upload_in_place()
    held.let_go_on()
    job = site.wait_for_end(held.id)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
    assert announced.heard() == ["succeeded"]
    wait_until(lambda: site.redis.hlen("unacked") == 0, what="the last acknowledgement")
