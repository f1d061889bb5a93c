from pathlib import Path

import httpx
import pytest

from support.fake_bundle import publish_fake_bundle, write_site
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
        f"/v1/models/{VERSION}/report",
        None,
    ]


async def test_models_come_in_pages_that_lead_on(
    client: httpx.AsyncClient, settings: GatewaySettings, tmp_path: Path
) -> None:
    for version in ("2026.12.0", "2026.12.1"):
        publish_fake_bundle(settings.models_dir, tmp_path / "staging", version)
    first = await client.get("/v1/models?limit=2")
    assert [model["version"] for model in first.json()["models"]] == [VERSION, "2026.12.0"]
    second = await client.get(first.links["next"]["url"])
    assert [model["version"] for model in second.json()["models"]] == ["2026.12.1"]
    assert (second.json()["next_cursor"], second.json()["active"]) == (None, "2026.12.1")
    assert "link" not in second.headers
    for query in ("limit=0", "limit=1001", "limit=x", "cursor=!"):
        refused = await client.get(f"/v1/models?{query}")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_a_model_is_its_manifest(client: httpx.AsyncClient) -> None:
    model = (await client.get(f"/v1/models/{VERSION}")).json()
    assert model["active"] is True
    assert model["manifest"]["operating_points"][0]["name"] == "balanced"
    assert model["manifest"]["provenance"] == "made for tests"


async def test_a_sites_own_threshold_is_shown_with_its_model(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    assert (await client.get(f"/v1/models/{VERSION}")).json()["site"] is None
    write_site(settings.models_dir, VERSION)
    model = (await client.get(f"/v1/models/{VERSION}")).json()
    assert model["site"]["operating_point"]["threshold"] == 0.3
    assert model["site_problem"] is None
    health = (await client.get("/health")).json()["model"]
    assert (health["operating_point"], health["note"]) == ("site", None)


async def test_a_threshold_for_another_model_is_shown_as_such(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    write_site(settings.models_dir, VERSION, model_sha256="0" * 64)
    model = (await client.get(f"/v1/models/{VERSION}")).json()
    assert model["site"] is None
    assert "was made for model" in model["site_problem"]


async def test_a_threshold_left_behind_by_a_new_model_is_noted_and_is_no_problem(
    client: httpx.AsyncClient, settings: GatewaySettings, tmp_path: Path
) -> None:
    write_site(settings.models_dir, VERSION)
    publish_fake_bundle(settings.models_dir, tmp_path / "staging", "2026.12.0")
    health = (await client.get("/health")).json()
    assert health["model"]["operating_point"] == "balanced"
    assert f"measured with {VERSION} and does not apply" in health["model"]["note"]
    assert not any("threshold" in problem for problem in health["problems"])


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
    for path in ("", "/report", "/report/"):
        answer = await client.get(f"/v1/models/{version}{path}")
        assert answer.status_code == 404
        assert answer.json()["code"] in ("model_not_found", "not_found")


async def test_an_empty_volume_has_no_models(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    settings.models_dir.rename(settings.models_dir.with_name("gone"))
    assert (await client.get("/v1/models")).json() == {
        "active": None,
        "models": [],
        "next_cursor": None,
    }


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_report_is_served_as_one_document_that_runs_and_loads_nothing(
    client: httpx.AsyncClient, slash: str
) -> None:
    page = await client.get(f"/v1/models/{VERSION}/report{slash}")
    assert (page.status_code, page.text) == (200, "<h1>Evaluation</h1>")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert policy.endswith("; sandbox") and "default-src 'none'" in policy
    assert "script-src" not in policy and "'self'" not in policy


async def test_the_reports_other_files_have_their_types(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    card = settings.models_dir / VERSION / "report" / "model-card.md"
    card.write_text("# Model card", encoding="utf-8")
    metrics = await client.get(f"/v1/models/{VERSION}/report/metrics.json")
    assert metrics.headers["content-type"] == "application/json"
    answer = await client.get(f"/v1/models/{VERSION}/report/model-card.md")
    assert answer.headers["content-type"].startswith("text/markdown")
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("wanted", ["bytes=0-3", "bytes=9999999-", "items=0-1"])
async def test_a_report_is_sent_whole_whatever_part_of_it_is_asked_for(
    client: httpx.AsyncClient, wanted: str
) -> None:
    answer = await client.get(f"/v1/models/{VERSION}/report", headers={"Range": wanted})
    assert (answer.status_code, answer.text) == (200, "<h1>Evaluation</h1>")


async def test_a_bundle_without_a_report_has_none_to_read(
    client: httpx.AsyncClient, settings: GatewaySettings, tmp_path: Path
) -> None:
    publish_fake_bundle(settings.models_dir, tmp_path / "staging", "2026.12.0", report=False)
    answer = await client.get("/v1/models/2026.12.0/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/report" not in (await client.get("/")).text


async def test_the_pages_lead_to_the_active_models_report(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        assert f'href="/v1/models/{VERSION}/report"' in (await client.get(path)).text


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
        "x" * 300 + ".html",
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
    answer = await client.get(f"http://localhost/v1/models/{VERSION}/report/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_bundle_that_can_not_be_read_is_listed_with_that_and_has_no_report(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    manifest = settings.models_dir / VERSION / "manifest.json"
    manifest.unlink()
    manifest.mkdir()
    (listed,) = (await client.get("/v1/models")).json()["models"]
    assert listed["manifest"] is None
    assert "can not be read" in listed["problem"]
    for path in ("", "/report"):
        assert (await client.get(f"/v1/models/{VERSION}{path}")).status_code == 404
    assert "/report" not in (await client.get("/")).text
