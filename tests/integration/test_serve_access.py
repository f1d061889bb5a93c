"""`tbscreen serve` with API keys: the page's session, the client, and who is not let in."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.api_keys import add_key, bearer, revoke
from support.ports import free_port
from support.radiographs import radiograph_files
from support.serving import MODELS_DIR, Serving, run_tbscreen, running_serve
from tbscreen import AccessDenied, Client


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return radiograph_files(tmp_path_factory.mktemp("radiographs"))[0]


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "api-keys.json"
    add_key(path, name="first")
    return path


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, keys_file: Path) -> Iterator[Serving]:
    environment = {"TBSCREEN_API_KEYS_FILE": str(keys_file)}
    directory = tmp_path_factory.mktemp("serve")
    with running_serve(directory, "--host", "0.0.0.0", environment=environment) as running:
        yield running


def test_who_has_no_key_is_not_let_in(serving: Serving, radiograph: Path) -> None:
    with Client(serving.url, api_key="") as client:
        assert client.health().is_summary
        with pytest.raises(AccessDenied):
            client.submit(radiograph)
    done = run_tbscreen("predict", "--url", serving.url, radiograph)
    assert done.returncode == 4
    assert "--api-key-file" in done.stderr


def test_a_key_made_while_it_runs_reads_a_radiograph_and_leaves_no_trace(
    serving: Serving, keys_file: Path, radiograph: Path, tmp_path: Path
) -> None:
    made = run_tbscreen(
        *("keys", "create", "--name", "PACS", "--scope", "submit", "--scope", "read"),
        *("--file", keys_file),
    )
    assert made.returncode == 0, made.stderr
    key = tmp_path / "key"
    key.write_text(made.stdout)
    done = run_tbscreen("predict", "--url", serving.url, "--api-key-file", key, radiograph)
    assert done.returncode == 0, done.stderr
    log = serving.log.read_text()
    assert made.stdout.split("_")[1] in log, "the key's id is on its requests' lines"
    assert made.stdout.strip().split("_")[2] not in log
    key_id = made.stdout.split("_")[1]
    assert run_tbscreen("keys", "revoke", key_id, "--file", keys_file).returncode == 0
    done = run_tbscreen("predict", "--url", serving.url, "--api-key-file", key, radiograph)
    assert done.returncode == 4
    assert "revoked" in done.stderr


def test_a_browser_signs_in_submits_reads_and_is_out_with_its_key(
    serving: Serving, keys_file: Path, radiograph: Path
) -> None:
    key, token = add_key(keys_file, name="Ward 3")
    same_origin = {"Sec-Fetch-Site": "same-origin", "Origin": serving.url}
    with httpx.Client(base_url=serving.url, headers=same_origin, timeout=60) as browser:
        assert "Ward 3" not in browser.get("/").text
        assert browser.post("/v1/session", headers=bearer(token)).status_code == 201
        assert "Ward 3" in browser.get("/").text
        with radiograph.open("rb") as stream:
            job = browser.post("/v1/jobs", params={"wait": 30}, files={"file": ("r", stream)})
        assert job.json()["status"] == "succeeded", job.text
        heatmap = f"/v1/jobs/{job.json()['id']}/heatmap.png"
        assert browser.get(heatmap).status_code == 200
        forged = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
        erased = browser.delete(f"/v1/jobs/{job.json()['id']}", headers=forged)
        assert (erased.status_code, erased.json()["code"]) == (403, "cross_site_request")
        revoke(keys_file, key)
        assert browser.get(heatmap).status_code == 401
        assert "Ward 3" not in browser.get("/").text


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--host", "0.0.0.0"], {}, "tbscreen keys create --name NAME"),
        ([], {"TBSCREEN_AUTH": "on"}, "TBSCREEN_AUTH=on"),
        ([], {"TBSCREEN_TRUSTED_PROXIES": "10.0.0.1"}, "a proxy stands before it"),
        ([], {"TBSCREEN_ALLOWED_HOSTS": "localhost, clinic.example"}, "names clinic.example"),
        ([], {"TBSCREEN_AUTH": "perhaps"}, "TBSCREEN_AUTH is one of auto, on, off"),
        ([], {"TBSCREEN_API_KEYS_FILE": __file__}, "is damaged"),
    ],
)
def test_where_nobody_could_be_let_in_nothing_is_started(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = run_tbscreen(
        *("serve", "--port", free_port(), "--data-dir", tmp_path / "data", *arguments),
        *("--models-dir", MODELS_DIR),
        env={"PATH": "", **environment},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "data").exists()


def test_keys_are_looked_for_in_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api-keys.json").write_text("{")
    done = run_tbscreen(
        *("serve", "--port", free_port(), "--data-dir", tmp_path / "data"),
        *("--models-dir", MODELS_DIR),
    )
    assert f"{tmp_path / 'data' / 'api-keys.json'} is damaged" in done.stderr
