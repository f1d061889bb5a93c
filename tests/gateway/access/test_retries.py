"""What a key learns of a job that it may have read again, and may not read."""

from pathlib import Path

import httpx

from support.api_keys import add_key, bearer
from support.fake_worker import FakeWorker
from support.gateway_app import PNG, as_form
from tbscreen_shared.access import ApiKey, Scope
from tbscreen_shared.jobs import JobStore


async def test_a_key_that_may_not_read_learns_of_a_retry_that_it_is_finished_and_no_more(
    gate: httpx.AsyncClient,
    keys_file: Path,
    key: tuple[ApiKey, str],
    worker: FakeWorker,
    jobs: JobStore,
) -> None:
    _, admin = add_key(keys_file, Scope.ADMIN)
    accepted = await gate.post("/v1/jobs", files=as_form(PNG), headers=bearer(key[1]))
    old = accepted.json()["id"]
    assert worker.take() == old
    for number in range(4):
        jobs.claim(old, worker=f"lost-{number}", lost_worker=f"lost-{number - 1}")
    retry = f"/v1/jobs/{old}/retry"
    new = (await gate.post(retry, headers=bearer(admin))).json()["id"]
    assert worker.take() == new and worker.finish(new)
    told = await gate.post(retry, headers=bearer(admin))
    assert (told.status_code, told.headers["location"]) == (200, f"/v1/jobs/{new}")
    assert (told.json()["id"], told.json()["status"]) == (new, "succeeded")
    assert (told.json()["result"], told.json()["error"]) == (None, None)
    _, reads_too = add_key(keys_file, Scope.ADMIN, Scope.READ)
    told = await gate.post(retry, headers=bearer(reads_too))
    assert told.json()["result"]["prediction"] == "TB Positive"
