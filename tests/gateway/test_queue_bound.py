import asyncio

import httpx
from redis import Redis

from support.blob_files import blob_files
from support.gateway_app import JPEG, PNG, as_form, running_gateway
from tbscreen_gateway.settings import GatewaySettings


async def submit(
    client: httpx.AsyncClient, data: bytes = PNG, *, key: str | None = None
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/jobs", files=as_form(data), headers=headers)


async def test_a_full_queue_refuses_with_a_time_to_come_back(settings: GatewaySettings) -> None:
    narrow = settings.model_copy(update={"max_queue_length": 1})
    async with running_gateway(narrow) as client:
        assert (await submit(client)).status_code == 202
        answer = await submit(client)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) > 0
    assert len(blob_files(settings.blobs_dir)) == 1


async def test_a_repeat_of_what_was_accepted_is_answered_though_the_queue_is_full(
    settings: GatewaySettings,
) -> None:
    narrow = settings.model_copy(update={"max_queue_length": 1})
    async with running_gateway(narrow) as client:
        first = await submit(client, key="visit")
        again = await submit(client, key="visit")
        other = await submit(client, JPEG, key="visit")
        new = await submit(client, key="another-visit")
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    assert again.headers["idempotency-replayed"] == "true"
    assert other.json()["code"] == "idempotency_conflict"
    assert new.json()["code"] == "queue_full"
    assert len(blob_files(settings.blobs_dir)) == 1


async def test_uploads_that_arrive_together_do_not_overfill_the_queue(
    settings: GatewaySettings, redis: Redis
) -> None:
    narrow = settings.model_copy(update={"max_queue_length": 3})
    async with running_gateway(narrow) as client:
        answers = await asyncio.gather(*(submit(client) for _ in range(12)))
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(refused) == 9
    assert {answer.json()["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert len(blob_files(settings.blobs_dir)) == redis.zcard("tbscreen:queued") == 3
