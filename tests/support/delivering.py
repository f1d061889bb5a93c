"""A gateway's webhooks at work, without the gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from support.fake_worker import a_result
from support.webhook_receiver import until
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.webhooks.connecting import PinnedBackend
from tbscreen_gateway.webhooks.delivery import Deliverer
from tbscreen_gateway.webhooks.policy import CallbackPolicy, parse_allowed
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_gateway.webhooks.sender import WebhookSender, make_tls_context
from tbscreen_gateway.webhooks.signing import parse_secrets
from tbscreen_shared.contracts import Callback, CallbackStatus, ImageFormat
from tbscreen_shared.jobs import CallbackOutbox, JobStore, NewJob

SECRET = "whsec_" + "A" * 43 + "="
SEALS = CallbackSeals(parse_secrets(SECRET))
ALLOWED = parse_allowed("127.0.0.0/8")


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def finished(jobs: JobStore, url: str, *names: str) -> None:
    for name in names:
        seal = SEALS.seal(name, url)
        new = NewJob(name, "b" * 32, "a" * 64, ImageFormat.PNG, callback_url=url)
        jobs.create(replace(new, callback_seal=seal))
        jobs.succeed(name, a_result())


async def eventually(condition: Callable[[], object], timeout_s: float = 10) -> None:
    await asyncio.to_thread(until, condition, timeout_s)


class Delivering:
    """A gateway's deliveries, without the gateway."""

    def __init__(
        self,
        redis: Redis,
        jobs: JobStore,
        *,
        timeout_s: float = 5,
        lease_s: float = 10,
        retry_delays_s: Sequence[float] = (0.1, 0.1, 0.1),
        http_allowed: bool = True,
        secrets: str = SECRET,
    ) -> None:
        self.outbox = CallbackOutbox(redis, lease_s=lease_s)
        self.metrics = Metrics()
        self.sender = WebhookSender(
            PinnedBackend(loopback, ALLOWED),
            make_tls_context(None),
            parse_secrets(SECRET),
            timeout_s=timeout_s,
        )
        self._deliverer = Deliverer(
            *(self.outbox, jobs, self.sender, self.metrics),
            CallbackPolicy(True, http_allowed, ALLOWED),
            CallbackSeals(parse_secrets(secrets)),
            lease_s=lease_s,
            retry_delays_s=retry_delays_s,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Delivering"]:
        task = asyncio.create_task(self._deliverer.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.sender.close()

    def callback(self, job_id: str) -> Callback:
        callback = self.outbox.get(job_id)
        assert callback is not None
        return callback

    async def settled(self, job_id: str) -> Callback:
        await eventually(lambda: self.callback(job_id).status is not CallbackStatus.PENDING)
        return self.callback(job_id)

    def counted(self, outcome: str) -> float:
        text = self.metrics.exposition().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "tbscreen_callbacks_total" and sample.labels["outcome"] == outcome
        )
