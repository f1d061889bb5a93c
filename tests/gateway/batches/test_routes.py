"""How a batch is taken in, or refused."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.batch_requests import NOTE, films, submit, work
from support.blob_files import blob_files
from support.fake_worker import FakeWorker
from support.gateway_app import JPEG, PNG, running_gateway
from support.zip_files import zip_of
from tbscreen_gateway.admission import Admission
from tbscreen_gateway.batches.draft import ROOM_EVERY_BYTES
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.jobs import JobStore


async def test_a_batch_is_recorded_stored_and_enqueued_before_its_202(
    client: httpx.AsyncClient, worker: FakeWorker, jobs: JobStore, blobs_dir: Path
) -> None:
    answer = await submit(client, PNG, NOTE, JPEG)
    batch = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/batches/{batch['id']}" == batch["links"]["batch"]
    assert uuid.UUID(batch["id"]).version == 7
    assert int(answer.headers["retry-after"]) >= 1
    counts = {name: count for name, count in batch["counts"].items() if count}
    assert (counts, batch["total"], batch["finished"]) == ({"queued": 2, "refused": 1}, 3, False)
    first, refused, last = batch["items"]
    assert (first["index"], first["status"]) == (0, "queued")
    assert first["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert first["links"] == {"job": f"/v1/jobs/{first['job_id']}", "heatmap": None}
    assert (refused["status"], refused["error"]["code"]) == ("refused", "unsupported_media_type")
    assert refused["job_id"] is refused["sha256"] is refused["links"] is None
    assert [worker.take(), worker.take()] == [first["job_id"], last["job_id"]]
    assert (blobs_dir / (jobs.blob_of(last["job_id"]) or "")).read_bytes() == JPEG
    assert (await client.get(f"/v1/jobs/{last['job_id']}")).json()["batch_id"] == batch["id"]


async def test_names_of_files_are_neither_answered_nor_kept(
    client: httpx.AsyncClient, redis: Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = zip_of(("Doe^Jane/x.png", PNG), ("Doe^Jane/note.txt", NOTE))
    answers = [
        await submit(client, PNG, NOTE),
        await client.post("/v1/batches", files={"archive": ("Doe^Jane.zip", archive)}),
        await submit(client, NOTE),
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422]
    answers += [
        await client.get(f"/v1/batches/{answers[1].json()['id']}{end}") for end in ("", ".csv")
    ]
    assert not any("Doe" in answer.text for answer in answers)
    kept = [redis.dump(key) for key in redis.scan_iter("*")]
    assert kept and not any(b"Doe" in str(value).encode() for value in kept)
    assert "Doe" not in "".join(capfd.readouterr())


async def test_a_zip_is_a_batch_of_its_files(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    archive = zip_of(("visit/", b""), ("visit/1.png", PNG), ("visit/2.jpg", JPEG))
    answer = await client.post("/v1/batches?wait=0", files={"archive": ("x.zip", archive)})
    batch = answer.json()
    assert (answer.status_code, batch["skipped"]) == (202, 1)
    assert [(item["index"], item["sha256"]) for item in batch["items"]] == [
        (1, hashlib.sha256(PNG).hexdigest()),
        (2, hashlib.sha256(JPEG).hexdigest()),
    ]
    work(worker, 2)
    assert (await client.get(answer.headers["location"])).json()["counts"]["succeeded"] == 2


async def test_an_idempotency_key_makes_one_batch_of_the_same_files(
    client: httpx.AsyncClient, blobs_dir: Path, jobs: JobStore
) -> None:
    first = await submit(client, *films(3), NOTE, key="k")
    again = await submit(client, *films(3), NOTE, key="k")
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(blob_files(blobs_dir)) == jobs.queue_length() == 3


async def test_an_idempotency_key_with_other_files_or_of_a_single_job_is_a_conflict(
    client: httpx.AsyncClient, blobs_dir: Path
) -> None:
    await submit(client, *films(2), key="k")
    form = {"file": ("x", films(1)[0])}
    conflicts = [
        await submit(client, *films(3), key="k"),
        await client.post("/v1/jobs", files=form, headers={"Idempotency-Key": "k"}),
    ]
    for answer in conflicts:
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert len(blob_files(blobs_dir)) == 2


async def test_a_batch_without_a_radiograph_is_refused_with_the_reason_for_each_file(
    client: httpx.AsyncClient, redis: Redis, blobs_dir: Path
) -> None:
    answer = await submit(client, NOTE, b"", PNG + bytes(200_000))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "no_file_accepted")
    assert [(error["location"], error["code"]) for error in problem["errors"]] == [
        ("items.0", "unsupported_media_type"),
        ("items.1", "empty_upload"),
        ("items.2", "file_too_large"),
    ]
    assert blob_files(blobs_dir) == []
    assert [key for key in redis.scan_iter("tbscreen:*") if "tbscreen:audit" not in key] == []


async def test_a_batch_that_does_not_fit_into_the_queue_is_refused_as_a_whole(
    settings: GatewaySettings, redis: Redis, blobs_dir: Path
) -> None:
    narrow = settings.model_copy(update={"max_queue_length": 5})
    async with running_gateway(narrow) as client:
        never = await submit(client, *films(6))
        assert (await submit(client, *films(3))).status_code == 202
        answer = await submit(client, *films(3))
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
        assert len(blob_files(blobs_dir)) == redis.zcard("tbscreen:queued") == 3
        assert (await submit(client, *films(2), key="visit")).status_code == 202
        again = await submit(client, *films(2), key="visit")
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
        assert len(blob_files(blobs_dir)) == 5
    assert (never.status_code, never.json()["code"]) == (413, "batch_too_large")


async def test_a_batch_that_does_not_fit_onto_the_volume_is_refused_unread(
    settings: GatewaySettings, blobs_dir: Path
) -> None:
    narrow = settings.model_copy(update={"max_stored_bytes": 100_000})
    async with running_gateway(narrow) as client:
        assert (await submit(client, *films(3))).status_code == 202
        answer = await submit(client, *[film + bytes(50_000) for film in films(3)])
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert int(answer.headers["retry-after"]) > 0
    assert len(blob_files(blobs_dir)) == 3


async def test_a_batch_that_hides_its_length_is_expected_to_take_room_as_is_an_archives_unpacking(
    settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[int] = []
    announcing = Admission.announcing

    def note(self: Admission, size_bytes: int) -> AbstractContextManager[None]:
        announced.append(size_bytes)
        return announcing(self, size_bytes)

    monkeypatch.setattr(Admission, "announcing", note)
    request = httpx.Request(
        "POST", "http://localhost/v1/batches", files={"archive": ("x.zip", zip_of(("a", PNG)))}
    )

    async def in_pieces() -> AsyncIterator[bytes]:
        yield request.read()

    headers = {"Content-Type": request.headers["content-type"]}
    narrow = settings.model_copy(update={"max_stored_bytes": ROOM_EVERY_BYTES - 1})
    async with running_gateway(narrow) as client:
        whole = await client.post("/v1/batches", content=request.read(), headers=headers)
        pieces = await client.post("/v1/batches", content=in_pieces(), headers=headers)
    assert (whole.status_code, pieces.status_code) == (202, 507)
    assert announced == [len(request.content), ROOM_EVERY_BYTES, ROOM_EVERY_BYTES]


async def test_a_request_that_declares_too_many_bytes_is_refused_unread(
    settings: GatewaySettings,
) -> None:
    narrow = settings.model_copy(update={"max_batch_bytes": 1000})
    async with running_gateway(narrow) as client:
        answer = await submit(client, *films(9))
    assert (answer.status_code, answer.json()["code"]) == (413, "batch_too_large")


async def test_a_hostile_archive_is_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/batches", files={"archive": ("x.zip", b"PK\3\4nonsense")})
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_archive")
