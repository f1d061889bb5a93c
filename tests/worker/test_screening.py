from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from support.redis_server import running_redis
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.blobs import BlobStore, BlobStoreMissingError
from tbscreen_shared.contracts import ImageFormat, Job, JobStatus, Warning
from tbscreen_shared.errors import BlobError, ErrorCode
from tbscreen_shared.imaging import ImageLimits
from tbscreen_shared.input_check import InputCheck
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.queue import connect_redis
from tbscreen_worker.leases import JobLeases
from tbscreen_worker.models import NoModelError
from tbscreen_worker.predictor import Predictor
from tbscreen_worker.screening import Screening


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        client = connect_redis(url)
        yield client
        client.close()


class Bench:
    """Screening with a real Redis and real files, and a fake model."""

    def __init__(
        self, redis: Redis, directory: Path, predictor: Predictor, *, retain_uploads_s: int = 0
    ) -> None:
        redis.flushdb()
        self.jobs = JobStore(
            redis, result_ttl_s=60, max_attempts=3, retain_uploads_s=retain_uploads_s
        )
        self.blobs = BlobStore(directory / "blobs")
        self.screening = Screening(
            self.jobs,
            JobLeases(self.jobs, "bench"),
            self.blobs,
            lambda timeout_s: predictor,
            limits=ImageLimits(max_pixels=1_000_000),
            retains=retain_uploads_s > 0,
        )

    def accept(self, content: bytes, job_id: str = "job") -> str:
        with self.blobs.open_writer() as writer:
            writer.write(content)
            blob = writer.commit()
        self.jobs.create(NewJob(job_id, blob, "ab" * 32, ImageFormat.PNG))
        return blob

    def job(self, job_id: str = "job") -> Job:
        job = self.jobs.get(job_id)
        assert job is not None
        return job

    def holds(self, blob: str) -> bool:
        return self.blobs.path(blob).exists()


@pytest.fixture
def bench(redis: Redis, tmp_path: Path, fake_predictor: Predictor) -> Bench:
    return Bench(redis, tmp_path, fake_predictor)


@pytest.fixture
def radiograph(tmp_path: Path) -> bytes:
    path = tmp_path / "image.png"
    Image.effect_noise((400, 300), 60).save(path)
    return path.read_bytes()


def test_a_radiograph_is_answered_and_its_upload_erased(bench: Bench, radiograph: bytes) -> None:
    blob = bench.accept(radiograph)

    bench.screening.screen("job")

    job = bench.job()
    assert job.status is JobStatus.SUCCEEDED
    assert job.attempts == 1
    assert not bench.holds(blob)
    assert bench.screening.jobs_done == 1
    result = job.result
    assert result is not None
    assert result.prediction == "TB Positive"
    assert result.probability == pytest.approx(0.8808, abs=1e-4)
    assert result.score == pytest.approx(88.08, abs=1e-2)
    assert result.activation_map == [[1.0] * 4] * 4
    assert result.model.version == "tiny-1"
    assert result.preprocessing == "2"
    assert (result.input.width, result.input.height) == (400, 300)
    assert result.input.format is ImageFormat.PNG
    assert result.input.sha256 == "ab" * 32
    assert result.warnings == []


def test_a_retained_upload_stays_also_when_its_delivery_comes_again(
    redis: Redis, tmp_path: Path, fake_predictor: Predictor, radiograph: bytes
) -> None:
    bench = Bench(redis, tmp_path, fake_predictor, retain_uploads_s=1000)
    answered, damaged = bench.accept(radiograph), bench.accept(radiograph[:500], "damaged")

    for _ in range(2):
        bench.screening.screen("job")
        bench.screening.screen("damaged")

    assert bench.job().status is JobStatus.SUCCEEDED
    assert bench.job("damaged").status is JobStatus.FAILED
    assert bench.jobs.needed_blobs() == {answered, damaged}
    assert bench.holds(answered) and bench.holds(damaged)


