"""Workers are killed in mid-job: every job is brought to one outcome all the same."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.blob_files import blob_files
from support.redis_server import running_redis, running_redis_server
from support.waits import wait_until
from support.worker_site import WorkerProcesses, WorkerSite
from tbscreen_shared.contracts import JobStatus
from tbscreen_shared.errors import ErrorCode

# As short as the settings allow.
SHORT_VISIBILITY = {"visibility_timeout_s": 14, "task_time_limit_s": 4}
VISIBILITY_TIMEOUT_S = SHORT_VISIBILITY["visibility_timeout_s"]
TASK_TIME_LIMIT_S = 2


@contextmanager
def running_site(directory: Path, **settings: int) -> Iterator[WorkerSite]:
    with running_redis(directory) as url:
        site = WorkerSite(directory, url, **settings)
        site.publish()
        yield site
        site.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_site(tmp_path) as site:
        yield site


@pytest.fixture
def site_with_short_visibility(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_site(tmp_path, **SHORT_VISIBILITY) as site:
        yield site


@pytest.fixture
def site_with_short_time_limit(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_site(tmp_path, task_time_limit_s=TASK_TIME_LIMIT_S) as site:
        yield site


def test_a_killed_childs_job_is_redone_once(site: WorkerSite, radiograph: Path) -> None:
    worker = site.start_ready_worker()
    held = site.submit_held(radiograph)
    announced = site.listen(held.id)
    site.wait_for_start(held.id)
    (child,) = worker.children()

    held.put_upload_in_place()
    os.kill(child, signal.SIGKILL)
    killed_at = time.monotonic()

    job = site.wait_for_end(held.id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.attempts == 2
    # The parent sees the death at once, or at its next round of 5 s: no visibility timeout (30 s).
    assert time.monotonic() - killed_at < 20
    wait_until(lambda: site.redis.hlen("unacked") == 0, what="the delivery's acknowledgement")
    assert site.redis.llen("tbscreen") == 0
    assert announced.heard() == ["succeeded"]


def test_a_killed_workers_job_is_finished_by_another_soon_after_the_visibility_timeout(
    site_with_short_visibility: WorkerSite, radiograph: Path
) -> None:
    site = site_with_short_visibility
    doomed = site.start_ready_worker()
    begun = time.monotonic()
    held = site.submit_held(radiograph)
    announced = site.listen(held.id)
    site.wait_for_start(held.id)
    delivered_at = time.monotonic()
    (child,) = doomed.children()

    held.put_upload_in_place()
    doomed.main.kill()
    doomed.main.wait(10)
    wait_until(lambda: not is_running(child), timeout_s=5, what="the child's end with its parent")
    site.start_ready_worker()

    job = site.wait_for_end(held.id)
    ended = time.monotonic()
    assert job.status is JobStatus.SUCCEEDED
    assert job.attempts == 2
    assert announced.heard() == ["succeeded"]
    # The timeout runs from the delivery; kombu looks every 2 seconds; the rest is this machine's.
    # By default it would be 30 s.
    assert ended - begun > VISIBILITY_TIMEOUT_S - 1
    assert ended - delivered_at < VISIBILITY_TIMEOUT_S + 2 + 10


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_job_that_kills_its_child_every_time_is_given_up(
    site: WorkerSite, radiograph: Path
) -> None:
    worker = site.start_ready_worker()
    poison = site.submit_held(radiograph)
    for attempt in (1, 2, 3):
        site.wait_for_start(poison.id, attempts=attempt)
        os.kill(child_of(worker), signal.SIGKILL)

    job = site.wait_for_end(poison.id)

    assert job.status is JobStatus.FAILED
    assert job.attempts == 3
    assert job.error is not None
    assert job.error.code is ErrorCode.WORKER_LOST
    assert site.redis.zrange("tbscreen:dead", 0, -1) == [poison.id]
    assert site.wait_for_end(site.submit(radiograph)).status is JobStatus.SUCCEEDED
    wait_until(lambda: len(blob_files(site.settings.blobs_dir)) == 1, what="one erasure of two")


def child_of(worker: WorkerProcesses) -> int:
    return wait_until(worker.children, what="a child")[0]


def test_a_job_that_takes_too_long_every_time_is_given_up(
    site_with_short_time_limit: WorkerSite, radiograph: Path
) -> None:
    site = site_with_short_time_limit
    site.start_ready_worker()
    endless = site.submit_held(radiograph)
    behind = site.submit(radiograph)

    job = site.wait_for_end(endless.id)

    assert job.error is not None
    assert job.error.code is ErrorCode.WORKER_LOST
    assert job.attempts == 3
    assert site.wait_for_end(behind).status is JobStatus.SUCCEEDED


def test_a_fault_sends_the_job_back_until_it_is_given_up_and_the_worker_goes_on(
    site: WorkerSite, radiograph: Path
) -> None:
    worker = site.start_ready_worker()

    job = site.wait_for_end(site.submit_unreadable())

    assert job.error is not None
    assert job.error.code is ErrorCode.WORKER_LOST
    assert job.attempts == 3
    assert worker.text().count("screening failed; the job goes back to the queue") == 3
    assert site.wait_for_end(site.submit(radiograph)).status is JobStatus.SUCCEEDED
    wait_until(lambda: site.redis.hlen("unacked") == 0, what="the last acknowledgement")
    assert site.redis.llen("tbscreen") == 0


def test_a_restart_of_redis_in_mid_job_loses_nothing(tmp_path: Path, radiograph: Path) -> None:
    with running_redis_server(tmp_path) as redis:
        site = WorkerSite(tmp_path, redis.url, **SHORT_VISIBILITY)
        site.publish()
        site.start_ready_worker()
        held = site.submit_held(radiograph)
        site.wait_for_start(held.id)
        waiting = [site.submit(radiograph) for _ in range(3)]

        redis.kill()
        time.sleep(1)
        redis.start()
        held.put_upload_in_place()
        held.let_go_on()

        for job_id in [held.id, *waiting]:
            assert site.wait_for_end(job_id, timeout_s=60).status is JobStatus.SUCCEEDED
        site.close()
