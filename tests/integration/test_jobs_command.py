"""`tbscreen jobs` with a real gateway and worker, on jobs whose workers were really lost."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.api_keys import add_key
from support.radiographs import radiograph_files
from support.serving import Serving, run_tbscreen, running_serve
from support.waits import wait_until
from tbscreen import Client, JobNotFound
from tbscreen_shared.access import Scope

# The three losses that it takes by default would only lengthen the tests.
LOST_ONCE_IS_GIVEN_UP = {"TBSCREEN_MAX_ATTEMPTS": "1"}
# So that the process that has a job in hand is known.
ONE_WORKER = ("--workers", "1")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return radiograph_files(tmp_path_factory.mktemp("radiographs"))[0]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    directory = tmp_path_factory.mktemp("serve")
    with running_serve(directory, *ONE_WORKER, environment=LOST_ONCE_IS_GIVEN_UP) as running:
        yield running


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client(serving.url) as made:
        yield made


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    status: int
    stdout: str
    stderr: str

    @property
    def jobs(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def jobs(serving: Serving, *arguments: object) -> Ended:
    done = run_tbscreen("jobs", *arguments, "--url", serving.url)
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def frozen_worker(serving: Serving) -> Iterator[None]:
    pids = (serving.leader("worker"), *serving.pool_of_worker())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def lose(serving: Serving, client: Client, film: Path) -> str:
    """Submits a film and kills the worker's child that reads it; returns the job, given up.

    The child is held by a pipe in the upload's place, which nobody writes to. What killed it is
    gone when this returns: the upload is the film again.
    """
    before = set(serving.uploads_at_rest())
    with frozen_worker(serving):
        job_id = client.submit(film).id
        (name,) = set(serving.uploads_at_rest()) - before
        upload = serving.data_dir / "blobs" / name
        pipe = serving.data_dir / f"pipe-{name}"
        os.mkfifo(pipe)
        kept = serving.data_dir / f"kept-{name}"
        kept.hardlink_to(upload)
        pipe.rename(upload)
    wait_until(lambda: client.get(job_id).status == "started", what="the job's start")
    (child,) = serving.pool_of_worker()
    os.kill(child, signal.SIGKILL)
    job = client.wait(job_id, timeout_s=90)
    assert job.error is not None and job.error.code == "worker_lost", job
    kept.rename(upload)
    return job_id


def test_a_job_that_was_given_up_is_listed_and_retried_and_answered(
    serving: Serving, client: Client, film: Path
) -> None:
    assert jobs(serving, "dead", "--format", "json").jobs == []
    lost = lose(serving, client, film)

    listed = jobs(serving, "dead")
    assert (listed.status, listed.stderr) == (0, "")
    _, row = listed.stdout.splitlines()
    assert row.split()[:3] == [lost, "failed", "1"]
    assert "worker_lost: the workers that took this job were lost" in row
    (shown,) = jobs(serving, "show", lost, "--format", "json").jobs
    assert shown == jobs(serving, "dead", "--format", "json").jobs[0]

    retried = [jobs(serving, "retry", lost, "--format", "json") for _ in range(2)]
    assert [done.status for done in retried] == [0, 0], retried
    (first,), (again,) = (done.jobs for done in retried)
    assert (first["id"], first["retry_of"]) == (again["id"], lost)
    answered = client.wait(first["id"], timeout_s=90)
    assert (answered.status, answered.attempts) == ("succeeded", 1), answered
    assert f"retry of {lost}" in jobs(serving, "show", first["id"]).stdout
    assert jobs(serving, "dead", "--format", "json") == Ended(0, "", "")
    assert jobs(serving, "retry", "--all").status == 0
    wait_until(lambda: not serving.uploads_at_rest(), what="the erasure of what was read")


def test_a_job_that_was_given_up_is_purged_with_its_upload_and_no_other_is(
    serving: Serving, client: Client, film: Path
) -> None:
    answered = client.wait(client.submit(film).id, timeout_s=90)
    wait_until(lambda: not serving.uploads_at_rest(), what="the erasure of what was read")
    lost = lose(serving, client, film)
    assert len(serving.uploads_at_rest()) == 1

    done = jobs(serving, "purge", answered.id, lost)

    refused = f"tbscreen: {answered.id}: it is succeeded: nobody gave it up\n"
    assert done == Ended(1, f"{lost} erased\n", refused)
    assert serving.uploads_at_rest() == []
    assert jobs(serving, "dead", "--format", "json").jobs == []
    gone = jobs(serving, "show", lost)
    assert (gone.status, gone.stderr.count("\n")) == (1, 1)
    assert client.get(answered.id).result is not None


def test_where_keys_are_needed_each_command_takes_its_scopes(tmp_path: Path, film: Path) -> None:
    keys_file = tmp_path / "keys" / "api-keys.json"

    def key_for(*scopes: Scope) -> Path:
        path = tmp_path / "-".join(("key", *scopes))
        path.write_text(add_key(keys_file, *scopes)[1])
        return path

    reader, sender = key_for(Scope.READ), key_for(Scope.READ, Scope.SUBMIT)
    admin, everything = key_for(Scope.ADMIN), key_for(*Scope)
    environment = {**LOST_ONCE_IS_GIVEN_UP, "TBSCREEN_API_KEYS_FILE": str(keys_file)}
    with (
        running_serve(tmp_path, *ONE_WORKER, environment=environment) as serving,
        Client(serving.url, api_key=everything.read_text()) as client,
    ):
        lost = lose(serving, client, film)

        def denied(key: Path, *command: str) -> str:
            done = jobs(serving, *command, "--api-key-file", key)
            assert (done.status, done.stdout.count(lost)) == (4, 0), (command, done)
            said, hint, rest = done.stderr.partition(" Name a file that holds an API key")
            assert hint and rest.count("\n") == 1, done
            return said

        lacks = "tbscreen: The API key lacks the scope "
        for command in (["dead"], ["retry", lost], ["retry", "--all"], ["purge", "--all"]):
            assert denied(reader, *command) == denied(sender, *command) == f"{lacks}admin."
        assert denied(reader, "purge", lost) == f"{lacks}submit."
        assert denied(admin, "purge", lost) == denied(admin, "show", lost) == f"{lacks}read."
        without = jobs(serving, "dead")
        assert without.status == 4
        assert without.stderr.startswith("tbscreen: Send an API key")
        assert len(serving.uploads_at_rest()) == 1, "what was denied has not been done"

        def allowed(key: Path, *command: str) -> str:
            done = jobs(serving, *command, "--api-key-file", key)
            assert (done.status, done.stderr) == (0, ""), (command, done)
            return done.stdout

        assert lost in allowed(reader, "show", lost)
        assert lost in allowed(admin, "dead")
        retried = json.loads(allowed(admin, "retry", lost, "--format", "json"))
        assert client.wait(retried["id"], timeout_s=90).status == "succeeded"
        assert allowed(admin, "dead", "--format", "json") == ""
        assert allowed(sender, "purge", lost) == f"{lost} erased\n"
        with pytest.raises(JobNotFound):
            client.get(lost)

        other = lose(serving, client, film)
        assert allowed(everything, "purge", "--all") == f"{other} erased\n"
        assert allowed(admin, "dead", "--format", "json") == ""
        assert serving.uploads_at_rest() == []