def test_the_model_sees_the_radiograph_at_its_own_size(
    bench: Bench, radiograph: bytes, fake_predictor: Predictor
) -> None:
    bench.accept(radiograph)

    bench.screening.screen("job")

    (image,) = fake_predictor.seen  # type: ignore[attr-defined]
    assert image.shape == (16, 16, 1)
    assert image.dtype == np.uint8


def test_what_is_no_chest_radiograph_gets_no_prediction(
    bench: Bench, tmp_path: Path, fake_predictor: Predictor, input_check: InputCheck
) -> None:
    fake_predictor.input_check = input_check  # type: ignore[attr-defined]
    Image.new("L", (400, 300), 120).save(tmp_path / "blank.png")
    blob = bench.accept((tmp_path / "blank.png").read_bytes())

    bench.screening.screen("job")

    job = bench.job()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is ErrorCode.NOT_A_CHEST_RADIOGRAPH
    assert "frontal chest radiograph" in job.error.message
    assert job.result is None
    assert not fake_predictor.seen  # type: ignore[attr-defined]
    assert not bench.holds(blob)


def test_the_model_sees_the_negative_of_an_inverted_radiograph(
    bench: Bench, tmp_path: Path, fake_predictor: Predictor, input_check: InputCheck
) -> None:
    fake_predictor.input_check = input_check  # type: ignore[attr-defined]
    picture = Image.new("L", (400, 300), 255)
    picture.paste(0, (0, 0, 400, 150))
    picture.save(tmp_path / "inverted.png")
    bench.accept((tmp_path / "inverted.png").read_bytes())

    bench.screening.screen("job")

    result = bench.job().result
    assert result is not None
    assert result.warnings == [Warning.INVERTED]
    (image,) = fake_predictor.seen  # type: ignore[attr-defined]
    assert image[0, 0] == 255
    assert image[-1, -1] == 0


def test_the_timings_count_from_acceptance(bench: Bench, radiograph: bytes, redis: Redis) -> None:
    bench.accept(radiograph)
    redis.hincrby("tbscreen:job:job", "created_at", -1500)

    bench.screening.screen("job")

    job = bench.job()
    assert job.result is not None
    assert job.started_at is not None
    timings = job.result.timings_ms
    assert timings.queue == (job.started_at - job.created_at) / timedelta(milliseconds=1)
    assert 1500 <= timings.queue < 11_500
    assert timings.decode > 0
    assert timings.total >= timings.queue + timings.decode + timings.inference


def test_what_a_reader_must_know_stands_in_the_answer(bench: Bench, tmp_path: Path) -> None:
    Image.effect_noise((500, 100), 60).save(tmp_path / "strip.png")
    bench.accept((tmp_path / "strip.png").read_bytes())

    bench.screening.screen("job")

    result = bench.job().result
    assert result is not None
    assert result.warnings == [Warning.LOW_RESOLUTION, Warning.UNUSUAL_ASPECT]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", ErrorCode.EMPTY_UPLOAD),
        (b"%PDF-1.7", ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), ErrorCode.UNREADABLE_IMAGE),
    ],
)
def test_a_bad_image_is_an_outcome_and_no_fault(
    content: bytes, code: ErrorCode, bench: Bench
) -> None:
    blob = bench.accept(content)

    bench.screening.screen("job")

    job = bench.job()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is code
    assert not bench.holds(blob)


def test_the_pixel_limit_of_the_settings_holds(bench: Bench, tmp_path: Path) -> None:
    Image.new("L", (1001, 1000)).save(tmp_path / "large.png")
    bench.accept((tmp_path / "large.png").read_bytes())

    bench.screening.screen("job")

    error = bench.job().error
    assert error is not None
    assert error.code is ErrorCode.IMAGE_TOO_LARGE


def test_a_lost_upload_fails_the_job_at_once(bench: Bench, radiograph: bytes) -> None:
    bench.blobs.erase(bench.accept(radiograph))

    bench.screening.screen("job")

    job = bench.job()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is ErrorCode.INTERNAL_ERROR
    assert "upload is gone" in job.error.message


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
    volume = bench.blobs.path(blob).parent
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
    path = bench.blobs.path(blob)
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
