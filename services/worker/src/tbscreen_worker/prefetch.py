"""Keeps a worker consuming after Redis died in an acknowledgement, and while Redis is full.

kombu frees a delivery's prefetch slot only once Redis has confirmed the acknowledgement, and Celery
logs the connection's error and goes on (`Message.ack_log_error`). The slot would stay taken for
ever, and with a prefetch count of one the worker would never take another job.
"""

# kombu has no types, hence those that are ignored below. Whatever an acknowledgement raises goes
# on to the caller, once the slot is free.
import time
from contextlib import suppress
from typing import Any, Final

from kombu.transport import redis, virtual
from kombu.utils.json import dumps
from redis.exceptions import OutOfMemoryError

# From its first write on, a script may pass `maxmemory`: hence the ZREM, which removes nothing.
_TAKE: Final = """
-- KEYS: index, deliveries. ARGV: tag, time, delivery
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
"""

_SETTLE: Final = """
-- KEYS: index, deliveries. ARGV: tag
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
"""


class SlotFreeingQoS(redis.QoS):
    """Frees the slot whatever becomes of the acknowledgement.

    A full Redis refuses kombu's transactions, whatever they do, and a worker that may not
    acknowledge could end no job. So what every job needs, the noting of its delivery and its
    acknowledgement, are scripts here, with the same effect.

    Redis still holds a delivery whose acknowledgement was lost, and gives it out again after the
    visibility timeout; the job's record tells the second run that there is nothing to do.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """Notes a delivery that was taken from the queue; raises what Redis' client raises."""
        info = message.delivery_info
        # What is ignored here and below: kombu's calls have no types.
        delivery = dumps([message._raw, info["exchange"], info["routing_key"]])  # type: ignore[no-untyped-call]
        self._run(_TAKE, delivery_tag, time.time(), delivery)
        virtual.QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        """Acknowledges a delivery; raises what Redis' client raises."""
        try:
            self._run(_SETTLE, delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Sends a delivery back or drops it; raises what Redis' client raises."""
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]
        except Exception:
            # Whatever it was, and it is raised again: the slot is free.
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Gives lost deliveries back to the queue; a full Redis has to wait for that."""
        with suppress(OutOfMemoryError):
            super().restore_visible(start, num, interval)  # type: ignore[no-untyped-call]

    def _run(self, script: str, *arguments: object) -> None:
        with self.channel.conn_or_acquire() as client:
            client.eval(script, 2, self.unacked_index_key, self.unacked_key, *arguments)


def free_slots_of_lost_acks() -> None:
    """Installs `SlotFreeingQoS` for every channel that this process opens from now on."""
    redis.Channel.QoS = SlotFreeingQoS
