"""Parts of `tbscreen serve` are killed under load; nothing that was accepted may be lost."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.radiographs import radiograph_files
from support.serving import TBSCREEN, Serving, running_serve
from tbscreen import Client

FILES = 60
# A lost worker's job goes to another after this; the default of 30 s would only lengthen the tests.
SOON = {"TBSCREEN_VISIBILITY_TIMEOUT_S": "14", "TBSCREEN_TASK_TIME_LIMIT_S": "4"}
# Longer than a call to Redis is waited for.
STILL_S = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Many names for a few radiographs."""
    (tmp_path / "drawn").mkdir()
    radiographs = radiograph_files(tmp_path / "drawn")
    made = tmp_path / "radiographs"
    made.mkdir()
    for number in range(FILES):
        source = radiographs[number % len(radiographs)]
        (made / f"{number:03}{source.suffix}").symlink_to(source)
    return made


@contextmanager
def predicting_all(serving: Serving, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [
            # A worker that has to end itself first takes 25 s and its start.
            *(*TBSCREEN, "predict", "--url", serving.url, "--format", "json", "--wait", "90"),
            str(folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_lines(predicting: "subprocess.Popen[str]", count: int) -> list[str]:
    assert predicting.stdout is not None
    return [predicting.stdout.readline() for _ in range(count)]


def check_all_answered(predicting: "subprocess.Popen[str]", lines: list[str]) -> None:
    assert predicting.stdout is not None
    records = [json.loads(line) for line in [*lines, *predicting.stdout]]
    assert len(records) == FILES
    assert [(record["file"], record["error"]) for record in records if record["error"]] == []
    assert len({record["job_id"] for record in records}) == FILES
    assert predicting.wait(timeout=10) == 0


def check_uploads_are_erased(serving: Serving) -> None:
    deadline = time.monotonic() + 10
    while serving.uploads_at_rest() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert serving.uploads_at_rest() == []


def kill(serving: Serving, name: str) -> None:
    target = serving.pool_of_worker()[0] if name == "worker's child" else serving.leader(name)
    os.kill(target, signal.SIGKILL)


@pytest.mark.parametrize("name", ["gateway", "worker", "worker's child", "redis"])
def test_killed_part_costs_no_radiograph(tmp_path: Path, folder: Path, name: str) -> None:
    with (
        running_serve(tmp_path, environment=SOON) as serving,
        predicting_all(serving, folder) as predicting,
    ):
        lines = read_lines(predicting, 5)
        kill(serving, name)
        lines += read_lines(predicting, 15)
        kill(serving, name)
        check_all_answered(predicting, lines)
        if name != "worker's child":
            assert f"{name} was killed by SIGKILL; starting it again" in serving.log.read_text()
        if name != "gateway":  # one that is killed leaves the uploads that it was taking in
            check_uploads_are_erased(serving)


def test_redis_that_stands_still_costs_no_radiograph(tmp_path: Path, folder: Path) -> None:
    with (
        running_serve(tmp_path, environment=SOON) as serving,
        predicting_all(serving, folder) as predicting,
    ):
        lines = read_lines(predicting, 5)
        redis = serving.leader("redis")
        os.kill(redis, signal.SIGSTOP)
        time.sleep(STILL_S)
        os.kill(redis, signal.SIGCONT)
        check_all_answered(predicting, lines)
        check_uploads_are_erased(serving)


def test_everything_killed_at_once_still_answers_what_was_accepted(
    tmp_path: Path, folder: Path
) -> None:
    with running_serve(tmp_path, environment=SOON) as serving:
        with Client(serving.url) as client:
            job_ids = [client.submit(path).id for path in sorted(folder.iterdir())[:20]]
        serving.pids()
        serving.process.kill()
        serving.process.wait()
        serving.wait_until_gone()
    with running_serve(tmp_path, environment=SOON) as again, Client(again.url) as client:
        assert {client.wait(job_id, timeout_s=60).status for job_id in job_ids} == {"succeeded"}


def test_stop_under_load_loses_nothing_and_leaves_nothing_running(
    tmp_path: Path, folder: Path
) -> None:
    with running_serve(tmp_path, environment=SOON) as serving:
        with Client(serving.url) as client:
            job_ids = [client.submit(path).id for path in sorted(folder.iterdir())[:20]]
        serving.pids()
        serving.interrupt()
        serving.process.communicate(timeout=40)
        assert serving.process.returncode == 0
        serving.wait_until_gone(timeout_s=1)
    with running_serve(tmp_path, environment=SOON) as again, Client(again.url) as client:
        jobs = [client.wait(job_id, timeout_s=60) for job_id in job_ids]
        assert {job.status for job in jobs} == {"succeeded"}
        # The job in hand was finished, not cut off and redone.
        assert {job.attempts for job in jobs} == {1}
