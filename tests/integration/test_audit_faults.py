"""The audit log under what may befall its gateways, its disk and its Redis: no entry is lost."""

import hashlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from support.audit_entries import lines_of, told
from support.fake_bundle import publish_fake_bundle
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import RedisServer, running_redis_server
from support.serving import run_tbscreen
from support.waits import wait_until
from tbscreen_shared.jobs import AuditStream, audit_stream
from tbscreen_shared.jobs.keys import AUDIT, AUDIT_SEQUENCE, AUDIT_WRITER
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.workers import pid_on_this_host


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    with running_redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with connect_redis(server.url) as client:
        yield client


def check_complete(directory: Path, redis: Redis) -> None:
    """Each entry that was ever recorded is in the log once, in order, in a whole chain."""

    def recorded() -> list[int]:
        return list(range(1, int(str(redis.get(AUDIT_SEQUENCE))) + 1))

    # A gateway that has just started still tells of itself.
    wait_until(lambda: redis.xlen(AUDIT) == 0)
    wait_until(lambda: told(directory) == recorded())
    verified = run_tbscreen("audit", "verify", directory)
    assert verified.returncode == 0, verified.stdout


@contextmanager
def killing_at(command: bytes, redis_url: str, victim: Callable[[], None]) -> Iterator[str]:
    """A way to Redis that calls `victim` when it sees the command for the first time, and ends."""
    target = urlsplit(redis_url)
    listener = socket.create_server(("127.0.0.1", 0))
    struck = threading.Event()

    def pass_on(source: socket.socket, sink: socket.socket, watches: bool) -> None:
        try:
            while data := source.recv(65536):
                if watches and command in data and not struck.is_set():
                    struck.set()
                    victim()
                    return
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection((target.hostname or "", target.port or 0))
            for pair in ((client, upstream, True), (upstream, client, False)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    host, port = listener.getsockname()
    user = target.netloc.rpartition("@")[0]
    try:
        yield target._replace(netloc=f"{user and user + '@'}{host}:{port}").geturl()
    finally:
        listener.close()


def test_a_gateway_killed_between_write_and_acknowledgement_repeats_nothing(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    running: list[GatewayProcess] = []
    killed = threading.Event()

    def kill() -> None:
        running[0].signal(signal.SIGKILL)
        killed.set()

    for _ in range(20):
        AuditStream(redis).record("gateway_started")
    written = hashlib.sha1(audit_stream._WRITTEN.encode()).hexdigest().encode()
    with killing_at(written, server.url, kill) as url:
        gateway = GatewayProcess(url, tmp_path)
        running.append(gateway)
        try:
            gateway.start()
        except RuntimeError:
            assert killed.wait(10)
        assert killed.wait(10)
        gateway.stop()
    assert len(told(tmp_path / "audit")) >= 20
    assert redis.xlen(AUDIT) >= 20, "nothing was acknowledged"
    AuditStream(redis).record("gateway_started")
    with gateway_process(server.url, tmp_path):
        check_complete(tmp_path / "audit", redis)


def test_two_gateways_killed_while_they_write_leave_one_whole_log(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    over = threading.Event()

    def record() -> None:
        with connect_redis(server.url) as own:
            stream = AuditStream(own)
            while not over.is_set():
                for _ in range(20):
                    stream.record("gateway_started")
                time.sleep(0.05)

    taken_over_s = []

    def writer() -> str:
        return str(redis.get(AUDIT_WRITER))

    recording = threading.Thread(target=record)
    with (
        gateway_process(server.url, tmp_path) as first,
        gateway_process(server.url, tmp_path) as second,
    ):
        recording.start()
        try:
            for _ in range(2):
                wait_until(lambda: writer() != "None")
                killed = writer()
                by_pid = {one.process.pid: one for one in (first, second) if one.process}
                gateway = by_pid[pid_on_this_host(killed) or 0]
                gateway.signal(signal.SIGKILL)
                gateway.stop()
                died = time.monotonic()
                wait_until(lambda gone=killed: writer() not in (gone, "None"))  # type: ignore[misc]
                taken_over_s.append(round(time.monotonic() - died, 1))
                gateway.start()
        finally:
            over.set()
            recording.join()
        check_complete(tmp_path / "audit", redis)
    print(f"{len(lines_of(tmp_path / 'audit'))} entries; taken over after {taken_over_s} s")


def test_a_redis_killed_under_load_leaves_no_gap(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    with gateway_process(server.url, tmp_path):
        for _ in range(3):
            for _ in range(300):
                AuditStream(redis).record("gateway_started")
            server.kill()
            time.sleep(0.3)
            server.start()
        check_complete(tmp_path / "audit", redis)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("may not mount a tmpfs; test_audit_log.py limits the file's size instead")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_entries_in_redis_until_there_is_room(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "audit", "64k") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(48 * 1024))
        with gateway_process(server.url, tmp_path) as gateway:
            stream = AuditStream(redis)
            for _ in range(500):
                stream.record("gateway_started")

            def problem() -> str:
                return str(httpx.get(f"{gateway.url}/health").json()["audit"]["detail"])

            wait_until(lambda: "No space left on device" in problem())
            waiting = redis.xlen(AUDIT)
            assert waiting
            assert "Entries that wait in Redis" in problem()
            wait_until(lambda: "could not write the audit log" in gateway.log.read_text())
            logged = gateway.log.read_text().count("could not write the audit log")
            time.sleep(2.5)
            assert gateway.log.read_text().count("could not write the audit log") == logged
            written = told(disk)
            assert written == list(range(1, len(written) + 1))
            filler.unlink()
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
            wait_until(lambda: problem() == "None")
            check_complete(disk, redis)
        print(f"{waiting} of {redis.get(AUDIT_SEQUENCE)} entries waited for room")


def test_an_audit_folder_that_can_not_be_used_does_not_keep_radiographs_from_being_taken(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "audit").touch()
    png = b"\x89PNG\r\n\x1a\n" + bytes(500)
    with gateway_process(server.url, tmp_path) as gateway:
        answer = httpx.post(f"{gateway.url}/v1/jobs", files={"file": ("x", png)})
        assert answer.status_code == 202
        assert httpx.get(f"{gateway.url}/readyz").status_code == 200
        wait_until(lambda: httpx.get(f"{gateway.url}/health").json()["status"] == "degraded")
        (tmp_path / "audit").unlink()
        check_complete(tmp_path / "audit", redis)


def test_a_redis_that_can_not_be_reached_at_the_end_does_not_keep_a_gateway_from_ending(
    server: RedisServer, tmp_path: Path
) -> None:
    with gateway_process(server.url, tmp_path) as gateway:
        server.kill()
        started = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.process is not None
        gateway.process.wait(20)
        assert time.monotonic() - started < 10
        with pytest.raises(RedisError):
            connect_redis(server.url).ping()
