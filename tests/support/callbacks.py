"""What the stack's webhooks told of each job, as a receiver that keeps ids would know it."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from support.containers import docker
from support.ledger import fingerprint
from support.webhook_receiver import WebhookReceiver

_NAME = "receiver.test"
"""What stacks/callbacks.yml calls this machine."""
SETTINGS = {
    "TBSCREEN_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"of the fault trials alone").decode(),
    "TBSCREEN_CALLBACK_ALLOW": _NAME,
    "TBSCREEN_CALLBACK_HTTP": "true",
}


class Callbacks:
    """What was received since `forget`. `url` is what to register."""

    def __init__(self, receiver: WebhookReceiver, url: str) -> None:
        self._receiver = receiver
        self._begins = 0
        self.url = url

    def forget(self) -> None:
        self._begins = len(self._receiver.deliveries)

    def told(self) -> dict[str, set[str]]:
        """The final states told of each job, by their fingerprints; repeats count once.

        More than one is a duplicate that no receiver can see, for the id is the same.
        """
        told: dict[str, set[str]] = {}
        for delivery in self._receiver.deliveries[self._begins :]:
            state = fingerprint(json.loads(delivery.body))
            told.setdefault(delivery.headers["webhook-id"], set()).add(state)
        return told

    def repeats(self) -> int:
        """How many deliveries a receiver has to drop, since it has seen their ids."""
        return len(self._receiver.deliveries) - self._begins - len(self.told())

    def contradictions(self, final_states: Mapping[str, str]) -> list[str]:
        """The ids of jobs of which anything but the final state, as given, was told."""
        told = self.told()
        return [job for job, state in final_states.items() if told.get(job, {state}) != {state}]


@contextmanager
def receiving_callbacks(host: str = "127.0.0.1", name: str = "127.0.0.1") -> Iterator[Callbacks]:
    """Listens on an address of this machine that others know by a name."""
    with WebhookReceiver(host=host).running() as receiver:
        yield Callbacks(receiver, f"http://{name}:{receiver.port}/")


@contextmanager
def stack_callbacks() -> Iterator[Callbacks]:
    """Listens where containers reach this machine, with SETTINGS and stacks/callbacks.yml."""
    template = "{{range .IPAM.Config}}{{.Gateway}}{{end}}"
    host = docker("network", "inspect", "--format", template, "bridge")
    with receiving_callbacks(host, _NAME) as callbacks:
        yield callbacks
