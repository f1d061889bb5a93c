"""Puts together what sends a gateway's callbacks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis import Redis

from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.webhooks.connecting import PinnedBackend, SystemResolver
from tbscreen_gateway.webhooks.delivery import MAX_IN_FLIGHT, Deliverer
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_gateway.webhooks.sender import WebhookSender, make_tls_context
from tbscreen_gateway.webhooks.settings import CallbackSettings
from tbscreen_shared.jobs import CallbackOutbox, JobStore

_LEASE_MARGIN_S: Final = 5.0
"""How much longer than an attempt may take its lease lasts: for noting what came of it."""


@asynccontextmanager
async def running_deliveries(
    settings: CallbackSettings, redis: "Redis", jobs: JobStore, metrics: Metrics
) -> AsyncIterator[CallbackOutbox]:
    """Yields the outbox, and empties it while the block runs where there is a key to sign with."""
    lease_s = settings.callback_timeout_s + _LEASE_MARGIN_S
    outbox = CallbackOutbox(redis, lease_s=lease_s)
    if not settings.webhook_keys:
        yield outbox
        return
    resolver = SystemResolver(threads=MAX_IN_FLIGHT)
    sender = WebhookSender(
        PinnedBackend(resolver, settings.callback_policy.allowed),
        make_tls_context(settings.callback_ca_file),
        settings.webhook_keys,
        timeout_s=settings.callback_timeout_s,
    )
    deliveries = asyncio.create_task(
        Deliverer(
            *(outbox, jobs, sender, metrics),
            *(settings.callback_policy, CallbackSeals(settings.webhook_keys)),
            lease_s=lease_s,
        ).run()
    )
    try:
        yield outbox
    finally:
        deliveries.cancel()
        await asyncio.gather(deliveries, return_exceptions=True)
        await sender.close()
        resolver.close()
