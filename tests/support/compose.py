"""The project's real compose stack, under a name of its own, on a free port."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class ComposeStack:
    """`docker compose` for one project; `url` is where its gateway answers.

    COMPOSE_FILE is honoured, as `docker compose` does; `overrides` are files laid over it.
    """

    def __init__(
        self,
        project: str,
        artifacts: Path,
        *,
        overrides: Sequence[Path] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.project = project
        self._artifacts = artifacts
        files = [os.environ.get("COMPOSE_FILE", "docker-compose.yml"), *map(str, overrides)]
        self.environment: dict[str, str] = {
            "TBSCREEN_PORT": str(self.port),
            "COMPOSE_FILE": os.pathsep.join(files),
            **(settings or {}),
        }

    def compose(self, *arguments: str, timeout_s: float = 900) -> str:
        """Runs `docker compose` and returns what it wrote to standard output."""
        command = ["docker", "compose", "--project-name", self.project, "--profile", "train"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"docker compose {' '.join(arguments)} exited {done.returncode}:\n"
                f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done.stdout

    def up(self, *, workers: int) -> None:
        self.compose(
            *("up", "--detach", "--no-build", "--no-recreate", "--wait"),
            *("--wait-timeout", "180", "--scale", f"worker={workers}"),
            # The others end, which --wait would take for a failure, unless these wait for them.
            *("redis", "gateway", "worker"),
        )

    def containers(self, service: str) -> list[str]:
        """The service's containers, those that have ended too."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def redis_command(self, *arguments: str) -> list[str]:
        """Returns the command that runs redis-cli in the stack as the operator does."""
        containers = self.containers("redis")
        if not containers:
            raise RuntimeError("the stack's Redis does not run")
        as_admin = 'REDISCLI_AUTH="$(cat /run/tbscreen/admin)" exec redis-cli --user admin "$@"'
        within = ["docker", "exec", "--interactive", containers[0]]
        return [*within, "sh", "-c", as_admin, "redis-cli", *arguments]

    def redis_cli(self, *arguments: str) -> str:
        """Runs one Redis command and returns its answer.

        Raises:
            subprocess.CalledProcessError: Redis can not be reached.
        """
        done = subprocess.run(
            self.redis_command(*arguments),
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        done = subprocess.run(
            ["docker", "inspect", container], check=True, capture_output=True, text=True
        )
        return dict(json.loads(done.stdout)[0])

    def processes(self, container: str) -> str:
        """The command lines of a container's processes; empty for one that has ended."""
        done = subprocess.run(["docker", "top", container, "-eo", "args"], capture_output=True)
        return done.stdout.decode()

    def save_logs(self, path: Path | None = None) -> Path:
        path = path or self._artifacts / "compose.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.compose("logs", "--no-color", "--timestamps"))
        return path


@contextmanager
def running_stack(
    project: str,
    artifacts: Path,
    *,
    workers: int,
    overrides: Sequence[Path] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[ComposeStack]:
    """Brings a fresh stack up and takes it down with its volumes, whatever happened."""
    stack = ComposeStack(project, artifacts, overrides=overrides, settings=settings)
    stack.compose("down", "--volumes", "--remove-orphans")
    try:
        stack.up(workers=workers)
        yield stack
    finally:
        stack.save_logs()
        stack.compose("down", "--volumes", "--remove-orphans")


def image_bytes(image: str) -> int:
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", image],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)
