import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from support.waits import wait_until
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import ClaimOutcome, JobStore, NewJob
from tbscreen_shared.workers import host_prefix, new_worker_name
from tbscreen_worker.leases import JobLeases


@pytest.fixture
def jobs(redis: Redis) -> JobStore:
    redis.flushdb()
    store = JobStore(redis, result_ttl_s=60, max_attempts=3)
    store.create(NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG))
    return store


@pytest.fixture
def leases(jobs: JobStore) -> Iterator[JobLeases]:
    leases = JobLeases(jobs, new_worker_name())
    leases.start()
    yield leases
    leases.stop()


def test_a_job_stays_leased_for_as_long_as_it_is_in_hand(
    leases: JobLeases, redis: Redis, jobs: JobStore
) -> None:
    with leases.claiming("1") as claim:
        assert claim.outcome is ClaimOutcome.CLAIMED
        begun = time.monotonic()
        while time.monotonic() - begun < 6.5:
            assert int(redis.ttl("tbscreen:lease:1")) >= 1
            time.sleep(0.2)
    # Put down without an outcome, it lapses.
    time.sleep(5.2)
    assert jobs.abandoned(limit=1) == ["1"]


def test_a_block_that_raises_gives_the_job_back_at_once(leases: JobLeases, jobs: JobStore) -> None:
    with pytest.raises(OSError, match="broken"), leases.claiming("1"):
        raise OSError("broken")
    assert jobs.abandoned(limit=1) == ["1"]


def test_a_job_in_living_hands_is_left_there(leases: JobLeases, jobs: JobStore) -> None:
    jobs.claim("1", worker=f"{host_prefix()}{os.getpid()}-other")
    with leases.claiming("1") as claim:
        assert claim.outcome is ClaimOutcome.HELD
    jobs.release("1", worker=f"{host_prefix()}{os.getpid()}-other")
    jobs.claim("1", worker="another-host/1-0")
    with leases.claiming("1") as claim:
        assert claim.outcome is ClaimOutcome.HELD


def test_a_dead_process_of_this_host_holds_nothing(leases: JobLeases, jobs: JobStore) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    jobs.claim("1", worker=f"{host_prefix()}{dead.pid}-0")
    with leases.claiming("1") as claim:
        assert (claim.outcome, claim.attempt) == (ClaimOutcome.CLAIMED, 2)


class OutOfMemoryOnce(JobStore):
    """Has no memory for the first renewal."""

    refused = False

    def renew(self, job_id: str, *, worker: str) -> bool:
        if not self.refused:
            self.refused = True
            raise MemoryError
        return super().renew(job_id, worker=worker)


def test_a_process_out_of_memory_renews_again_when_it_has_some(redis: Redis) -> None:
    redis.flushdb()
    jobs = OutOfMemoryOnce(redis, result_ttl_s=60, max_attempts=3)
    jobs.create(NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG))
    leases = JobLeases(jobs, new_worker_name())
    leases.start()
    with leases.claiming("1"):
        redis.expire("tbscreen:lease:1", 3)
        wait_until(lambda: int(redis.ttl("tbscreen:lease:1")) > 3, timeout_s=10, what="a renewal")
        assert jobs.refused
    leases.stop()
