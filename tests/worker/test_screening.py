"""What becomes of a radiograph, and what is told of it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from support.screening_bench import Bench
from tbscreen_shared.contracts import ImageFormat, JobStatus, Warning
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.input_check import InputCheck
from tbscreen_worker.predictor import Predictor


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
