"""Deliveries that come twice, too often, too late, or to a worker that can not work."""

from pathlib import Path

import pytest
from redis import Redis

from support.interning import watch_interning
from support.screening_bench import Bench
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.blobs import BlobStoreMissingError
from tbscreen_shared.contracts import JobStatus
from tbscreen_shared.errors import BlobError, ErrorCode
from tbscreen_shared.imaging import ImageLimits
from tbscreen_worker.leases import JobLeases
from tbscreen_worker.models import NoModelError
from tbscreen_worker.predictor import Predictor
from tbscreen_worker.screening import Screening


def test_a_canceled_job_is_not_screened_and_its_upload_erased(
    bench: Bench, radiograph: bytes, fake_predictor: Predictor
) -> None:
    blob = bench.accept(radiograph)
    bench.jobs.cancel("job")

    bench.screening.screen("job")

    assert bench.job().status is JobStatus.CANCELED
    assert not fake_predictor.seen  # type: ignore[attr-defined]
    assert not bench.holds(blob)


def test_a_job_canceled_while_it_runs_stays_canceled(
    bench: Bench, radiograph: bytes, fake_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = bench.accept(radiograph)
    predict = fake_predictor.predict

    def cancel_then_predict(image: object) -> object:
        bench.jobs.cancel("job")
        return predict(image)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_predictor, "predict", cancel_then_predict)
    bench.screening.screen("job")

    assert bench.job().status is JobStatus.CANCELED
    assert bench.job().result is None
    assert not bench.holds(blob)


def test_a_second_delivery_of_a_finished_job_changes_nothing(
    bench: Bench, radiograph: bytes
) -> None:
    bench.accept(radiograph)
    bench.screening.screen("job")
    first = bench.job()

    bench.screening.screen("job")

    assert bench.job() == first
    assert bench.screening.jobs_done == 1


def test_a_delivery_of_an_unknown_job_is_let_go(bench: Bench) -> None:
    bench.screening.screen("never-created")

    assert bench.jobs.get("never-created") is None


def test_a_fault_leaves_the_job_and_its_upload_for_the_next_delivery(
    bench: Bench,
    radiograph: bytes,
    fake_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blob = bench.accept(radiograph)
    with monkeypatch.context() as broken:
        broken.setattr(fake_predictor, "predict", lambda image: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.screening.screen("job")
    assert bench.job().status is JobStatus.STARTED
    assert bench.holds(blob)

    bench.screening.screen("job")

    assert bench.job().status is JobStatus.SUCCEEDED
    assert bench.job().attempts == 2


def test_a_job_delivered_too_often_is_given_up_and_its_upload_kept(
    bench: Bench,
    radiograph: bytes,
    fake_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    redis: Redis,
) -> None:
    blob = bench.accept(radiograph)
    monkeypatch.setattr(fake_predictor, "predict", lambda image: 1 / 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            bench.screening.screen("job")

    bench.screening.screen("job")

    job = bench.job()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is ErrorCode.WORKER_LOST
    assert redis.zrange("tbscreen:dead", 0, -1) == ["job"]
    assert bench.holds(blob), "whoever looks into it needs the upload"


def test_a_run_that_ends_after_its_job_was_given_up_leaves_the_upload(
    bench: Bench, radiograph: bytes, fake_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = bench.accept(radiograph)
    predict = fake_predictor.predict

    def lose_the_lease_then_predict(image: object) -> object:
        for _ in range(3):
            bench.jobs.claim("job", worker="other", lost_worker="bench")
            bench.jobs.release("job", worker="other")
        return predict(image)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_predictor, "predict", lose_the_lease_then_predict)
    bench.screening.screen("job")

    assert bench.job().status is JobStatus.FAILED
    assert bench.holds(blob), "whoever looks into it needs the upload"


def test_without_a_model_the_job_is_not_claimed(
    bench: Bench, radiograph: bytes, tmp_path: Path
) -> None:
    blob = bench.accept(radiograph)

    def wait_in_vain(timeout_s: float) -> Predictor:
        raise NoModelError("no model has been published yet")

    screening = Screening(
        bench.jobs, JobLeases(bench.jobs, "w"), bench.blobs, wait_in_vain, limits=ImageLimits()
    )
    with pytest.raises(NoModelError):
        screening.screen("job")

    assert bench.job().status is JobStatus.QUEUED
    assert bench.job().attempts == 0
    assert bench.holds(blob)


def test_without_the_upload_volume_no_job_is_claimed(bench: Bench, radiograph: bytes) -> None:
    blob = bench.accept(radiograph)
    volume = Path(bench.blobs.path(blob)).parent
    volume.rename(volume.with_name("elsewhere"))

    with pytest.raises(BlobStoreMissingError):
        bench.screening.screen("job")
    assert (bench.job().status, bench.job().attempts) == (JobStatus.QUEUED, 0)

    volume.with_name("elsewhere").rename(volume)
    bench.screening.screen("job")
    assert bench.job().status is JobStatus.SUCCEEDED


def test_a_volume_that_fails_costs_no_delivery_and_a_file_that_does_alone_is_given_up(
    bench: Bench, radiograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = bench.accept(radiograph)
    path = Path(bench.blobs.path(blob))
    path.unlink()
    path.mkdir()  # so that opening it fails, as root's too

    def fail(_: BlobWriter) -> str:
        raise BlobError(ErrorCode.INTERNAL_ERROR, "the upload volume failed: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(BlobWriter, "commit", fail)
        for _ in range(5):
            with pytest.raises(BlobStoreMissingError, match="Input/output error"):
                bench.screening.screen("job")
    assert (bench.job().status, bench.job().attempts) == (JobStatus.STARTED, 0)

    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            bench.screening.screen("job")
    bench.screening.screen("job")
    assert bench.job().status is JobStatus.FAILED
    assert len(list(path.parent.iterdir())) == 2, "the mark and the one, no probe"


def test_an_uploads_name_is_not_interned(
    bench: Bench, radiograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = bench.accept(radiograph)
    interned = watch_interning(monkeypatch)
    bench.screening.screen("job")
    assert bench.job().status is JobStatus.SUCCEEDED
    assert [name for name in interned if blob in name] == []
