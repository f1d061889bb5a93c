"""Which job or batch an Idempotency-Key made."""

from typing import Final, NamedTuple, cast

from redis import Redis

from tbscreen_shared.jobs import transitions
from tbscreen_shared.jobs.keys import idempotency_key

UNCONFIRMED_S: Final = 10
"""How long an Idempotency-Key waits for its job's acceptance; then a gateway died doing it.

Accepting one takes milliseconds, and a repeat is put off for so long after such a death. A Redis
that hangs for longer may make a repeat a second job: that costs a reading, and loses nothing.
"""


class Binding(NamedTuple):
    """What an Idempotency-Key made, and whether its task has reached the queue."""

    job_id: str
    sha256: str
    accepted: bool


class IdempotencyKeys:
    """The bindings of all keys. Every method may raise `redis.exceptions.RedisError`.

    A `digest` stands for the key of one caller; `job_id` may as well be a batch's.
    """

    def __init__(self, redis: "Redis", *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._forget = redis.register_script(transitions.FORGET)

    def remember(
        self, digest: str, job_id: str, sha256: str, *, pending_s: int = UNCONFIRMED_S
    ) -> Binding | None:
        """Binds an idempotency digest to a job unless it is bound; returns the earlier binding.

        The binding is provisional until `confirm`: whoever repeats the request before must not be
        promised a job that may yet be refused.

        Args:
            digest: stands for the key.
            job_id: what it is to make.
            sha256: tells what was sent with it from other content.
            pending_s: for how long the binding holds without `confirm`.

        Returns:
            The earlier binding, or None when this one is the first.
        """
        key = idempotency_key(digest)
        while True:
            # SET with NX and GET together needs Redis 7; the embedded server is 6.2.
            if self._redis.set(key, f"{job_id} {sha256} pending", nx=True, ex=pending_s):
                return None
            earlier = cast("str | None", self._redis.get(key))
            if earlier is not None:
                earlier_id, earlier_sha256, state = earlier.split(" ")
                return Binding(earlier_id, earlier_sha256, state == "accepted")

    def confirm(self, digest: str, job_id: str, sha256: str) -> None:
        """Makes a binding last: its job's task has reached the queue."""
        self._redis.set(idempotency_key(digest), f"{job_id} {sha256} accepted", ex=self._ttl_s)

    def forget(self, digest: str, job_id: str) -> None:
        """Frees an idempotency digest unless another job has taken it since."""
        self._forget(keys=[idempotency_key(digest)], args=[job_id])
