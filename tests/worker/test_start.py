"""How the worker's programs begin, and how they refuse to."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import signals

from tbscreen_worker.app import make_worker_app
from tbscreen_worker.settings import WorkerSettings


@pytest.mark.parametrize("program", ["tbscreen_worker", "tbscreen_worker.healthcheck"])
@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "REDIS_URL: Value error, is missing"),
        ({"REDIS_URL": "redis://:hunter2@host:hunter2"}, "REDIS_URL: Value error, must be redis"),
        (
            {"REDIS_URL": "redis://:hunter2@host", "TBSCREEN_MAX_ATTEMPTS": "0"},
            "TBSCREEN_MAX_ATTEMPTS: ",
        ),
        (
            {"REDIS_URL": "redis://:hunter2@host", "TBSCREEN_TASK_TIME_LIMIT_S": "60"},
            "TBSCREEN_VISIBILITY_TIMEOUT_S (30) must be at least 10 more",
        ),
    ],
)
def test_a_missing_or_wrong_setting_is_named_in_one_line(
    program: str, environment: dict[str, str], named: str
) -> None:
    ended = run(program, environment)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"{program}: ")
    assert named in ended.stderr
    assert "hunter2" not in ended.stderr


def test_a_worker_keeps_no_radiograph_for_longer_than_its_job() -> None:
    environment = {"REDIS_URL": "redis://host", "TBSCREEN_RESULT_TTL_S": "3600"}
    ended = run("tbscreen_worker", {**environment, "TBSCREEN_RETAIN_UPLOADS_S": "3601"})
    assert ended.returncode == 2
    assert "RETAIN_UPLOADS_S (3601) must be at most TBSCREEN_RESULT_TTL_S (3600)" in ended.stderr


def test_seeding_needs_no_redis_and_names_what_is_wrong(tmp_path: Path) -> None:
    environment = {"TBSCREEN_MODELS_DIR": str(tmp_path / "models")}
    wrong = run("tbscreen_worker.seed", {**environment, "TBSCREEN_LOG_LEVEL": "LOUD"}, "/nowhere")
    assert wrong.returncode == 2
    assert "TBSCREEN_LOG_LEVEL: " in wrong.stderr
    assert run("tbscreen_worker.seed", environment, "/nowhere").returncode == 1


def run(
    program: str, environment: dict[str, str], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_healthcheck_does_without_the_model_stack() -> None:
    heavy = "{'ai_edge_litert', 'numpy', 'PIL'} & set(sys.modules)"
    code = f"import sys, tbscreen_worker.healthcheck; print({heavy} or 'light')"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "light"


@pytest.fixture
def untouched_signals() -> Iterator[None]:
    used = (signals.worker_process_init, signals.worker_process_shutdown, signals.setup_logging)
    before = [signal.receivers for signal in used]
    for signal in used:
        signal.receivers = []
    yield
    for signal, receivers in zip(used, before, strict=True):
        signal.receivers = receivers


class EndedError(BaseException):
    """In place of the end of the process."""


@pytest.mark.usefixtures("untouched_signals")
def test_a_child_whose_parts_can_not_be_built_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def end(status: int) -> None:
        raise EndedError(status)

    def break_down(settings: WorkerSettings) -> None:
        raise OSError("no threads left")

    monkeypatch.setattr("tbscreen_worker.app.os._exit", end)
    monkeypatch.setattr("tbscreen_worker.app.WorkerProcess", break_down)
    make_worker_app(WorkerSettings(redis_url="redis://host", blobs_dir=tmp_path))

    with pytest.raises(EndedError) as caught:
        signals.worker_process_init.send(sender=None)

    assert caught.value.args == (1,)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
