"""A radiograph's way through the real stack, and what breaks on the way."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from support.compose import ComposeStack
from support.containers import kill_main, started_at, wait_until_restarted
from support.load import Load, running_load
from support.waits import wait_until
from support.work_in_hand import catch_child

Submit = Callable[[Path], str]
Finished = Callable[[str], dict[str, Any]]

WORKER = "tbscreen_worker"
RECOVERY_S = 25
"""Some three times what it takes until a lost worker's job is given to another, and done; without
leases it would be the visibility timeout's 30 s at least."""


def test_every_radiograph_is_answered_in_full(
    http: httpx.Client, radiographs: list[Path], submit: Submit, finished: Finished
) -> None:
    jobs = [finished(location) for location in [submit(path) for path in radiographs]]
    assert Counter(job["status"] for job in jobs) == {"succeeded": len(radiographs)}
    active = http.get("/health").json()["model"]
    for job in jobs:
        result = job["result"]
        assert result["prediction"] in {"TB Positive", "Normal", "Indeterminate"}
        assert 0 <= result["probability"] <= 1
        assert result["score"] == 100 * result["probability"]
        assert [len(row) for row in result["activation_map"]] == [8] * 8
        assert max(map(max, result["activation_map"])) in (0, 1)
        assert result["model"]["version"] == active["version"]
    heatmap = http.get(f"/v1/jobs/{jobs[0]['id']}/heatmap.png")
    assert heatmap.headers["content-type"] == "image/png"
    assert heatmap.content.startswith(b"\x89PNG")


def test_the_short_way_answers_at_once(http: httpx.Client, radiographs: list[Path]) -> None:
    with radiographs[0].open("rb") as stream:
        response = http.post("/predict", files={"file": ("radiograph", stream)})
    assert response.status_code == 200
    assert response.json()["prediction"] in {"TB Positive", "Normal", "Indeterminate"}


def test_what_is_no_image_is_refused_with_its_code(http: httpx.Client) -> None:
    response = http.post("/v1/jobs", files={"file": ("radiograph.png", b"no image at all")})
    assert response.status_code == 415
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "unsupported_media_type"


def test_a_damaged_image_fails_its_job_with_its_code(
    radiographs: list[Path], submit: Submit, finished: Finished, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    whole = radiographs[0].read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    job = finished(submit(damaged))
    assert (job["status"], job["error"]["code"]) == ("failed", "unreadable_image")


def test_uploads_are_erased_once_answered(
    stack: ComposeStack, radiographs: list[Path], submit: Submit, finished: Finished
) -> None:
    finished(submit(radiographs[0]))
    listing = "import glob; print(glob.glob('/var/lib/tbscreen/blobs/*'))"
    command = ("exec", "-T", "gateway", "python", "-c", listing)
    wait_until(lambda: stack.compose(*command).strip() == "[]", timeout_s=30, what="the erasure")


def test_a_worker_killed_in_mid_job_costs_no_job_and_seconds_only(
    stack: ComposeStack, radiographs: list[Path]
) -> None:
    container = stack.containers("worker")[0]
    before = started_at(container)
    load = Load(stack.url, radiographs, rate_per_s=5)
    with running_load(load):
        in_hand = catch_child(stack, container, WORKER)
        kill_main(container, WORKER)
        wait_until_restarted(container, before)
    load.settle()
    entries = load.ledger.entries
    assert len(load.ledger.ended("succeeded")) == len(entries)
    [lost] = [entry for entry in entries if entry.job_id == in_hand]
    assert lost.attempts > 1
    assert max(load.ledger.latencies()) < RECOVERY_S


def test_redis_killed_with_jobs_waiting_loses_none(
    stack: ComposeStack, radiographs: list[Path], submit: Submit, finished: Finished
) -> None:
    locations = [submit(radiographs[n % len(radiographs)]) for n in range(24)]
    [container] = stack.containers("redis")
    stack.compose("kill", "--signal", "KILL", "redis")
    stack.compose("up", "--detach", "--no-build", "--wait", "redis")
    assert stack.containers("redis") == [container]
    restarted_at = time.monotonic()
    jobs = [finished(location) for location in locations]
    assert Counter(job["status"] for job in jobs) == {"succeeded": 24}
    assert time.monotonic() - restarted_at < RECOVERY_S
