"""The stack's Redis: what it keeps, whom it lets in, and where its passwords are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.compose import ComposeStack

SECRETS = {
    "redis": ("admin", "probe"),
    "gateway": ("redis-url",),
    "worker": ("redis-url",),
}


def passwords(stack: ComposeStack) -> set[str]:
    found = set()
    for service, names in SECRETS.items():
        for name in names:
            text = stack.compose("exec", "-T", service, "cat", f"/run/tbscreen/{name}").strip()
            found.add(text.rpartition("@")[0].rpartition(":")[2] or text)
    assert len(found) == 4
    return found


def test_it_keeps_what_it_was_given(stack: ComposeStack) -> None:
    for name, value in (
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
    ):
        assert stack.redis_cli("config", "get", name).split() == [name, value]


def test_a_stranger_is_turned_away(stack: ComposeStack) -> None:
    answer = stack.compose("exec", "-T", "redis", "redis-cli", "ping")
    assert answer.startswith("NOAUTH")


DENIED = {
    "FLUSHALL": "flushall",
    "KEYS *": "keys",
    "CONFIG GET *": "config|get",
    "SHUTDOWN NOSAVE": "shutdown",
}


@pytest.mark.parametrize("command", DENIED)
def test_a_worker_may_not(stack: ComposeStack, command: str) -> None:
    code = (
        "import sys, redis, pathlib\n"
        "url = pathlib.Path('/run/tbscreen/redis-url').read_text().strip()\n"
        "try: redis.Redis.from_url(url).execute_command(*sys.argv[1:])\n"
        "except redis.exceptions.NoPermissionError: print('denied')"
    )
    answer = stack.compose(
        "exec", "-T", "worker", "python", "-c", code, *command.split(), timeout_s=60
    )
    assert answer.strip() == "denied"


def test_no_password_is_in_a_definition_or_a_log(stack: ComposeStack) -> None:
    shown = stack.save_logs().read_text() + stack.compose("config")
    for service in (*SECRETS, "secrets-init"):
        for container in stack.containers(service):
            shown += str(stack.inspect(container)) + stack.processes(container)
    assert "redis-server" in shown
    assert not [password for password in passwords(stack) if password in shown]


def test_new_passwords_are_taken_and_lose_no_job(
    stack: ComposeStack,
    radiographs: list[Path],
    submit: Callable[[Path], str],
    finished: Callable[[str], dict[str, Any]],
) -> None:
    former = passwords(stack)
    locations = [submit(radiographs[n % len(radiographs)]) for n in range(8)]
    stack.compose("run", "--rm", "-T", "secrets-init", "--rotate")
    stack.compose("restart", "gateway", "worker")
    stack.compose("up", "--detach", "--no-build", "--no-recreate", "--wait", "gateway", "worker")
    assert not former & passwords(stack)
    locations.append(submit(radiographs[0]))
    assert {finished(location)["status"] for location in locations} == {"succeeded"}


def test_nothing_that_the_services_did_was_denied(stack: ComposeStack) -> None:
    words = stack.redis_cli("acl", "log").split()
    denied = {words[at + 1] for at, word in enumerate(words) if word == "object"}
    # The attempts above, and what ran on with its former password while a new one was set.
    assert denied <= {*DENIED.values(), "AUTH", "HELLO"}
