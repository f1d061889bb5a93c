import asyncio
import hashlib
import uuid
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.blob_files import blob_files
from support.fake_worker import FakeWorker, a_result
from support.gateway_app import JPEG, PNG, as_form, running_gateway
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.contracts import JobError
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import JobStore


async def submit(
    client: httpx.AsyncClient, data: bytes = PNG, *, key: str | None = None
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/jobs", files=as_form(data), headers=headers)


async def test_a_submission_is_recorded_stored_and_enqueued_before_its_202(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    answer = await submit(client)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert uuid.UUID(job["id"]).version == 7
    assert (job["status"], job["queue_position"], job["attempts"]) == ("queued", 1, 0)
    assert int(answer.headers["retry-after"]) >= 1
    assert worker.take() == job["id"]
    assert (blobs_dir / (jobs.blob_of(job["id"]) or "")).read_bytes() == PNG


async def test_a_finished_job_answers_with_its_result_and_no_retry_after(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    job_id = (await submit(client)).json()["id"]
    worker.finish(worker.take() or "")
    answer = await client.get(f"/v1/jobs/{job_id}")
    job = answer.json()
    assert (answer.status_code, job["status"]) == (200, "succeeded")
    assert job["result"]["prediction"] == "TB Positive"
    assert job["result"]["input"]["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert "retry-after" not in answer.headers


async def test_an_unchanged_job_is_304_and_a_changed_one_is_not(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    path = (await submit(client)).headers["location"]
    etag = (await client.get(path)).headers["etag"]
    unchanged = await client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == etag
    worker.finish(worker.take() or "")
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 200


@pytest.mark.parametrize("job_id", [str(uuid.uuid4()), "nonsense", "%2e%2e", "A" * 36])
async def test_an_unknown_id_is_job_not_found(client: httpx.AsyncClient, job_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/heatmap.png")):
        answer = await client.request(method, f"/v1/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_a_waiting_submission_that_finishes_is_200_with_its_location(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    posted = asyncio.create_task(client.post("/v1/jobs?wait=10", files=as_form(PNG)))
    job_id = await asyncio.to_thread(worker.take)
    await asyncio.to_thread(worker.finish, job_id or "")
    answer = await posted
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    assert "preference-applied" not in answer.headers


async def test_a_waiting_submission_that_does_not_finish_is_202(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/jobs", files=as_form(PNG), headers={"Prefer": "respond-async, wait=1"}
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize("wait", ["-1", "nan", "soon"])
async def test_a_wait_that_is_no_time_is_refused(client: httpx.AsyncClient, wait: str) -> None:
    answer = await client.get(f"/v1/jobs/{uuid.uuid4()}?wait={wait}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["location"] == "query.wait"


async def test_deleting_an_unfinished_job_cancels_it_and_erases_its_upload(
    client: httpx.AsyncClient, worker: FakeWorker, blobs_dir: Path
) -> None:
    path = (await submit(client)).headers["location"]
    answer = await client.delete(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert blob_files(blobs_dir) == []
    assert not worker.finish(worker.take() or "")
    assert (await client.get(path)).json()["status"] == "canceled"


async def test_a_job_that_is_unknown_erased_or_expired_has_one_and_the_same_answer(
    client: httpx.AsyncClient, worker: FakeWorker, redis: Redis
) -> None:
    erased, expired = [(await submit(client, data)).headers["location"] for data in (PNG, JPEG)]
    for _ in range(2):
        worker.finish(worker.take() or "")
    await client.delete(erased)
    (record,) = [key for key in redis.scan_iter() if key.endswith(expired.rpartition("/")[2])][:1]
    redis.pexpire(record, 1)
    await asyncio.sleep(0.05)

    async def answer_of(path: str) -> tuple[int, dict[str, object]]:
        answer = await client.get(path)
        return answer.status_code, {**answer.json(), "instance": "", "request_id": ""}

    unknown = await answer_of(f"/v1/jobs/{uuid.uuid4()}")
    assert unknown[0] == 404
    for path in (erased, expired, "/v1/jobs/none"):
        assert await answer_of(path) == unknown


async def test_deleting_a_finished_job_erases_it(
    client: httpx.AsyncClient, worker: FakeWorker, blobs_dir: Path
) -> None:
    path = (await submit(client)).headers["location"]
    worker.finish(worker.take() or "")
    answer = await client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert blob_files(blobs_dir) == []
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404


async def test_a_heatmap_is_a_picture_of_the_result_and_is_asked_for_each_time(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    path = (await submit(client)).headers["location"] + "/heatmap.png"
    worker.finish(worker.take() or "")
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")
    assert answer.headers["cache-control"] == "private, no-cache"
    again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_a_job_without_a_result_has_no_heatmap(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    error = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="damaged")
    failing = FakeWorker(redis, lambda _: error)
    path = (await submit(client)).headers["location"] + "/heatmap.png"
    assert (await client.get(path)).json()["code"] == "heatmap_not_available"
    failing.finish(failing.take() or "")
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "heatmap_not_available")


async def test_an_idempotency_key_makes_one_job_of_the_same_bytes(
    client: httpx.AsyncClient, blobs_dir: Path, jobs: JobStore
) -> None:
    first = await submit(client, key="k1")
    again = await submit(client, key="k1")
    assert again.status_code == 202
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(blob_files(blobs_dir)) == 1
    assert jobs.queue_length() == 1


async def test_an_idempotency_key_with_other_bytes_is_a_conflict(
    client: httpx.AsyncClient, blobs_dir: Path
) -> None:
    await submit(client, PNG, key="k1")
    answer = await submit(client, JPEG, key="k1")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert len(blob_files(blobs_dir)) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "two words"])
async def test_an_idempotency_key_out_of_bounds_is_refused(
    client: httpx.AsyncClient, key: str
) -> None:
    answer = await submit(client, key=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "empty_upload"),
        (b"%PDF-1.7" + bytes(200), 415, "unsupported_media_type"),
        (b"GIF89a", 415, "unsupported_media_type"),
        (PNG + bytes(100_000), 413, "file_too_large"),
        (PNG + bytes(1_000_000), 413, "file_too_large"),
    ],
)
async def test_a_file_that_can_not_be_taken_is_refused_and_not_kept(
    client: httpx.AsyncClient, blobs_dir: Path, data: bytes, status: int, code: str
) -> None:
    answer = await submit(client, data)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert blob_files(blobs_dir) == []


async def test_a_job_that_failed_says_why(client: httpx.AsyncClient, redis: Redis) -> None:
    error = JobError(code=ErrorCode.NOT_A_CHEST_RADIOGRAPH, message="looks like a photo")
    failing = FakeWorker(redis, lambda _: error)
    path = (await submit(client)).headers["location"]
    failing.finish(failing.take() or "")
    job = (await client.get(path)).json()
    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"] == {"code": "not_a_chest_radiograph", "message": "looks like a photo"}


async def test_the_result_keeps_the_warnings_of_the_worker(
    client: httpx.AsyncClient, redis: Redis, settings: GatewaySettings
) -> None:
    result = a_result(0.2, prediction="Normal")
    fake = FakeWorker(redis, lambda _: result)
    path = (await submit(client)).headers["location"]
    fake.finish(fake.take() or "")
    assert (await client.get(path)).json()["result"] == result.model_dump(mode="json")


async def test_an_upload_that_announces_more_than_there_is_room_for_is_refused(
    settings: GatewaySettings, blobs_dir: Path
) -> None:
    narrow = settings.model_copy(update={"max_stored_bytes": 5000})
    async with running_gateway(narrow) as client:
        assert (await submit(client)).status_code == 202
        refused = await submit(client, PNG + bytes(5000))
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert len(blob_files(blobs_dir)) == 1


async def test_a_repeat_whose_job_is_erased_meanwhile_is_told_so(
    client: httpx.AsyncClient, jobs: JobStore
) -> None:
    job_id = (await submit(client, key="k")).json()["id"]
    repeated = asyncio.create_task(
        client.post(
            "/v1/jobs", params={"wait": 9}, files=as_form(PNG), headers={"Idempotency-Key": "k"}
        )
    )
    async with asyncio.timeout(10):
        while "tbscreen_uploads_replayed_total 1.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    for _ in range(2):
        jobs.cancel(job_id)
    answer = await repeated
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_canceling_can_be_repeated_and_leaves_what_has_a_result(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    path = (await submit(client)).headers["location"]
    for _ in range(2):
        answer = await client.delete(path, params={"only": "unfinished"})
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    worker.take()
    path = (await submit(client)).headers["location"]
    worker.finish(worker.take() or "")
    answer = await client.delete(path, params={"only": "unfinished"})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_finished")
    assert (await client.get(path)).json()["status"] == "succeeded"
    assert (await client.delete(path, params={"only": "x"})).status_code == 422
