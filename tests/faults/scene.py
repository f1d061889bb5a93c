"""Where a fault happens: the stack, under a load that goes on."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.compose import ComposeStack
from support.ledger import FINAL, Entry
from support.load import Load

WORKER = "tbscreen_worker"
GATEWAY = "tbscreen_gateway"


@dataclass
class Scene:
    """What a fault works on, and what it has to say of its run."""

    stack: ComposeStack
    load: Load
    run: int
    scratch: Path
    notes: list[str] = field(default_factory=list)
    in_hand: list[str] = field(default_factory=list)
    """Jobs that the victim had when it was lost; another delivery has to end them."""

    def container(self, service: str) -> str:
        """The service's first container; a stack of containers keeps its order."""
        return self.containers(service)[0]

    def containers(self, service: str) -> list[str]:
        return self.stack.containers(service)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def send(self, content: bytes, *, timeout_s: float) -> Entry:
        """Sends one image beside the load, and enters its fate in the same ledger.

        Raises:
            AssertionError: it was not accepted.
        """
        entry = Entry(len(self.load.ledger.entries), time.monotonic())
        with httpx.Client(base_url=self.stack.url, timeout=60, trust_env=False) as http:
            response = http.post(
                "/v1/jobs",
                params={"callback_url": self.load.callback_url},
                files={"file": ("radiograph", content)},
            )
            assert response.status_code == 202, response.text
            entry.job_id, entry.accepted_s = response.json()["id"], time.monotonic()
            self.load.ledger.entries.append(entry)
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                job = http.get(f"/v1/jobs/{entry.job_id}", params={"wait": 20}).json()
                if job["status"] in FINAL:
                    entry.close(job)
                    break
        return entry


def living_workers(stack: ComposeStack) -> list[dict[str, Any]]:
    """Returns what `/health` says of each living worker process; nothing where nobody can say."""
    try:
        response = httpx.get(f"{stack.url}/health", timeout=5, trust_env=False)
        return list(response.json()["workers"])
    except (httpx.TransportError, ValueError, LookupError):
        return []


def jobs_done(stack: ComposeStack) -> dict[str, int]:
    """Returns how many jobs each living worker process has done."""
    return {worker["name"]: worker["jobs_done"] for worker in living_workers(stack)}


def served_versions(stack: ComposeStack) -> list[str]:
    """Returns the model version each living worker answers with."""
    return [(worker["model"] or {}).get("version", "") for worker in living_workers(stack)]
