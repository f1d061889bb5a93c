"""What only a real process shows: signals, pipes and terminals."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from support.http_gateway import GatewayState

COMMAND = (sys.executable, "-m", "tbscreen", "predict")


def test_interrupt_prints_what_is_done_and_leaves_job_ids(
    gateway: GatewayState, tmp_path: Path
) -> None:
    for name, content in (("a", b"well"), ("b", b"slow"), ("c", b"well"), ("d", b"slow")):
        (tmp_path / f"{name}.png").write_bytes(content)
    (tmp_path / "e.png").write_bytes(b"well")
    process = subprocess.Popen(
        [*COMMAND, "--url", gateway.url, "--format", "json", "--jobs", "2", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in its background hands down an ignored interrupt.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 20
    while (gateway.busy < 2 or len(gateway.uploads) < 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [line["status"] for line in lines] == [
        "succeeded",
        "pending",
        "succeeded",
        "pending",
        "not_sent",
    ]
    assert lines[1]["job_id"] in gateway.jobs
    assert "Traceback" not in stderr


def test_closed_pipe_ends_quietly(gateway: GatewayState, tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.png").write_bytes(b"well")
    process = subprocess.Popen(
        [*COMMAND, "--url", gateway.url, "--jobs", "1", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=20)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert len(gateway.uploads) < 50


def test_results_stream_while_later_files_wait(gateway: GatewayState, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"well")
    (tmp_path / "b.png").write_bytes(b"slow")
    process = subprocess.Popen(
        [*COMMAND, "--url", gateway.url, "--format", "json", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["status"] == "succeeded"
    assert process.poll() is None
    while gateway.busy == 0:
        time.sleep(0.01)
    gateway.release()
    assert json.loads(process.stdout.readline())["status"] == "succeeded"
    assert process.wait(timeout=10) == 0
    process.stdout.close()


def test_terminal_gets_a_bar_beside_whole_lines_of_results(
    gateway: GatewayState, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"sick")
    master, terminal = pty.openpty()
    process = subprocess.run(
        [*COMMAND, "--url", gateway.url, "--format", "csv", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
        text=True,
        timeout=20,
    )
    os.close(terminal)
    seen = b""
    with suppress(OSError):  # EIO: that was all
        while chunk := os.read(master, 65536):
            seen += chunk
    screen = seen.decode()
    os.close(master)
    assert process.returncode == 0
    assert len(process.stdout.splitlines()) == 2
    assert "screening" in screen
    assert "1 file: 1 TB Positive. A research tool, not a medical device." in screen
    assert "TB Positive," not in screen
