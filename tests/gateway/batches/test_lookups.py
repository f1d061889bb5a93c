"""What a batch that was taken in answers, until it is erased."""

import asyncio
import hashlib
import uuid
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.batch_requests import DAMAGED, NOTE, films, rows_of, submit, work
from support.blob_files import blob_files
from support.fake_worker import FakeWorker, a_result
from support.gateway_app import JPEG, PNG, running_gateway
from tbscreen_gateway.batches.sheet import COLUMNS
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.contracts import Warning


async def test_a_finished_batch_answers_with_each_outcome_in_short(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    def read(sha256: str) -> object:
        return DAMAGED if sha256 == hashlib.sha256(JPEG).hexdigest() else a_result(sha256=sha256)

    path = (await submit(client, PNG, JPEG)).headers["location"]
    work(FakeWorker(redis, read), 2)  # type: ignore[arg-type]
    answer = await client.get(path)
    batch = answer.json()
    assert batch["finished"] and "retry-after" not in answer.headers
    assert (batch["counts"]["succeeded"], batch["counts"]["failed"]) == (1, 1)
    read_one, failed = batch["items"]
    assert (read_one["prediction"], read_one["probability"]) == ("TB Positive", 0.83)
    assert (await client.get(read_one["links"]["heatmap"])).status_code == 200
    assert (failed["status"], failed["error"]) == ("failed", DAMAGED.model_dump())
    assert (await client.get(failed["links"]["job"])).json()["status"] == "failed"


async def test_items_come_in_pages_that_lead_on(client: httpx.AsyncClient) -> None:
    answer = await submit(client, *films(5), query="?limit=2")
    path = answer.headers["location"]
    found = answer.json()["items"]
    while "next" in answer.links:
        answer = await client.get(answer.links["next"]["url"])
        assert answer.json()["total"] == answer.json()["counts"]["queued"] == 5
        assert len(answer.json()["items"]) <= 2
        found += answer.json()["items"]
    assert [item["index"] for item in found] == [0, 1, 2, 3, 4]
    assert (await client.get(path)).json()["items"] == found
    for query in ("limit=0", "limit=1001", "cursor=!"):
        refused = await client.get(f"{path}?{query}")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_an_unchanged_batch_is_304_and_a_changed_one_is_not(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    path = (await submit(client, *films(2))).headers["location"]
    etag = (await client.get(path)).headers["etag"]
    unchanged = await client.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    work(worker, 1)
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 200


async def test_a_waiting_request_is_answered_when_the_last_job_has_ended_and_not_before(
    client: httpx.AsyncClient, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tbscreen_gateway.waiting._RECHECK_S", 30.0)
    posted = asyncio.create_task(submit(client, *films(3), query="?wait=20"))
    for _ in range(2):
        assert worker.finish(await asyncio.to_thread(worker.take) or "")
    last = await asyncio.to_thread(worker.take)
    await asyncio.sleep(0.3)
    assert not posted.done()
    started = asyncio.get_running_loop().time()
    worker.finish(last or "")
    answer = await posted
    assert asyncio.get_running_loop().time() - started < 10, "woken, not found by looking again"
    assert (answer.status_code, answer.json()["finished"]) == (200, True)
    assert answer.headers["location"] == f"/v1/batches/{answer.json()['id']}"
    unfinished = (await submit(client, *films(1))).headers["location"]
    waited = await client.get(unfinished, headers={"Prefer": "wait=1"})
    assert waited.headers["preference-applied"] == "wait=1"
    assert not waited.json()["finished"]


@pytest.mark.parametrize("batch_id", [str(uuid.uuid4()), "nonsense", "%20", "A" * 36])
async def test_an_unknown_id_is_batch_not_found(client: httpx.AsyncClient, batch_id: str) -> None:
    for method, end in (("GET", ""), ("DELETE", ""), ("GET", ".csv")):
        answer = await client.request(method, f"/v1/batches/{batch_id}{end}")
        assert (answer.status_code, answer.json()["code"]) == (404, "batch_not_found")


async def test_a_sheet_is_only_read(client: httpx.AsyncClient) -> None:
    path = (await submit(client, PNG)).json()["links"]["csv"]
    answer = await client.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert (await client.get(path)).status_code == 200


async def test_deleting_cancels_what_is_not_finished_and_erases_the_rest_and_all_uploads(
    client: httpx.AsyncClient, worker: FakeWorker, blobs_dir: Path, redis: Redis
) -> None:
    batch = (await submit(client, *films(3), NOTE)).json()
    work(worker, 1)
    path = batch["links"]["batch"]
    answer = await client.delete(path)
    assert answer.status_code == 200
    statuses = [item["status"] for item in answer.json()["items"]]
    assert (statuses, answer.json()["finished"]) == (
        ["expired", "canceled", "canceled", "refused"],
        True,
    )
    assert blob_files(blobs_dir) == []
    assert not worker.finish(worker.take() or "")
    assert (await client.get(f"/v1/jobs/{batch['items'][0]['job_id']}")).status_code == 404
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    kept = {"tbscreen", "_kombu.binding.tbscreen"}
    told = ("drained", "tbscreen:audit")
    assert {key for key in redis.scan_iter() if not any(name in key for name in told)} <= kept


async def test_a_finished_batch_is_erased_at_once(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    path = (await submit(client, *films(2))).headers["location"]
    work(worker, 2)
    answer = await client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"{path}.csv")).status_code == 404


async def test_a_job_that_is_erased_on_its_own_is_expired_in_its_batch(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    batch = (await submit(client, *films(2))).json()
    work(worker, 2)
    await client.delete(batch["items"][0]["links"]["job"])
    found = (await client.get(batch["links"]["batch"])).json()
    assert [item["status"] for item in found["items"]] == ["expired", "succeeded"]
    assert found["items"][0]["links"] is None
    assert found["finished"]


async def test_the_sheet_has_a_row_for_each_file_with_what_became_of_it(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    sheet = await client.get((await submit(client, PNG)).headers["location"] + ".csv")
    assert rows_of(sheet)[0]["status"] == "queued"
    warned = a_result(0.83, warnings=(Warning.LOW_RESOLUTION, Warning.INVERTED))
    warned = warned.model_copy(update={"operating_point": "=cmd|' /C calc'!A0"})
    answers = iter([warned, DAMAGED])
    batch = (await submit(client, PNG, NOTE, JPEG)).json()
    worker = FakeWorker(redis, lambda _: next(answers))
    worker.take()
    work(worker, 2)
    answer = await client.get(batch["links"]["csv"])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="batch-{batch["id"]}.csv"'
    )
    rows = rows_of(answer)
    assert list(rows[0]) == list(COLUMNS)
    first, refused, failed = batch["items"]
    assert rows[0] == {
        "index": "0",
        "sha256": first["sha256"],
        "job_id": first["job_id"],
        "status": "succeeded",
        "prediction": "TB Positive",
        "probability": "0.83",
        "score": "83.0",
        "threshold": "0.41",
        "operating_point": "'=cmd|' /C calc'!A0",
        "warnings": "low_resolution inverted",
        "model_version": "2026.11.1",
        "model_sha256": "3f" * 32,
        "error_code": "",
        "error_message": "",
    }
    told = ("status", "error_code", "error_message")
    message = refused["error"]["message"]
    assert [rows[1][name] for name in told] == ["refused", "unsupported_media_type", message]
    assert rows[1]["job_id"] == rows[1]["sha256"] == ""
    assert (rows[2]["job_id"], rows[2]["error_code"]) == (failed["job_id"], "unreadable_image")
    assert rows[2]["error_message"] == "'=damaged, or cut short"


async def test_a_sheet_of_more_rows_than_are_read_at_once_is_whole_and_in_order(
    settings: GatewaySettings, worker: FakeWorker
) -> None:
    async with running_gateway(settings) as client:
        batch = (await submit(client, *films(205))).json()
        work(worker, 103)
        rows = rows_of(await client.get(batch["links"]["csv"]))
    assert [row["index"] for row in rows] == [str(number) for number in range(205)]
    statuses = [row["status"] for row in rows]
    assert statuses == ["succeeded"] * 103 + ["queued"] * 102
