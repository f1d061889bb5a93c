"""A small HTTP server that answers like a gateway, and misbehaves when told to."""

import json
import math
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Fault:
    """What the next call meets: a status, or a connection closed before or after the work."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    drop: str = ""  # "before" or "after"


@dataclass
class GatewayState:
    """Uploads whose bytes start with `slow` are answered after `release`; with `bad`, failed.

    Those with `dead` are given up; a retry of one is answered. A page of the dead-letter list holds
    two. Those with `logit=X` get that logit and its sigmoid. Where there are `tokens`, each call
    needs one with the scope that the call takes.
    """

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    uploads: list[bytes] = field(default_factory=list)
    file_names: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    retry_after: str = "0"
    holds_long_polls: bool = True
    workers: int = 1
    tokens: dict[str, set[str]] = field(default_factory=dict)
    busy: int = 0
    busiest: int = 0
    manifest: dict[str, Any] = field(default_factory=dict)
    audit_sha256: str | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def release(self) -> None:
        with self.changed:
            for job in self.jobs.values():
                if job["status"] == "queued":
                    _finish(job, b"")
            self.changed.notify_all()


def _finish(job: dict[str, Any], content: bytes) -> None:
    if b"dead" in content:
        job["status"] = "failed"
        job["error"] = {"code": "worker_lost", "message": "it was given up"}
        return
    if b"bad" in content:
        job["status"] = "failed"
        job["error"] = {"code": "unreadable_image", "message": "can not be read"}
        return
    logit = 2.2 if b"sick" in content else -2.2
    probability = 0.9 if b"sick" in content else 0.1
    if told := re.search(rb"logit=(-?[0-9.]+)", content):
        logit = float(told.group(1))
        probability = 1 / (1 + math.exp(-logit))
    job["status"] = "succeeded"
    job["result"] = {
        "prediction": "TB Positive" if b"sick" in content else "Normal",
        "probability": probability,
        "score": 100 * probability,
        "logits": [logit],
        "threshold": 0.5,
        "operating_point": "balanced",
        "activation_map": [[0.0, 1.0], [0.5, 0.0]],
        "warnings": ["low_resolution", "inverted"] if b"small" in content else [],
        "model": {"version": "v1", "sha256": "0" * 64},
        "a_field_from_the_future": 7,
    }


def _handler(state: GatewayState) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(
            self, status: int, body: bytes | dict[str, Any], headers: dict[str, str] | None = None
        ) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _problem(self, status: int, code: str) -> None:
            self._answer(status, {"code": code, "title": code, "detail": f"the detail of {code}"})

        def _serve(self, method: str) -> None:
            length = int(self.headers.get("Content-Length", 0))
            content = self.rfile.read(length)
            url = urlsplit(self.path)
            with state.changed:
                state.calls.append(f"{method} {self.path}")
                fault = state.faults.popleft() if state.faults else Fault()
            if fault.drop == "before":
                self.close_connection = True
                return
            if fault.status:
                self._answer(fault.status, fault.body, fault.headers)
                return
            refusal = self._judge(method, url.path)
            if refusal:
                self._problem(*refusal)
            elif method == "POST" and url.path == "/v1/jobs":
                job = self._create(content)
                if fault.drop == "after":
                    self.close_connection = True
                    return
                self._answer(202, job)
            elif url.path == "/health":
                workers = [
                    {"name": f"w{n}", "model": {"version": "v1", "sha256": "0"}}
                    for n in range(state.workers)
                ]
                problems = [] if workers else ["No worker is running."]
                body: dict[str, Any] = {"status": "degraded" if problems else "ok"}
                if "read" in self._scopes():
                    audit = {"ok": True, "seq": 1, "sha256": state.audit_sha256}
                    body.update(workers=workers, problems=problems, audit=audit)
                self._answer(200, body)
            elif url.path == "/v1/models/v1" and state.manifest:
                self._answer(200, {"version": "v1", "active": True, "manifest": state.manifest})
            elif url.path == "/v1/dead-jobs":
                self._answer(200, self._dead_jobs(parse_qs(url.query)))
            elif url.path == "/readyz":
                self._answer(200, {"workers": state.workers})
            else:
                self._about_job(method, url.path, parse_qs(url.query))

        def _scopes(self) -> set[str]:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            return state.tokens.get(token, set()) if state.tokens else {"submit", "read", "admin"}

        def _judge(self, method: str, path: str) -> tuple[int, str] | None:
            if path == "/readyz" or (path == "/health" and "Authorization" not in self.headers):
                return None
            if not self._scopes():
                return 401, "unauthorized"
            needed = "read" if method == "GET" else "submit"
            if path == "/v1/dead-jobs" or path.endswith("/retry"):
                needed = "admin"
            return None if needed in self._scopes() or path == "/health" else (403, "forbidden")

        def _create(self, content: bytes) -> dict[str, Any]:
            file_name = re.search(rb'filename="([^"]*)"', content)
            data = content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
            key = self.headers["Idempotency-Key"]
            with state.changed:
                state.uploads.append(data)
                state.file_names.append(file_name.group(1).decode() if file_name else "")
                if key in state.keys:
                    return state.jobs[state.keys[key]]
                job: dict[str, Any] = {"id": f"job-{len(state.jobs)}", "status": "queued"}
                job["attempts"] = 0
                state.jobs[job["id"]] = job
                state.keys[key] = job["id"]
                if not data.startswith(b"slow"):
                    accepted = dict(job)
                    _finish(job, data)
                    return accepted
                return dict(job)

        def _dead_jobs(self, query: dict[str, list[str]]) -> dict[str, Any]:
            with state.changed:
                retried = {job.get("retry_of") for job in state.jobs.values()}
                dead = [
                    job
                    for job in state.jobs.values()
                    if job.get("error", {}).get("code") == "worker_lost"
                    and job["id"] not in retried
                ]
            start = int(query.get("cursor", ["0"])[0])
            more = start + 2 < len(dead)
            return {
                "jobs": dead[start : start + 2],
                "total": len(dead),
                "next_cursor": str(start + 2) if more else None,
            }

        def _retry(self, old: dict[str, Any]) -> None:
            if old.get("error", {}).get("code") != "worker_lost":
                self._problem(409, "job_not_dead")
                return
            new_id = f"retry-of-{old['id']}"
            job = state.jobs.setdefault(
                new_id,
                {"id": new_id, "status": "queued", "attempts": 0, "retry_of": old["id"]},
            )
            self._answer(202, job)

        def _about_job(self, method: str, path: str, query: dict[str, list[str]]) -> None:
            _, _, job_id, *rest = [*path.strip("/").split("/"), ""]
            with state.changed:
                job = state.jobs.get(job_id)
                if job is None:
                    self._problem(404, "job_not_found")
                    return
                if rest[0] == "retry":
                    self._retry(job)
                    return
                if method == "DELETE" and "only" in query:
                    if job["status"] == "queued":
                        job["status"] = "canceled"
                    if job["status"] == "canceled":
                        self._answer(200, job)
                    else:
                        self._problem(409, "job_finished")
                    return
                if method == "DELETE":
                    del state.jobs[job_id]
                    self._answer(204, b"")
                    return
                if rest and rest[0] == "heatmap.png":
                    if "result" in job:
                        self._answer(200, PNG + job_id.encode())
                    else:
                        self._problem(404, "heatmap_not_available")
                    return
                wait_s = float(query.get("wait", ["0"])[0])
                state.busy += 1
                state.busiest = max(state.busiest, state.busy)
                if state.holds_long_polls:
                    state.changed.wait_for(lambda: job["status"] != "queued", timeout=wait_s)
                state.busy -= 1
                unfinished = job["status"] == "queued"
                body = dict(job)
            self._answer(200, body, {"Retry-After": state.retry_after} if unfinished else None)

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_DELETE(self) -> None:
            self._serve("DELETE")

    return Handler


@contextmanager
def running_gateway(port: int = 0) -> Iterator[GatewayState]:
    state = GatewayState()
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(state))
    server.daemon_threads = True
    server.block_on_close = False
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        state.release()  # whoever waits goes, with the connection
        server.shutdown()
        server.server_close()
        thread.join()
