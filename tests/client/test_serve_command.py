import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.http_gateway import GatewayState
from support.ports import free_port
from tbscreen import serve_command
from tbscreen.cli import app
from tbscreen.serve import readiness
from tbscreen.serve.readiness import wait_until_ready

runner = CliRunner(env={"TBSCREEN_MODELS_DIR": None, "REDIS_URL": None})


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_command, "find_spec", lambda _: None)
    result = runner.invoke(app, ["serve"])
    assert result.exit_code == 1
    assert "pip install 'tbscreen[serve]'" in result.stderr


def test_without_a_model_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_command, "find_spec", lambda name: name)
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["serve", "--port", str(free_port())])
    assert result.exit_code == 1
    assert f"no model is published in {tmp_path / 'models'}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_ready_means_a_gateway_and_a_worker_with_its_model(gateway: GatewayState) -> None:
    async def ask() -> None:
        port = int(gateway.url.rsplit(":", 1)[1])
        gateway.workers = 0
        waiting = asyncio.create_task(wait_until_ready("127.0.0.1", port, print))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        gateway.workers = 2
        health = await asyncio.wait_for(waiting, 5)
        assert len(health.workers) == 2

    asyncio.run(ask())


def test_the_health_returned_is_not_older_than_what_it_was_judged_by(
    gateway: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = readiness._ask

    async def ask_and_change(client: Any, path: str, kind: Any) -> Any:
        answer = await ask(client, path, kind)
        if path == "/health":
            gateway.workers = 2
        return answer

    gateway.workers = 0
    monkeypatch.setattr(readiness, "_ask", ask_and_change)
    port = int(gateway.url.rsplit(":", 1)[1])
    health = asyncio.run(wait_until_ready("127.0.0.1", port, print))
    assert len(health.workers) == 2


def test_what_is_amiss_is_told_once_when_a_start_takes_long(
    gateway: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def ask() -> None:
        port = int(gateway.url.rsplit(":", 1)[1])
        waiting = asyncio.create_task(wait_until_ready("127.0.0.1", port, told.append))
        async with asyncio.timeout(30):
            while len(gateway.calls) < 12:  # two each round
                await asyncio.sleep(0.02)
        waiting.cancel()

    gateway.workers = 0
    monkeypatch.setattr(readiness, "_USUAL_START_S", 0.1)
    asyncio.run(ask())
    assert told == ["not ready yet: No worker is running."]


def test_nobody_listening_is_waited_for() -> None:
    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_until_ready("127.0.0.1", free_port(), print), 0.5)

    asyncio.run(ask())
