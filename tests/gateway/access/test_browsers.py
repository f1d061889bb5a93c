"""What pages of other sites can not do, with and without keys."""

import httpx
import pytest
from redis import Redis

from support.api_keys import bearer
from support.blob_files import blob_files
from support.gateway_app import PNG, as_form, running_gateway
from tbscreen_gateway.access.browsers import known_hosts
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import ApiKey, AuthMode


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "whatever"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:8001"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
async def test_another_sites_page_submits_and_erases_nothing(
    client: httpx.AsyncClient, settings: GatewaySettings, redis: Redis, headers: dict[str, str]
) -> None:
    job_id = (await client.post("/v1/jobs", files=as_form(PNG))).json()["id"]
    kept = blob_files(settings.blobs_dir)
    for method, path in (
        ("POST", "/v1/jobs"),
        ("POST", "/predict"),
        ("POST", "/v1/session"),
        ("DELETE", "/v1/session"),
        ("DELETE", f"/v1/jobs/{job_id}"),
    ):
        files = as_form(PNG) if path in ("/v1/jobs", "/predict") else None
        answer = await client.request(method, path, files=files, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert blob_files(settings.blobs_dir) == kept
    assert (await client.get(f"/v1/jobs/{job_id}", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
        # A proxy ends TLS: the gateway sees http, the browser does not.
        {"Origin": "https://localhost"},
    ],
)
async def test_its_own_page_and_programs_submit(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post("/v1/jobs", files=as_form(PNG), headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "[::2]", "localhost.evil"]
)
async def test_on_loopback_a_name_that_was_rebound_is_told_nothing(
    client: httpx.AsyncClient, host: str
) -> None:
    for path in ("/", "/v1/models", "/health", "/metrics", "/static/main.js", "/nowhere"):
        answer = await client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "misdirected_request")
    # As the browser would send it from the rebound page: to itself, of the same origin.
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    answer = await client.post("/v1/jobs", files=as_form(PNG), headers=own)
    assert answer.json()["code"] == "misdirected_request"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
)
async def test_on_loopback_its_own_names_are_answered(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/v1/models", headers={"Host": host})).status_code == 200


async def test_a_probe_is_answered_by_any_name(client: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        assert (await client.get(path, headers={"Host": "10.1.2.3:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("changes", "allowed", "refused"),
    [
        ({"host": "127.0.0.1"}, ["localhost", "127.0.0.1", "::1"], ["0.0.0.0", "clinic.example"]),
        ({"host": "127.0.0.2"}, ["127.0.0.2"], ["127.0.0.3"]),
        ({"host": "0.0.0.0", "published_on": "127.0.0.1"}, ["localhost"], ["clinic.example"]),
        (
            {"host": "127.0.0.1", "allowed_hosts": ("Clinic.example:8443", "[FD00::1]")},
            ["clinic.example", "fd00::1", "localhost"],
            ["other.example"],
        ),
        (
            {"host": "192.0.2.7", "allowed_hosts": ("clinic.example",)},
            ["clinic.example", "192.0.2.7", "127.0.0.1"],
            ["192.0.2.8"],
        ),
    ],
)
def test_the_hosts_are_its_own_and_those_the_operator_names(
    settings: GatewaySettings, changes: dict[str, object], allowed: list[str], refused: list[str]
) -> None:
    hosts = known_hosts(settings.model_copy(update=changes))
    assert all(host in hosts for host in allowed)
    assert not any(host in hosts for host in refused)


@pytest.mark.parametrize(
    "changes", [{"host": "0.0.0.0"}, {"host": "0.0.0.0", "published_on": "192.0.2.7"}]
)
async def test_beyond_this_machine_any_host_is_answered_unless_some_are_named(
    guarded: GatewaySettings, key: tuple[ApiKey, str], changes: dict[str, object]
) -> None:
    async with running_gateway(guarded.model_copy(update=changes)) as client:
        for host in ("clinic.example", "10.1.2.3:8000"):
            headers = {"Host": host, **bearer(key[1])}
            assert (await client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize("named", [(), ("clinic.example",)])
async def test_where_nobody_needs_a_key_a_name_must_be_one_that_was_named(
    settings: GatewaySettings, named: tuple[str, ...]
) -> None:
    opened = settings.model_copy(
        update={"host": "0.0.0.0", "auth": AuthMode.OFF, "allowed_hosts": named}
    )
    answered = ["localhost", "127.0.0.1:8000", *(named or ["10.1.2.3:8000", "[fd00::1]"])]
    refused = ["evil.example", "10.evil.example", *([] if named else ["clinic.example"])]
    async with running_gateway(opened) as client:
        for host in answered:
            assert (await client.get("/v1/models", headers={"Host": host})).status_code == 200, host
        for host in refused:
            answer = await client.get("/v1/models", headers={"Host": host})
            assert (answer.status_code, answer.json()["code"]) == (421, "misdirected_request")
            assert "TBSCREEN_ALLOWED_HOSTS" in answer.json()["detail"]
