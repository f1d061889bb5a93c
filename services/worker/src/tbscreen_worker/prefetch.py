"""Keeps a worker consuming after Redis died while a delivery was being acknowledged.

kombu frees a delivery's prefetch slot only once Redis has confirmed the acknowledgement, and Celery
logs the connection's error and goes on (`Message.ack_log_error`). The slot would stay taken for
ever, and with a prefetch count of one the worker would never take another job.
"""

# kombu has no types, hence the four that are ignored below. Whatever an acknowledgement raises goes
# on to the caller, once the slot is free.
from kombu.transport import redis, virtual


class SlotFreeingQoS(redis.QoS):
    """Frees the slot whatever becomes of the acknowledgement.

    Redis still holds a delivery whose acknowledgement was lost, and gives it out again after the
    visibility timeout; the job's record tells the second run that there is nothing to do.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledges a delivery; raises what Redis' client raises."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Sends a delivery back or drops it; raises what Redis' client raises."""
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


def free_slots_of_lost_acks() -> None:
    """Installs `SlotFreeingQoS` for every channel that this process opens from now on."""
    redis.Channel.QoS = SlotFreeingQoS
