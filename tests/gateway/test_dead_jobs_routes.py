import asyncio
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.blob_files import blob_files
from support.fake_worker import FakeWorker
from support.gateway_app import PNG, as_form, running_gateway
from tbscreen_gateway.admission import Admission
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.task_queue import CeleryTaskQueue, TaskNotSentError
from tbscreen_shared.jobs import JobStore


async def submit(client: httpx.AsyncClient, worker: FakeWorker, data: bytes = PNG) -> str:
    job_id: str = (await client.post("/v1/jobs", files=as_form(data))).json()["id"]
    assert worker.take() == job_id
    return job_id


async def submit_dead(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, data: bytes = PNG
) -> str:
    """A job whose workers were lost each time."""
    job_id = await submit(client, worker, data)
    for number in range(4):
        jobs.claim(job_id, worker=f"lost-{number}", lost_worker=f"lost-{number - 1}")
    return job_id


async def test_a_dead_job_is_listed_with_why_and_its_radiograph_is_kept(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    assert (await client.get("/v1/dead-jobs")).json() == {
        "jobs": [],
        "total": 0,
        "next_cursor": None,
    }
    job_id = await submit_dead(client, worker, jobs)
    (job,) = (await client.get("/v1/dead-jobs")).json()["jobs"]
    assert job == (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (job["status"], job["error"]["code"], job["attempts"]) == ("failed", "worker_lost", 3)
    assert len(blob_files(blobs_dir)) == 1
    assert (await client.get("/health")).json()["dead_jobs"] == 1
    assert "tbscreen_dead_jobs 1.0" in (await client.get("/metrics")).text


async def test_the_list_comes_in_pages(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore
) -> None:
    made = [await submit_dead(client, worker, jobs) for _ in range(3)]
    answer = await client.get("/v1/dead-jobs?limit=2")
    first = answer.json()
    assert [job["id"] for job in first["jobs"]] == [made[2], made[1]]
    assert first["total"] == 3
    by_cursor = await client.get(
        "/v1/dead-jobs", params={"limit": 2, "cursor": first["next_cursor"]}
    )
    by_link = await client.get(answer.links["next"]["url"])
    for rest in (by_cursor, by_link):
        assert [job["id"] for job in rest.json()["jobs"]] == [made[0]]
        assert rest.json()["next_cursor"] is None
        assert "link" not in rest.headers


async def test_the_link_keeps_the_limit_that_was_asked_for(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore
) -> None:
    made = [await submit_dead(client, worker, jobs) for _ in range(3)]
    listed, url = [], "/v1/dead-jobs?limit=1"
    while url:
        page = await client.get(url)
        listed.append([job["id"] for job in page.json()["jobs"]])
        url = page.links.get("next", {}).get("url", "")
    assert listed == [[made[2]], [made[1]], [made[0]]]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", f"cursor={'1' * 65}"])
async def test_a_wrong_page_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/v1/dead-jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_retry_is_read_as_a_new_job_and_erases_its_own_upload_alone(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    old = await submit_dead(client, worker, jobs)
    (old_blob,) = blob_files(blobs_dir)
    answer = await client.post(f"/v1/jobs/{old}/retry")
    new = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
    assert (new["retry_of"], new["status"], new["attempts"]) == (old, "queued", 0)
    (blob,) = blob_files(blobs_dir)
    assert blob != old_blob and blob.read_bytes() == PNG
    assert worker.take() == new["id"]
    assert worker.finish(new["id"])
    assert (await client.get(f"/v1/jobs/{new['id']}")).json()["status"] == "succeeded"
    assert (await client.get(f"/v1/jobs/{old}")).json()["error"]["code"] == "worker_lost"
    assert (await client.get("/v1/dead-jobs")).json()["total"] == 0


async def test_a_repeated_retry_answers_with_the_same_job(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    old = await submit_dead(client, worker, jobs)
    answers = await asyncio.gather(*(client.post(f"/v1/jobs/{old}/retry") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    (new,) = {answer.json()["id"] for answer in answers}
    assert worker.take() == new
    assert worker.take(timeout_s=0.2) is None
    assert len(blob_files(blobs_dir)) == 1
    worker.finish(new)
    assert (await client.post(f"/v1/jobs/{old}/retry")).status_code == 200
    await client.delete(f"/v1/jobs/{new}")
    answer = await client.post(f"/v1/jobs/{old}/retry")
    assert (answer.status_code, answer.json()["code"]) == (410, "upload_gone")


async def test_only_a_dead_job_can_be_retried(
    client: httpx.AsyncClient, worker: FakeWorker, blobs_dir: Path
) -> None:
    job_id = await submit(client, worker)
    for _ in range(2):
        answer = await client.post(f"/v1/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_not_dead")
        worker.finish(job_id)
    unknown = await client.post("/v1/jobs/00000000-0000-7000-8000-000000000000/retry")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job_not_found")
    assert len(blob_files(blobs_dir)) == 1


async def test_a_dead_job_whose_radiograph_is_gone_says_so(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    job_id = await submit_dead(client, worker, jobs)
    (blob,) = blob_files(blobs_dir)
    blob.unlink()
    answer = await client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (410, "upload_gone")


async def test_erasing_a_dead_job_takes_record_and_radiograph(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    job_id = await submit_dead(client, worker, jobs)
    assert (await client.delete(f"/v1/jobs/{job_id}")).status_code == 204
    assert blob_files(blobs_dir) == []
    assert (await client.get("/v1/dead-jobs")).json()["total"] == 0
    assert (await client.post(f"/v1/jobs/{job_id}/retry")).status_code == 404


async def test_erasing_a_dead_job_that_was_retried_leaves_the_retry_its_radiograph(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    old = await submit_dead(client, worker, jobs)
    await client.post(f"/v1/jobs/{old}/retry")
    assert (await client.delete(f"/v1/jobs/{old}")).status_code == 204
    assert len(blob_files(blobs_dir)) == 1


async def test_a_retry_whose_task_can_not_be_sent_is_kept_for_the_reconciler(
    settings: GatewaySettings,
    worker: FakeWorker,
    jobs: JobStore,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise TaskNotSentError("not now")

    soon = settings.model_copy(update={"visibility_timeout_s": 1})
    async with running_gateway(soon) as client:
        old = await submit_dead(client, worker, jobs)
        with monkeypatch.context() as broken:
            broken.setattr(CeleryTaskQueue, "send", refuse)
            answer = await client.post(f"/v1/jobs/{old}/retry")
        assert answer.status_code == 202
        assert await asyncio.to_thread(worker.take, 10) == answer.json()["id"]


async def test_a_retry_is_refused_while_the_queue_is_full(
    settings: GatewaySettings, worker: FakeWorker, jobs: JobStore
) -> None:
    full = settings.model_copy(update={"max_queue_length": 1})
    async with running_gateway(full) as client:
        old = await submit_dead(client, worker, jobs)
        await client.post("/v1/jobs", files=as_form(PNG))
        answer = await client.post(f"/v1/jobs/{old}/retry")
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert (await client.get("/v1/dead-jobs")).json()["total"] == 1


async def test_a_retry_that_finds_the_queue_full_at_its_record_leaves_nothing(
    settings: GatewaySettings,
    worker: FakeWorker,
    jobs: JobStore,
    blobs_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def pass_all(*_: object) -> None:
        """As for those that come together."""

    full = settings.model_copy(update={"max_queue_length": 1})
    async with running_gateway(full) as client:
        old = await submit_dead(client, worker, jobs)
        await client.post("/v1/jobs", files=as_form(PNG))
        monkeypatch.setattr(Admission, "check_open", pass_all)
        answer = await client.post(f"/v1/jobs/{old}/retry")
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert (await client.get("/v1/dead-jobs")).json()["total"] == 1
    assert len(blob_files(blobs_dir)) == 2


async def test_a_repeated_retry_is_answered_though_the_queue_is_full(
    settings: GatewaySettings, worker: FakeWorker, jobs: JobStore
) -> None:
    full = settings.model_copy(update={"max_queue_length": 1})
    async with running_gateway(full) as client:
        old = await submit_dead(client, worker, jobs)
        first, again = [await client.post(f"/v1/jobs/{old}/retry") for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
