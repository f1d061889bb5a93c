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
