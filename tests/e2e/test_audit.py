"""The stack's audit log, read with the stack's own command."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from support.compose import ComposeStack


def audit(stack: ComposeStack, *arguments: str) -> str:
    return stack.compose("run", "--rm", "-T", "admin", "audit", *arguments)


def test_a_job_is_in_a_whole_log(
    stack: ComposeStack,
    http: httpx.Client,
    radiographs: list[Path],
    submit: Callable[[Path], str],
    finished: Callable[[str], dict[str, Any]],
) -> None:
    job = finished(submit(radiographs[0]))
    deadline = time.monotonic() + 30
    while http.get("/health").json()["audit"]["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "whole" in audit(stack, "verify").splitlines()[-1]
    shown = audit(stack, "show", "--job", job["id"], "--format", "json").splitlines()
    accepted, ended = (json.loads(line) for line in shown)
    assert (accepted["event"], ended["event"]) == ("accepted", job["status"])
    assert ended["model"] == job["result"]["model"]["sha256"]
    assert accepted["sha256"] == ended["sha256"] == job["result"]["input"]["sha256"]
