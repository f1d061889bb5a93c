from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from support.fake_worker import FakeWorker
from tbscreen_gateway.examples import (
    CANCELED_JOB,
    DEAD_JOB,
    DEGRADED,
    FAILED_JOB,
    HEALTH_SUMMARY,
    HEALTHY,
    MODEL,
    NOT_READY,
    QUEUED_JOB,
    READY,
    SESSION,
    SUCCEEDED_JOB,
)
from tbscreen_gateway.health import HealthReport, HealthSummary, Readiness
from tbscreen_gateway.routes.models import ModelDetails
from tbscreen_gateway.routes.session import SessionOpened
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.contracts import Job, ModelRef


@pytest.mark.parametrize("example", [QUEUED_JOB, SUCCEEDED_JOB, FAILED_JOB, DEAD_JOB, CANCELED_JOB])
def test_the_documented_jobs_are_jobs(example: dict[str, object]) -> None:
    assert set(Job.model_validate(example).model_dump()) == set(example)


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (ModelDetails, MODEL),
        (SessionOpened, SESSION),
        (HealthSummary, HEALTH_SUMMARY),
        (HealthReport, HEALTHY),
        (HealthReport, DEGRADED),
        (Readiness, READY),
        (Readiness, NOT_READY),
    ],
)
def test_what_is_documented_is_answered_to_the_letter(
    model: type[BaseModel], example: dict[str, object]
) -> None:
    assert model.model_validate(example).model_dump(mode="json") == example


async def test_the_gateway_answers_as_documented_when_all_is_well_and_without_a_model(
    client: httpx.AsyncClient, settings: GatewaySettings, worker: FakeWorker
) -> None:
    assert (await client.get("/health")).json()["problems"] == DEGRADED["problems"]
    (settings.models_dir / "current").rename(settings.models_dir / "elsewhere")
    assert (await client.get("/readyz")).json() == NOT_READY
    (settings.models_dir / "elsewhere").rename(settings.models_dir / "current")
    manifest = ModelStore(settings.models_dir).load_active().manifest
    worker.beat(ModelRef(version=manifest.version, sha256=manifest.model_sha256))
    assert (await client.get("/readyz")).json() == READY
    assert keys_of((await client.get("/health")).json()) == keys_of(HEALTHY)


def keys_of(value: Any) -> Any:
    """The names in an answer at every depth, without the values."""
    if isinstance(value, dict):
        return {name: keys_of(inner) for name, inner in value.items()}
    return [keys_of(inner) for inner in value] if isinstance(value, list) else None
