from pathlib import Path

import httpx
import pytest

from support.fake_bundle import publish_fake_bundle
from tbscreen_gateway.settings import GatewaySettings

VERSION = "2026.11.1"


async def test_the_models_are_listed_with_the_active_one(
    client: httpx.AsyncClient, settings: GatewaySettings, tmp_path: Path
) -> None:
    publish_fake_bundle(settings.models_dir, tmp_path / "staging", "2026.12.0", report=False)
    listed = (await client.get("/v1/models")).json()
    assert listed["active"] == "2026.12.0"
    assert [(model["version"], model["active"]) for model in listed["models"]] == [
        (VERSION, False),
        ("2026.12.0", True),
    ]
    assert [model["report"] for model in listed["models"]] == [
        f"/v1/models/{VERSION}/report/",
        None,
    ]


async def test_a_model_is_its_manifest(client: httpx.AsyncClient) -> None:
    model = (await client.get(f"/v1/models/{VERSION}")).json()
    assert model["active"] is True
    assert model["manifest"]["operating_points"][0]["name"] == "balanced"
    assert model["manifest"]["provenance"] == "made for tests"


async def test_a_damaged_bundle_is_listed_with_what_is_wrong_and_not_found_alone(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    (settings.models_dir / "broken").mkdir()
    (settings.models_dir / "broken" / "manifest.json").write_text("{}")
    listed = (await client.get("/v1/models")).json()["models"]
    broken = next(model for model in listed if model["version"] == "broken")
    assert broken["manifest"] is None
    assert "does not fit the schema" in broken["problem"]
    answer = await client.get("/v1/models/broken")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("version", ["nope", "..%2f..", "%2e%2e", "current", "a" * 100])
async def test_an_unknown_version_is_model_not_found(
    client: httpx.AsyncClient, version: str
) -> None:
    for path in ("", "/report/"):
        answer = await client.get(f"/v1/models/{version}{path}")
        assert answer.status_code == 404
        assert answer.json()["code"] in ("model_not_found", "not_found")


async def test_an_empty_volume_has_no_models(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    settings.models_dir.rename(settings.models_dir.with_name("gone"))
    assert (await client.get("/v1/models")).json() == {"active": None, "models": []}


async def test_the_report_is_served_with_its_types_and_runs_nothing(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get(f"/v1/models/{VERSION}/report/")
    assert (page.status_code, page.text) == (200, "<h1>Evaluation</h1>")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "sandbox" in policy and "default-src 'none'" in policy and "script-src" not in policy
    metrics = await client.get(f"/v1/models/{VERSION}/report/metrics.json")
    assert metrics.headers["content-type"] == "application/json"
    redirect = await client.get(f"/v1/models/{VERSION}/report")
    assert redirect.headers["location"] == f"/v1/models/{VERSION}/report/"


@pytest.mark.parametrize(
    "path",
    [
        "missing.png",
        "../manifest.json",
        "%2e%2e/manifest.json",
        "..%2fmanifest.json",
        "..%2f..%2fcurrent",
        "/etc/passwd.txt",
        "%00.html",
        "outside.txt",
        "program.js",
        "folder.html",
    ],
)
async def test_nothing_but_the_reports_own_documents_is_served(
    client: httpx.AsyncClient, settings: GatewaySettings, tmp_path: Path, path: str
) -> None:
    report = settings.models_dir / VERSION / "report"
    (tmp_path / "secret.txt").write_text("secret")
    (report / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (report / "program.js").write_text("alert(1)")
    (report / "folder.html").mkdir()
    answer = await client.get(f"http://gateway/v1/models/{VERSION}/report/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
