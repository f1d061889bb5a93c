"""A place where real workers run: a Redis, a blob store, a models volume, and jobs to be done.

Jobs are held in mid-flight without hooks in the product: the upload is a named pipe, so that the
worker's `open` blocks until the test lets it go on.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from support.redis_server import as_user
from support.waits import wait_until
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.contracts import ImageFormat, Job, JobStatus, WorkerBeat
from tbscreen_shared.formats import SNIFF_BYTES
from tbscreen_shared.jobs import JobStore, NewJob, done_channel
from tbscreen_shared.queue import SCREEN_TASK, connect_redis, make_celery_app
from tbscreen_shared.redis_users import RedisUser
from tbscreen_shared.settings import SharedSettings
from tbscreen_shared.workers import WorkerRegistry, pid_on_this_host

TINY_BUNDLE = Path(__file__).parent.parent / "worker" / "data" / "tiny"


def copy_tiny_bundle(target: Path, **changes: Any) -> Path:
    """Copies the tests' bundle into `target`, with changes to its manifest."""
    shutil.copytree(TINY_BUNDLE, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest.update(changes)
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


class WorkerProcesses:
    """A running `python -m tbscreen_worker` and its children."""

    def __init__(self, environment: dict[str, str], directory: Path, *program: str) -> None:
        self._log = directory / f"worker-{uuid.uuid4().hex}.log"
        with self._log.open("wb") as log:
            self.main = subprocess.Popen(
                [sys.executable, *(program or ("-m", "tbscreen_worker"))],
                cwd=directory,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> list[dict[str, Any]]:
        """The JSON lines among what it logged."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.main.pid}/task/{self.main.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    def kill_everything(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.main.pid, signal.SIGKILL)
        self.main.wait(10)


class HeldJob:
    """A job whose worker blocks when it opens the upload."""

    def __init__(self, job_id: str, pipe: Path, upload: Path, content: Path) -> None:
        self.id = job_id
        self._pipe = pipe
        self._upload = upload
        self._content = content

    def put_upload_in_place(self) -> None:
        """From now on whoever opens the upload finds the image; who waits keeps waiting."""
        partial = self._upload.with_suffix(".partial")
        shutil.copyfile(self._content, partial)
        partial.rename(self._upload)

    def let_go_on(self) -> None:
        """Lets who waits go on, after `put_upload_in_place`: the pipe gives what sniffing reads."""
        # Not blocking: where nobody waits, who would have opened the pipe opens the image itself.
        try:
            pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        os.write(pipe, self._content.read_bytes()[:SNIFF_BYTES])
        os.close(pipe)


class WorkerSite:
    def __init__(self, directory: Path, redis_url: str, **settings: Any) -> None:
        self.directory = directory
        self.redis_url = redis_url
        self.environment = {
            "PATH": os.environ["PATH"],
            "REDIS_URL": as_user(redis_url, RedisUser.WORKER),
            "TBSCREEN_BLOBS_DIR": str(directory / "blobs"),
            "TBSCREEN_MODELS_DIR": str(directory / "models"),
            **{f"TBSCREEN_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.settings = SharedSettings(
            # What it sends, the gateway would send.
            redis_url=SecretStr(as_user(redis_url, RedisUser.GATEWAY)),
            blobs_dir=directory / "blobs",
            models_dir=directory / "models",
            **settings,
        )
        self.redis = connect_redis(redis_url)
        self.blobs = BlobStore(self.settings.blobs_dir)
        self.models = ModelStore(self.settings.models_dir)
        self.jobs = JobStore(
            self.redis,
            result_ttl_s=self.settings.result_ttl_s,
            max_attempts=self.settings.max_attempts,
        )
        self._celery = make_celery_app(self.settings)
        self._workers: list[WorkerProcesses] = []

    def publish(self, version: str = "tiny-1", **changes: Any) -> None:
        staged = copy_tiny_bundle(
            self.directory / f"staged-{uuid.uuid4().hex}", version=version, **changes
        )
        self.models.publish(staged)

    def start_worker(self, *program: str, **environment: str) -> WorkerProcesses:
        worker = WorkerProcesses({**self.environment, **environment}, self.directory, *program)
        self._workers.append(worker)
        return worker

    def start_ready_worker(self) -> WorkerProcesses:
        worker = self.start_worker()
        self.wait_for_beat(worker, lambda beat: beat.model is not None)
        return worker

    def beats_of(self, worker: WorkerProcesses) -> list[WorkerBeat]:
        pids = {str(pid) for pid in worker.children()}
        alive = WorkerRegistry(self.redis).alive()
        return [beat for beat in alive if str(pid_on_this_host(beat.name)) in pids]

    def wait_for_beat(
        self, worker: WorkerProcesses, shows: Callable[[WorkerBeat], bool]
    ) -> WorkerBeat:
        try:
            return wait_until(
                lambda: next((beat for beat in self.beats_of(worker) if shows(beat)), None),
                what="a beat",
            )
        except AssertionError as error:
            error.add_note(worker.text())
            raise

    def submit(self, image: Path) -> str:
        with self.blobs.open_writer() as writer:
            writer.write(image.read_bytes())
            blob = writer.commit()
        return self._enqueue(blob)

    def submit_held(self, image: Path) -> HeldJob:
        blob = uuid.uuid4().hex
        upload = Path(self.blobs.path(blob))
        pipe = self.directory / f"pipe-{blob}"
        os.mkfifo(pipe)
        upload.hardlink_to(pipe)
        return HeldJob(self._enqueue(blob), pipe, upload, image)

    def submit_unreadable(self) -> str:
        """A job whose upload can not be opened, for a fault that is not the image's."""
        blob = uuid.uuid4().hex
        Path(self.blobs.path(blob)).mkdir()
        return self._enqueue(blob)

    def _enqueue(self, blob: str) -> str:
        job_id = str(uuid.uuid4())
        self.jobs.create(NewJob(id=job_id, blob=blob, sha256="0" * 64, format=ImageFormat.PNG))
        self.send_task(job_id)
        return job_id

    def send_task(self, job_id: str) -> None:
        self._celery.send_task(SCREEN_TASK, args=[job_id])

    def job(self, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        assert job is not None
        return job

    def wait_for_start(self, job_id: str, *, attempts: int = 1) -> None:
        wait_until(
            lambda: (
                self.job(job_id).status is JobStatus.STARTED
                and self.job(job_id).attempts >= attempts
            ),
            what=f"attempt {attempts}",
        )

    def wait_for_end(self, job_id: str, *, timeout_s: float = 30) -> Job:
        wait_until(
            lambda: self.job(job_id).status.is_final, timeout_s=timeout_s, what="the job's end"
        )
        return self.job(job_id)

    def listen(self, *job_ids: str) -> "Announcements":
        return Announcements(self.redis, job_ids)

    def close(self) -> None:
        for worker in self._workers:
            worker.kill_everything()
        self._celery.close()
        self.redis.close()


class Announcements:
    """What is announced of some jobs: one final state each, if all is well."""

    def __init__(self, redis: Any, job_ids: tuple[str, ...]) -> None:
        self._pubsub = redis.pubsub()
        self._pubsub.subscribe(*map(done_channel, job_ids))
        for _ in job_ids:
            assert self._pubsub.get_message(timeout=5)["type"] == "subscribe"

    def heard(self) -> list[str]:
        """Everything announced since; ends the listening."""
        states = []
        while message := self._pubsub.get_message(timeout=0.2):
            states.append(message["data"])
        self._pubsub.close()
        return states
