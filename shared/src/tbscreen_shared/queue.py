"""Celery over Redis: one task, JSON only, redelivered when its worker is lost."""

from typing import Final

from celery import Celery
from kombu.transport.redis import Channel
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from tbscreen_shared.redis_connections import MasterConnection, MasterSSLConnection, Silence
from tbscreen_shared.settings import SharedSettings

SCREEN_TASK: Final = "tbscreen.screen"
"""The one task: `screen(job_id: str)`. Everything else about the job is in its record."""

QUEUE_NAME: Final = "tbscreen"


def connect_redis(url: str, *, timeout_s: float = 5.0, silence: Silence | None = None) -> "Redis":
    """Returns a client that answers str, bounds each try in time and tries three times.

    Args:
        url: redis:// or rediss:// URL.
        timeout_s: for connecting and for each reply.
        silence: lets calls fail at once with `RedisSilentError`, where one of them has waited in
            vain; without it each waits for itself.
    """
    return Redis.from_url(
        url,
        connection_class=MasterSSLConnection if url.startswith("rediss") else MasterConnection,
        decode_responses=True,
        # Of bytes that are no text, which only a worker that was taken over writes, one entry is
        # unreadable, and not the whole stream.
        encoding_errors="replace",
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        retry_on_error=[ConnectionError, TimeoutError],
        silence=silence,
    )


def make_celery_app(settings: SharedSettings) -> Celery:
    """Returns the Celery application that the gateway sends with and the workers consume with.

    The result backend is off: it answers PENDING for an id it never saw, and the job record is the
    only truth about a job.
    """
    # Of every channel from now on: kombu has no setting for it.
    Channel.connection_class = MasterConnection
    Channel.connection_class_ssl = MasterSSLConnection
    app = Celery("tbscreen", broker=settings.redis_url.get_secret_value())
    app.conf.update(
        task_default_queue=QUEUE_NAME,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        # A job leaves the queue only when its outcome is recorded; a killed child hands it back.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=False,
        task_time_limit=settings.task_time_limit_s,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Redis answers with an error what it can not do now, such as to write while it is full. A
        # worker connects again then; else its main process would end at the first one.
        broker_channel_error_retry=True,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,
            # A worker killed while it looks must not keep the others from looking for 300 s.
            "unacked_mutex_expire": 10,
            # kombu looks for unacknowledged messages each interval x throttle seconds: 100 unless
            # told, which would dwarf the visibility timeout.
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2},
    )
    return app
