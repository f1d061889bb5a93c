import shutil

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from support.blob_files import blob_files
from support.fake_worker import FakeWorker
from support.gateway_app import PNG, as_form, running_gateway
from support.ports import free_port
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.contracts import ModelRef


@pytest.fixture
def active(settings: GatewaySettings) -> ModelRef:
    manifest = ModelStore(settings.models_dir).load_active().manifest
    return ModelRef(version=manifest.version, sha256=manifest.model_sha256)


@pytest.fixture
def lost(settings: GatewaySettings) -> GatewaySettings:
    """On a Redis that is not there."""
    return settings.model_copy(
        update={"redis_url": type(settings.redis_url)(f"redis://127.0.0.1:{free_port()}/0")}
    )


async def metric(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    text = (await client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    raise AssertionError(f"no metric {name} {labels} in:\n{text}")


async def test_all_is_well_with_a_worker_on_the_active_model(
    client: httpx.AsyncClient, worker: FakeWorker, active: ModelRef
) -> None:
    worker.beat(active)
    health = (await client.get("/health")).json()
    assert (health["status"], health["problems"]) == ("ok", [])
    assert health["redis"]["ok"] and health["storage"]["ok"] and health["model"]["ok"]
    assert health["model"]["version"] == active.version
    assert [beat["name"] for beat in health["workers"]] == ["fake-1"]
    assert health["queue_length"] == 0


async def test_no_worker_is_degraded_but_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["problems"] == [
        "No worker is running: radiographs are accepted but not read."
    ]
    assert (await client.get("/readyz")).status_code == 200


async def test_a_refused_model_and_a_worker_on_another_one_are_shown(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    worker.beat(ModelRef(version="old", sha256="0" * 64), rejected="its known answer is wrong")
    problems = (await client.get("/health")).json()["problems"]
    assert problems == [
        "Worker fake-1 refused a model: its known answer is wrong.",
        "Not every worker answers with the active model 2026.11.1.",
    ]


async def test_no_model_is_degraded_and_not_ready(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    (settings.models_dir / "current").unlink()
    health = (await client.get("/health")).json()
    assert health["status"] == "degraded"
    assert "No usable model: no model has been published yet." in health["problems"]
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    parts = {"redis": True, "storage": True, "model": False}
    assert answer.json() == {"ready": False, **parts, "workers": 0}


@pytest.mark.parametrize("named", [b"\xff\xfe", b"2026\0", b"../2026.11.1", None])
async def test_a_damaged_name_of_the_active_model_is_no_model_and_no_fault_of_the_gateway(
    client: httpx.AsyncClient, settings: GatewaySettings, named: bytes | None
) -> None:
    current = settings.models_dir / "current"
    current.unlink()
    if named is None:
        current.mkdir()
    else:
        current.write_bytes(named)
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert any(problem.startswith("No usable model") for problem in answer.json()["problems"])
    assert (await client.get("/readyz")).json()["model"] is False
    for path in ("/", "/docs"):
        page = await client.get(path)
        assert page.status_code == 200
        assert 'href="/v1/models' not in page.text
    listed = (await client.get("/v1/models")).json()
    assert listed["active"] is None
    assert [model["active"] for model in listed["models"]] == [False]
    assert (await client.get("/v1/models/2026.11.1")).json()["active"] is False


async def test_a_model_file_cut_short_is_not_ready(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    (settings.models_dir / "2026.11.1" / "model.tflite").write_bytes(b"cut")
    assert (await client.get("/readyz")).json()["model"] is False


async def test_a_vanished_upload_volume_is_degraded_and_not_ready(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    shutil.rmtree(settings.blobs_dir)
    assert (await client.get("/readyz")).json()["storage"] is False
    assert not (await client.get("/health")).json()["storage"]["ok"]


async def test_without_redis_it_lives_reports_and_refuses(lost: GatewaySettings) -> None:
    async with running_gateway(lost) as client:
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["redis"]) == (503, False)
        health = await client.get("/health")
        assert health.status_code == 200
        assert "The job store (Redis) can not be reached." in health.json()["problems"]
        assert await metric(client, "tbscreen_redis_up") == 0
        answer = await client.post("/v1/jobs", files=as_form(PNG))
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert blob_files(lost.blobs_dir) == []


async def test_metrics_count_what_was_accepted_replayed_and_refused(
    client: httpx.AsyncClient, worker: FakeWorker, redis: Redis
) -> None:
    key = {"Idempotency-Key": "k"}
    for _ in range(2):
        await client.post("/v1/jobs", files=as_form(PNG), headers=key)
    await client.post("/v1/jobs", files=as_form(b""))
    worker.beat()
    assert await metric(client, "tbscreen_uploads_accepted_total") == 1
    assert await metric(client, "tbscreen_uploads_replayed_total") == 1
    assert await metric(client, "tbscreen_problems_total", code="empty_upload") == 1
    assert await metric(client, "tbscreen_queue_length") == 1
    assert await metric(client, "tbscreen_workers_alive") == 1
    assert await metric(client, "tbscreen_redis_up") == 1


async def test_durations_are_kept_by_route_not_by_path(client: httpx.AsyncClient) -> None:
    for job_id in ("1", "2"):
        await client.get(f"/v1/jobs/{job_id}")
    await client.get("/nowhere/1")
    await client.get("/static/base.css")
    for method in ("BREW", "BOIL"):
        await client.request(method, "/v1/jobs")
    count = "tbscreen_request_duration_seconds_count"
    assert await metric(client, count, route="/v1/jobs/{job_id}", status="404") == 2
    assert await metric(client, count, route="unmatched") == 1
    assert await metric(client, count, route="/static") == 1
    assert await metric(client, count, method="OTHER") == 2


async def test_head_is_answered_like_get_without_a_body(client: httpx.AsyncClient) -> None:
    for path in ("/", "/livez", "/readyz"):
        assert (await client.head(path)).status_code == (await client.get(path)).status_code == 200
