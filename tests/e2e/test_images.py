"""What the images hold, and what they must not."""

import subprocess

import pytest

from support.compose import ComposeStack, image_bytes

BASE = "python:3.11-slim-bookworm"
MB = 1_000_000


@pytest.mark.parametrize(("image", "limit_mb"), [("gateway", 150), ("worker", 450)])
def test_an_image_is_lean(stack: ComposeStack, image: str, limit_mb: int) -> None:
    # BuildKit keeps no tagged copy of a base image.
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True).returncode != 0:
        subprocess.run(["docker", "pull", "--quiet", BASE], check=True)
    over_base = (image_bytes(f"tbscreen/{image}") - image_bytes(BASE)) / MB
    print(f"tbscreen/{image}: {over_base:.0f} MB over its base")
    assert over_base <= limit_mb


@pytest.mark.parametrize(
    ("image", "absent"),
    [
        ("gateway", ["tensorflow", "ai_edge_litert", "numpy", "PIL", "tbscreen_worker"]),
        ("worker", ["tensorflow", "keras", "fastapi", "uvicorn", "tbscreen_gateway"]),
        ("training", ["celery", "redis", "fastapi"]),
    ],
)
def test_an_image_holds_nothing_of_the_others(
    stack: ComposeStack, image: str, absent: list[str]
) -> None:
    probe = (
        f"import importlib.util as u; print([n for n in {absent!r} if u.find_spec(n) is not None])"
    )
    done = subprocess.run(
        ["docker", "run", "--rm", "--entrypoint", "python", f"tbscreen/{image}", "-c", probe],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("service", ["redis", "gateway", "worker"])
def test_a_container_has_the_least_rights(stack: ComposeStack, service: str) -> None:
    for container in stack.containers(service):
        facts = stack.inspect(container)
        assert facts["Config"]["User"] not in ("", "root", "0")
        assert facts["HostConfig"]["ReadonlyRootfs"]
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in facts["HostConfig"]["SecurityOpt"]


def test_workers_and_gateway_can_not_change_a_model(stack: ComposeStack) -> None:
    for service in ("worker", "gateway"):
        for container in stack.containers(service):
            mounts = {m["Destination"]: m["RW"] for m in stack.inspect(container)["Mounts"]}
            assert mounts["/var/lib/tbscreen/models"] is False


def test_the_gateway_can_not_change_who_may_use_it(stack: ComposeStack) -> None:
    for container in stack.containers("gateway"):
        mounts = {m["Destination"]: m["RW"] for m in stack.inspect(container)["Mounts"]}
        assert mounts["/var/lib/tbscreen/keys"] is False


def test_redis_keeps_what_it_was_given(stack: ComposeStack) -> None:
    for name, value in (
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
    ):
        answer = stack.compose("exec", "-T", "redis", "redis-cli", "config", "get", name)
        assert answer.split() == [name, value]
