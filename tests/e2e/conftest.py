import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from support.compose import ROOT, ComposeStack, running_stack
from support.radiographs import radiograph_files


@pytest.fixture(scope="session")
def artifacts() -> Path:
    folder = Path(os.environ.get("TBSCREEN_E2E_ARTIFACTS", ROOT / ".cache" / "e2e"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return radiograph_files(Path(tmp_path_factory.mktemp("radiographs")))


@pytest.fixture(scope="session")
def stack(artifacts: Path) -> Iterator[ComposeStack]:
    with running_stack("tbscreen-e2e", artifacts, workers=2) as running:
        yield running


@pytest.fixture(scope="session")
def http(stack: ComposeStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def submit(http: httpx.Client) -> Callable[[Path], str]:
    def post(path: Path) -> str:
        with path.open("rb") as stream:
            response = http.post("/v1/jobs", files={"file": ("radiograph", stream)})
        assert response.status_code == 202, response.text
        location: str = response.headers["Location"]
        assert location == f"/v1/jobs/{response.json()['id']}"
        return location

    return post


@pytest.fixture(scope="session")
def finished(http: httpx.Client) -> Callable[[str], dict[str, Any]]:
    def poll(location: str, timeout_s: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            job: dict[str, Any] = http.get(location, params={"wait": 20}).json()
            if job["status"] in ("succeeded", "failed", "canceled"):
                return job
        raise AssertionError(f"{location} did not finish in {timeout_s} s: {job}")

    return poll


@pytest.fixture(scope="session")
def living_models(http: httpx.Client) -> Callable[[], list[str]]:
    """Returns the model version that each living worker answers with."""

    def read() -> list[str]:
        workers = http.get("/health").json()["workers"]
        return [worker["model"]["version"] for worker in workers if worker["model"]]

    return read


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or Playwright's own."""
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            # Containers and CI run as root without a user namespace for Chromium's sandbox.
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update"),
            ],
        )
        yield launched
        launched.close()
