"""A real worker on a real Redis: jobs, models, its end, its commands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from support.blob_files import blob_files
from support.redis_server import running_redis
from support.waits import wait_until
from support.worker_site import WorkerSite
from tbscreen_shared.contracts import JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs.keys import RETAINED
from tbscreen_shared.workers import WorkerRegistry


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_redis(tmp_path) as url:
        site = WorkerSite(tmp_path, url)
        yield site
        site.close()


def test_a_radiograph_is_answered(site: WorkerSite, radiograph: Path) -> None:
    site.publish()
    site.start_worker()

    job = site.wait_for_end(site.submit(radiograph))

    assert job.status is JobStatus.SUCCEEDED
    assert job.result is not None
    assert job.result.model.version == "tiny-1"
    assert job.attempts == 1
    wait_until(lambda: not blob_files(site.settings.blobs_dir), what="the upload's erasure")
    assert not site.redis.exists(RETAINED), "nothing is left for the gateway to erase"


def test_where_uploads_are_retained_they_stay_and_it_is_recorded_until_when(
    site: WorkerSite, radiograph: Path, tmp_path: Path
) -> None:
    site.publish()
    site.start_worker(TBSCREEN_RETAIN_UPLOADS_S="600")
    (tmp_path / "note.txt").write_text("not an image")

    job_ids = [site.submit(path) for path in (radiograph, tmp_path / "note.txt")]
    jobs = [site.wait_for_end(job_id) for job_id in job_ids]

    assert [job.status for job in jobs] == [JobStatus.SUCCEEDED, JobStatus.FAILED]
    # What a worker erases is gone before it acknowledges the delivery.
    wait_until(lambda: site.redis.hlen("unacked") == 0, what="the acknowledgements")
    kept_until_ms = {
        site.jobs.blob_of(job.id): (job.finished_at.timestamp() + 600) * 1000
        for job in jobs
        if job.finished_at is not None
    }
    assert {path.name for path in blob_files(site.settings.blobs_dir)} == set(kept_until_ms)
    recorded = dict(site.redis.zrange(RETAINED, 0, -1, withscores=True))
    assert recorded == pytest.approx(kept_until_ms, abs=1)


def test_a_bad_image_fails_with_its_code_and_is_not_tried_again(
    site: WorkerSite, tmp_path: Path
) -> None:
    site.publish()
    site.start_worker()
    (tmp_path / "note.txt").write_text("not an image")

    job = site.wait_for_end(site.submit(tmp_path / "note.txt"))

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is ErrorCode.UNSUPPORTED_MEDIA_TYPE
    assert job.attempts == 1


def test_jobs_accepted_before_the_first_model_wait_for_it(
    site: WorkerSite, radiograph: Path
) -> None:
    worker = site.start_worker()
    job_ids = [site.submit(radiograph) for _ in range(3)]
    site.wait_for_beat(worker, lambda beat: beat.model is None)
    wait_until(lambda: "waits for a model" in worker.text(), what="a delivery given back")
    assert {site.job(job_id).status for job_id in job_ids} == {JobStatus.QUEUED}

    site.publish()

    for job_id in job_ids:
        job = site.wait_for_end(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert job.attempts == 1


def test_a_bundle_is_swapped_under_a_stream_of_jobs_and_none_is_lost(
    site: WorkerSite, radiograph: Path
) -> None:
    site.publish("one")
    worker = site.start_ready_worker()
    job_ids = [site.submit(radiograph) for _ in range(20)]
    site.wait_for_end(job_ids[0])

    site.publish("two")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job_ids.append(site.submit(radiograph))
        job = site.wait_for_end(job_ids[-1])
        if job.result is not None and job.result.model.version == "two":
            break

    jobs = [site.wait_for_end(job_id) for job_id in job_ids]
    assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
    versions = [job.result.model.version for job in jobs if job.result]
    assert versions[0] == "one"
    assert versions[-1] == "two"
    assert versions == sorted(versions), "the old model answered after the new one"
    beat = site.wait_for_beat(worker, lambda beat: beat.jobs_done == len(jobs))
    assert beat.model is not None
    assert beat.model.version == "two"


def test_a_damaged_bundle_is_refused_and_the_old_one_answers(
    site: WorkerSite, radiograph: Path
) -> None:
    site.publish("one")
    worker = site.start_ready_worker()

    known = site.models.load("one").manifest.known_answer.model_dump()
    site.publish("two", known_answer={**known, "logits": [9.9]})
    beat = site.wait_for_beat(worker, lambda beat: beat.rejected_model is not None)

    assert beat.model is not None
    assert beat.model.version == "one"
    assert beat.rejected_model is not None
    assert "known answer" in beat.rejected_model
    job = site.wait_for_end(site.submit(radiograph))
    assert job.result is not None
    assert job.result.model.version == "one"
    assert worker.text().count("model rejected") == 1


def test_sigterm_in_mid_job_finishes_it_and_takes_no_other(
    site: WorkerSite, radiograph: Path
) -> None:
    site.publish()
    worker = site.start_ready_worker()
    held = site.submit_held(radiograph)
    site.wait_for_start(held.id)
    waiting = site.submit(radiograph)

    worker.main.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.text(), what="the shutdown to begin")
    held.put_upload_in_place()
    held.let_go_on()

    assert worker.main.wait(20) == 0
    assert site.job(held.id).status is JobStatus.SUCCEEDED
    assert site.job(held.id).attempts == 1
    assert site.job(waiting).status is JobStatus.QUEUED
    assert WorkerRegistry(site.redis).alive() == []

    site.start_worker()
    assert site.wait_for_end(waiting).status is JobStatus.SUCCEEDED
    assert site.job(waiting).attempts == 1


def test_two_children_work_at_the_same_time(site: WorkerSite, radiograph: Path) -> None:
    site.publish()
    worker = site.start_worker(TBSCREEN_WORKER_CONCURRENCY="2")
    held = site.submit_held(radiograph)
    site.wait_for_start(held.id)

    assert site.wait_for_end(site.submit(radiograph)).status is JobStatus.SUCCEEDED
    assert site.job(held.id).status is JobStatus.STARTED
    wait_until(lambda: len(site.beats_of(worker)) == 2, what="both children's beats")


def test_every_line_about_a_job_carries_its_id_and_none_a_file_name(
    site: WorkerSite, tmp_path: Path
) -> None:
    site.publish()
    worker = site.start_worker()
    path = tmp_path / "doe-jane.png"
    Image.effect_noise((300, 300), 50).save(path)

    job_id = site.submit(path)
    site.wait_for_end(job_id)
    wait_until(lambda: "job finished" in worker.text(), what="the line")

    (line,) = [line for line in worker.log() if line["event"] == "job finished"]
    assert line["job_id"] == job_id
    assert line["service"] == "worker"
    assert "doe-jane" not in worker.text()


def test_the_healthcheck_tells_whether_this_hosts_worker_lives(site: WorkerSite) -> None:
    def check() -> int:
        return subprocess.run(
            [sys.executable, "-m", "tbscreen_worker.healthcheck"],
            env=site.environment,
            cwd=site.directory,
            check=False,
        ).returncode

    assert check() == 1

    site.publish()
    site.start_ready_worker()
    assert check() == 0

    site.environment["REDIS_URL"] = "redis://127.0.0.1:1/0"
    assert check() == 1


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tbscreen_worker"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode != 0
    assert "REDIS_URL" in ended.stderr


def test_a_worker_without_the_upload_volume_leaves_jobs_to_others(
    site: WorkerSite, radiograph: Path
) -> None:
    site.publish()
    lost = site.start_worker(TBSCREEN_BLOBS_DIR=str(site.directory / "elsewhere"))
    job_id = site.submit(radiograph)
    wait_until(lambda: "the job waits for the upload volume" in lost.text(), what="the warning")
    assert (site.job(job_id).status, site.job(job_id).attempts) == (JobStatus.QUEUED, 0)

    lost.main.terminate()
    lost.main.wait(20)
    site.start_ready_worker()

    assert site.wait_for_end(job_id).status is JobStatus.SUCCEEDED
    assert site.job(job_id).attempts == 1
