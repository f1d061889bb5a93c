"""A worker's channel goes on consuming after an acknowledgement was lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Queue
from kombu.transport import redis as transport
from kombu.transport.redis import Channel

from support.redis_server import RedisServer, running_redis_server
from tbscreen_worker.prefetch import free_slots_of_lost_acks


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def channel(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    monkeypatch.setattr(Channel, "QoS", transport.QoS)
    free_slots_of_lost_acks()
    with Connection(server.url) as connection:
        channel = connection.default_channel
        yield channel
        # Nothing is left to be handed back to a server that is gone.
        channel.qos._flush()


@pytest.mark.parametrize("settle", ["ack", "reject"])
def test_the_slot_of_a_delivery_that_redis_did_not_settle_is_free(
    server: RedisServer, channel: Channel, settle: str
) -> None:
    queue = Queue("q", channel=channel)
    queue.declare()
    channel.basic_qos(0, 1, False)
    channel.Producer().publish({}, routing_key="q")
    message = queue.get(no_ack=False)
    assert message is not None
    assert not channel.qos.can_consume()

    server.kill()

    with pytest.raises(channel.connection_errors):
        message.ack() if settle == "ack" else message.reject(requeue=True)
    assert channel.qos.can_consume()


def test_a_settled_deliverys_slot_is_free(channel: Channel) -> None:
    queue = Queue("q", channel=channel)
    queue.declare()
    channel.basic_qos(0, 1, False)
    channel.Producer().publish({}, routing_key="q")
    message = queue.get(no_ack=False)
    assert message is not None
    message.ack()
    assert channel.qos.can_consume()
    assert queue.get() is None
