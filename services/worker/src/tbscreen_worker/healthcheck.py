"""Exits 0 when this host's worker has beaten lately: `python -m tbscreen_worker.healthcheck`."""

import sys

from redis.exceptions import RedisError

from tbscreen_shared.queue import connect_redis
from tbscreen_shared.settings import SharedSettings, load_settings
from tbscreen_shared.workers import WorkerRegistry, host_prefix


def main() -> int:
    """Returns 0 when a worker of this host lives, else 1."""
    settings = load_settings(SharedSettings, program="tbscreen_worker.healthcheck")
    registry = WorkerRegistry(connect_redis(settings.redis_url.get_secret_value()))
    try:
        alive = registry.alive()
    except RedisError as error:
        sys.stderr.write(f"Redis can not be asked: {type(error).__name__}\n")
        return 1
    return 0 if any(beat.name.startswith(host_prefix()) for beat in alive) else 1


if __name__ == "__main__":
    sys.exit(main())
