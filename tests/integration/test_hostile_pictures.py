"""What a hostile picture can do to a worker: fail its own job, and nothing else."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from support.hostile.case import READ, Case
from support.hostile.corpus import FORMATS, corpus
from support.hostile.deflate import zlib_zeros
from support.hostile.png import RGBA, png
from support.redis_server import running_redis
from support.waits import wait_until
from support.worker_site import WorkerSite
from tbscreen_shared.contracts import JobStatus
from tbscreen_shared.errors import ErrorCode

SMALL_BYTES = 1_000_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_redis(tmp_path) as url:
        site = WorkerSite(tmp_path, url)
        site.publish()
        yield site
        site.close()


def test_a_picture_that_takes_too_much_memory_fails_at_once_and_its_process_goes_on(
    site: WorkerSite, radiograph: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    # Half a megabyte that is decoded to a quarter of a gigabyte.
    large.write_bytes(png(size=(8000, 8000), bits=16, colour=RGBA, pixels=zlib_zeros(489)))
    worker = site.start_worker(TBSCREEN_MAX_IMAGE_MEMORY_MB="64")
    site.wait_for_beat(worker, lambda beat: beat.model is not None)
    children = worker.children()

    job = site.wait_for_end(site.submit(large))

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is ErrorCode.IMAGE_TOO_LARGE
    assert job.attempts == 1
    assert site.wait_for_end(site.submit(radiograph)).status is JobStatus.SUCCEEDED
    assert worker.children() == children
    site.wait_for_beat(worker, lambda beat: beat.jobs_done == 2)


def test_a_worker_outlives_the_corpus_and_answers_after_it(
    site: WorkerSite, radiograph: Path, tmp_path: Path
) -> None:
    worker = site.start_worker(TBSCREEN_WORKER_CONCURRENCY="2")
    wait_until(lambda: len(site.beats_of(worker)) == 2, what="both children")
    children = worker.children()
    submitted: dict[str, Case] = {}
    for case in _small_cases():
        path = tmp_path / "case"
        path.write_bytes(case.make())
        submitted[site.submit(path)] = case

    wrong = {}
    for job_id, case in submitted.items():
        job = site.wait_for_end(job_id, timeout_s=120)
        outcome = str(job.error.code) if job.error else READ
        if outcome not in case.allowed or job.attempts != 1:
            wrong[case.name] = (outcome, job.attempts)

    assert len(submitted) > 300
    assert not wrong
    assert worker.children() == children
    assert site.wait_for_end(site.submit(radiograph)).status is JobStatus.SUCCEEDED


def _small_cases() -> Iterator[Case]:
    """One in six of all: what each of them comes to is the imaging tests' matter."""
    for image_format in FORMATS:
        for case in islice(corpus(image_format), 0, None, 6):
            if len(case.make()) <= SMALL_BYTES:
                yield case
