"""What needs the upload volume says so in a documented way while it fails."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from support.gateway_app import PNG, as_form
from tbscreen_shared.blob_writing import BlobWriter, Spool
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.errors import BlobError, ErrorCode
from tbscreen_shared.jobs import JobStore, NewJob


@contextmanager
def failing(volume: Path) -> Iterator[None]:
    """Everything on the volume fails with ENOTDIR within the block."""
    aside = volume.with_name("aside")
    volume.rename(aside)
    volume.touch()
    try:
        yield
    finally:
        volume.unlink()
        aside.rename(volume)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/jobs", "/v1/jobs"),
        ("/v1/batches", "/v1/batches"),
        ("/predict", "/predict"),
        ("/v1/jobs/dead/retry", "/v1/jobs/{job_id}/retry"),
    ],
)
async def test_a_failing_volume_is_told_and_to_come_again(
    client: httpx.AsyncClient,
    jobs: JobStore,
    blobs_dir: Path,
    caplog: pytest.LogCaptureFixture,
    path: str,
    template: str,
) -> None:
    dead = "0199e0a4-7c1e-7d52-9a53-0f2a5e6b8c11"
    jobs.create(NewJob(dead, "b" * 32, "a" * 64, ImageFormat.PNG))
    for _ in range(4):
        jobs.claim(dead, worker="w")
    with failing(blobs_dir):
        answer = await client.post(path.replace("dead", dead), files=as_form(PNG))
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "directory" not in answer.json()["detail"]
    told = " ".join(getattr(record, "error", "") for record in caplog.records)
    assert "Not a directory" in told
    document = (await client.get("/openapi.json")).json()
    documented = document["paths"][template]["post"]["responses"]["503"]["content"]
    assert "storage_unavailable" in documented["application/problem+json"]["examples"]


async def test_a_job_is_canceled_and_erased_though_its_upload_can_not_be(
    client: httpx.AsyncClient, blobs_dir: Path
) -> None:
    job_id = (await client.post("/v1/jobs", files=as_form(PNG))).json()["id"]
    with failing(blobs_dir):
        canceled = await client.delete(f"/v1/jobs/{job_id}")
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
        assert (await client.delete(f"/v1/jobs/{job_id}")).status_code == 204


async def test_a_repeat_is_answered_though_its_upload_can_not_be_erased(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(store: BlobStore, key: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    headers = {"Idempotency-Key": "k"}
    first = await client.post("/v1/jobs", files=as_form(PNG), headers=headers)
    monkeypatch.setattr(BlobStore, "erase", refuse)
    again = await client.post("/v1/jobs", files=as_form(PNG), headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


@pytest.mark.parametrize("begin", [BlobStore.open_writer, BlobStore.open_spool])
def test_a_volume_that_fails_in_mid_upload_is_no_other_error(
    begin: Callable[[BlobStore], BlobWriter | Spool], tmp_path: Path
) -> None:
    volume = tmp_path / "blobs"
    store = BlobStore(volume)
    with ExitStack() as at_end, pytest.raises(BlobError) as caught, begin(store) as begun:
        begun.write(b"x")
        at_end.enter_context(failing(volume))
    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
