"""What a running stack holds: memory and files of its processes, Redis' size, uploads, its queue.

Reads /proc and the volumes of this host: it takes Linux, its own Docker engine, and root.
"""

from pathlib import Path

import httpx

from support.compose import ComposeStack
from support.containers import docker


class StackGauges:
    """Reads everything at once, as a flat mapping from a gauge's name to its value.

    A process is named by its place in its container (`worker-1 main`, `worker-1 child`), so that
    one that took the place of another continues its series.
    """

    def __init__(self, stack: ComposeStack) -> None:
        self._stack = stack
        self._containers = {
            f"{service}-{number}": container
            for service in ("gateway", "worker", "redis")
            for number, container in enumerate(stack.containers(service), start=1)
        }
        volume = f"{stack.project}_blobs"
        self._blobs = Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume))

    def read(self) -> dict[str, float]:
        """Returns all gauges now; a process that ends meanwhile is left out."""
        gauges: dict[str, float] = {}
        for name, container in self._containers.items():
            pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
            for role, process in _processes(pid):
                try:
                    memory = _memory_mb(process)
                    files = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
                except (OSError, KeyError):
                    continue
                gauges[f"{name} {role} rss_mb"] = memory["VmRSS"]
                # Without pages of files, which the kernel maps as it likes.
                gauges[f"{name} {role} anonymous_mb"] = memory["RssAnon"]
                gauges[f"{name} {role} files"] = files
        return gauges | self._redis() | self._uploads() | self._queue()

    def _redis(self) -> dict[str, float]:
        lines = self._stack.redis_cli("INFO", "everything").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        return {
            "redis used_memory_mb": round(int(found["used_memory"]) / 2**20, 3),
            "redis keys": int(self._stack.redis_cli("DBSIZE")),
            "redis aof_mb": round(int(found["aof_current_size"]) / 2**20, 2),
            "redis aof_rewrites": int(found.get("aof_rewrites", 0)),
            "unacked": int(self._stack.redis_cli("HLEN", "unacked")),
        }

    def _uploads(self) -> dict[str, float]:
        sizes = []
        for path in self._blobs.iterdir():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        return {"uploads": len(sizes), "uploads_mb": round(sum(sizes) / 2**20, 3)}

    def _queue(self) -> dict[str, float]:
        response = httpx.get(f"{self._stack.url}/health", timeout=20, trust_env=False)
        # A gateway whose connections are all taken refuses this one too: then there is no reading.
        length = response.json().get("queue_length")
        return {} if length is None else {"queue_length": length}


def _memory_mb(process: int) -> dict[str, float]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    told = dict(line.split(":", 1) for line in lines)
    # A process that ends has none of these lines any more.
    return {name: round(int(told[name].split()[0]) / 1024, 2) for name in ("VmRSS", "RssAnon")}


def _processes(init: int) -> list[tuple[str, int]]:
    """Returns the container's processes below its init, parents first."""
    mains = _children(init)
    children = [child for main in mains for child in _children(main)]
    named = [("main", main) for main in mains[:1]]
    return named + [
        ("child" if number == 0 else f"child-{number + 1}", child)
        for number, child in enumerate(children)
    ]


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        texts = [(task / "children").read_text() for task in tasks]
    except OSError:
        return []
    return sorted(int(word) for text in texts for word in text.split())
