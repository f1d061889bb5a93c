"""The audit of the locked dependencies, against a service that this test runs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from support.ports import free_port

AUDIT = Path(__file__).parents[2] / ".ci" / "audit.py"

FINDING = {
    "id": "OSV-1",
    "summary": "told for this test",
    "affected": [
        {
            "package": {"name": "kombu", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
        }
    ],
}


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(
        "".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in ("redis", "kombu"))
    )
    return path


@contextmanager
def osv(answers: dict[str, object], status: int = 200) -> Iterator[str]:
    """A service that answers for each package what it is told, and nothing for the others."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(answers.get(query["package"]["name"], {})).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(requirements: Path, service: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(AUDIT), str(requirements), "--service", service, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def verdict(requirements: Path) -> str:
    return requirements.with_name("verdict").read_text().strip()


def test_nothing_known_is_clean(requirements: Path) -> None:
    with osv({}) as service:
        done = audit(requirements, service)
    assert (done.returncode, verdict(requirements)) == (0, "clean")
    assert "2 packages" in done.stdout


def test_a_finding_fails_with_its_name_and_its_fix(requirements: Path) -> None:
    with osv({"kombu": {"vulns": [FINDING]}}) as service:
        done = audit(requirements, service)
        assert (done.returncode, verdict(requirements)) == (1, "vulnerable")
        assert "kombu 1.0: OSV-1, fixed in 9.9" in done.stderr
        assert audit(requirements, service, "--ignore", "OSV-1").returncode == 0


def test_a_service_that_can_not_be_reached_has_found_nothing_and_is_no_success(
    requirements: Path,
) -> None:
    done = audit(requirements, f"http://127.0.0.1:{free_port()}/v1/query")
    assert (done.returncode, verdict(requirements)) == (3, "not-audited")
    assert done.stderr.startswith("NOT-AUDITED: http://127.0.0.1")
    assert len(done.stderr.splitlines()) == 1


def test_a_service_that_fails_is_no_success(requirements: Path) -> None:
    with osv({}, status=500) as service:
        assert audit(requirements, service).returncode == 3


def test_a_former_answer_is_not_taken_for_this_one(requirements: Path) -> None:
    with osv({}) as service:
        assert audit(requirements, service).returncode == 0
    assert audit(requirements, f"http://127.0.0.1:{free_port()}/v1/query").returncode == 3
