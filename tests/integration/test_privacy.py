"""What a patient's data leaves behind in the whole running system: nothing.

Words are planted wherever an upload or a request may carry them. After the jobs have ended, none
may be in a log (at DEBUG), in Redis, in its files, on the upload volume, in the audit log, in any
answer or in a callback.
"""

import base64
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.identifiers import (
    IN_FILES,
    IN_REQUESTS,
    STUDY_UID,
    dicom,
    found_in,
    png,
    uploads,
    zip_archive,
)
from support.planted_site import HEADERS, Site, dump_redis, part
from support.serving import running_serve
from support.waits import wait_until
from support.webhook_receiver import WebhookReceiver, running_receiver
from tbscreen_shared.jobs import JobStore
from tbscreen_shared.jobs.keys import AUDIT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("privacy")
    temporary = directory / "tmp"
    temporary.mkdir()
    environment = {
        "TBSCREEN_LOG_LEVEL": "DEBUG",
        "PYTHONWARNINGS": "always",
        "TMPDIR": str(temporary),
        "TBSCREEN_WEBHOOK_SECRET": f"whsec_{base64.b64encode(bytes(range(32))).decode()}",
        "TBSCREEN_CALLBACK_ALLOW": "127.0.0.0/8",
        "TBSCREEN_CALLBACK_HTTP": "true",
    }
    with running_serve(directory, environment=environment) as serving:
        site = Site(serving, temporary)
        yield site
        site.http.close()
        site.redis.close()


def wait_for_end(site: Site, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        job: dict[str, Any] = site.ask("GET", f"/v1/jobs/{job_id}?wait=20").json()
        if job["status"] in ("succeeded", "failed", "canceled"):
            return job
    raise AssertionError(f"{job_id} did not end")


def read_everything(site: Site, every: dict[str, bytes]) -> list[str]:
    """Sends each file twice, as a repeat too; returns the ids of the jobs."""
    ids = [site.submit(data) for data in every.values()]
    assert site.submit(png(), key="visit") == site.submit(png(), key="visit")
    jobs = {name: wait_for_end(site, job_id) for name, job_id in zip(every, ids, strict=True)}
    states = {name: job["status"] for name, job in jobs.items()}
    for name in ("png", "jpeg", "tiff", "dicom"):
        assert states[name] == "succeeded", (name, jobs[name])
    failed = [name for name, state in states.items() if state == "failed"]
    assert len(failed) >= 10, states
    assert {jobs[name]["error"]["code"] for name in failed} == {"unreadable_image"}
    return ids


def send_what_is_refused(site: Site, job_id: str) -> None:
    """Requests that are wrong, or ask for what there is not; each answer is an error or a job."""
    form = {"Zqfieldname": ("Zqfilename", png())}
    refused = [
        site.ask("POST", "/v1/jobs", files=form, headers=HEADERS),
        site.ask("POST", "/v1/jobs", files={"file": ("Zqfilename", b"Zqnotafile")}),
        site.ask(
            "POST", "/v1/jobs", content=b"Zqnotafile", headers={"Content-Type": "Zqheadername/x"}
        ),
        site.ask(
            "POST",
            "/v1/jobs",
            content=b"--Zqboundary\r\nContent-Disposition: form-data; name=Zqfieldname\r\n\r\nx",
            headers={"Content-Type": "multipart/form-data; boundary=Zqboundary"},
        ),
        site.ask("POST", "/v1/jobs?wait=Zqwaitvalue", files={"file": ("x", png())}),
        site.ask("POST", "/v1/jobs", headers={"Idempotency-Key": "Zqidempotency," * 30}),
        site.ask("GET", f"/v1/jobs/{job_id}?wait=Zqwaitvalue"),
        site.ask("GET", "/v1/dead-jobs?cursor=Zqcursorname"),
    ]
    assert {answer.status_code for answer in refused} <= {404, 415, 422}
    for path in ("v1/jobs/", "v1/models/", "v1/models/x/report/", "static/", ""):
        # An answer names the path that was asked for, to the one who asked: not looked into.
        assert site.http.get(f"/{path}Zqpathname").status_code == 404
    with socket.create_connection(("127.0.0.1", site.serving.port)) as connection:
        connection.sendall(b"Zqmethodname /Zqpathname#Zqpathname HTTP/1.1\r\nZq header\r\n\r\n")
        connection.recv(4096)
    with socket.create_connection(("127.0.0.1", site.serving.port)) as connection:
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: g\r\nContent-Length: 900000\r\n"
        kind = b"Content-Type: multipart/form-data; boundary=Zqboundary\r\n\r\n"
        part = b'--Zqboundary\r\nContent-Disposition: form-data; name="file"; filename="Zqfilename"'
        connection.sendall(head + kind + part + b"\r\n\r\n" + png()[:5000])
        time.sleep(0.3)


def cancel_and_give_up(site: Site) -> None:
    """One job is canceled as it waits; one is given up, seen to keep its radiograph, and purged."""
    # An answer comes before the erasure of its radiograph.
    wait_until(lambda: not site.uploads_at_rest(), what="the erasure of those read")
    site.freeze_worker(signal.SIGSTOP)
    try:
        canceled, given_up = site.submit(png()), site.submit(uploads()["dicom"])
        assert site.ask("DELETE", f"/v1/jobs/{canceled}").json()["status"] == "canceled"
        jobs = JobStore(site.redis, result_ttl_s=600, max_attempts=3)
        for number in range(4):
            jobs.claim(given_up, worker=f"lost-{number}", lost_worker=f"lost-{number - 1}")
        (kept,) = site.uploads_at_rest()
        assert STUDY_UID in found_in(kept.read_bytes()), "a dead job's radiograph is kept"
        assert site.ask("GET", "/v1/dead-jobs").json()["total"] == 1
        retried = site.ask("POST", f"/v1/jobs/{given_up}/retry").json()["id"]
        for number in range(4):
            jobs.claim(retried, worker=f"lost-{number}", lost_worker=f"lost-{number - 1}")
        assert len(site.uploads_at_rest()) == 1
        assert site.ask("DELETE", f"/v1/jobs/{retried}").status_code == 204
    finally:
        site.freeze_worker(signal.SIGCONT)


def read_in_other_ways(site: Site, receiver: WebhookReceiver) -> list[str]:
    """By batches, with callbacks, and by `/predict`; returns the ids of the batches."""
    callback = f"&callback_url={receiver.url}/in"
    archive = ("archive", part(zip_archive(), "Zqarchivename^Ñusta.zip"))
    of_files = [("file", part(data)) for data in (png(), dicom(), b"Zqnotafile")]
    batches = [
        site.send("/v1/batches", *parts, query=callback)["id"] for parts in (of_files, [archive])
    ]
    assert site.send("/predict", ("file", part(png())))["prediction"]
    assert site.ask("POST", "/predict", files=[("file", part(png()[:700]))]).status_code == 422
    for batch_id in batches:
        path = f"/v1/batches/{batch_id}"
        wait_until(lambda path=path: is_finished(site.ask("GET", f"{path}?wait=20")), what=path)
        sheet = site.ask("GET", f"{path}.csv").text
        assert [sheet.count(state) for state in (",succeeded,", ",refused,")] == [2, 1], sheet
    receiver.wait_for(4, timeout_s=30)
    return batches


def is_finished(batch: httpx.Response) -> bool:
    counts = batch.json()["counts"]
    return not counts["queued"] + counts["started"]


def test_nothing_of_a_patient_is_left_behind(site: Site) -> None:
    every = uploads()
    planted = {word for data in every.values() for word in found_in(data)}
    assert planted >= set(IN_FILES), "the files hold what they are made to hold"
    ids = read_everything(site, every)
    send_what_is_refused(site, ids[0])
    with running_receiver() as receiver:
        batches = read_in_other_ways(site, receiver)
    cancel_and_give_up(site)
    site.ask("DELETE", f"/v1/jobs/{ids[1]}")
    for path in ("/health", "/metrics", "/v1/models", "/v1/dead-jobs", "/readyz"):
        site.ask("GET", path)
    deadline = time.monotonic() + 20
    while (site.uploads_at_rest() or site.redis.xlen(AUDIT)) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert site.uploads_at_rest() == []
    # As text, and as a backup would hold it.
    site.redis.config_set("rdbcompression", "no")
    site.redis.save()
    log = site.serving.log.read_bytes()
    places = {
        "log": log,
        **{f"redis {key}": value for key, value in dump_redis(site.redis).items()},
        **{f"answer {number}": answer for number, answer in enumerate(site.answers)},
        **{
            f"callback {number}": delivery.body + repr((delivery.path, delivery.headers)).encode()
            for number, delivery in enumerate(receiver.deliveries)
        },
        **{
            str(path.relative_to(site.serving.data_dir)): path.read_bytes()
            for path in site.serving.data_dir.rglob("*")
            if path.is_file()
        },
        **{
            f"tmp {path}": path.read_bytes() for path in site.temporary.rglob("*") if path.is_file()
        },
    }
    check_that_the_places_hold_what_they_should(places, ids[0])
    for batch_id in batches:
        holding = " ".join(place for place, data in places.items() if batch_id.encode() in data)
        assert all(kind in holding for kind in ("log", "redis tbscreen:batch:", "callback"))
    found = {place: found_in(data) for place, data in places.items()}
    assert {place: words for place, words in found.items() if words} == {}


def check_that_the_places_hold_what_they_should(places: dict[str, bytes], job_id: str) -> None:
    """Where a job's id can be found, a patient's name would have been found as well."""
    holding = [place for place, data in places.items() if job_id.encode() in data]
    for kind in ("log", "redis tbscreen:job:", "redis/appendonly.aof", "redis/dump.rdb", "audit/"):
        assert any(place.startswith(kind) for place in holding), (kind, holding)
    assert b"[debug" in places["log"].lower()
    events = [
        json.loads(line)["event"]
        for place, data in places.items()
        if place.endswith(".jsonl")
        for line in data.splitlines()
    ]
    assert {"accepted", "succeeded", "failed", "canceled", "given_up", "erased"} <= set(events)


@pytest.mark.parametrize("word", ["Zqpatient", "Zqrecordnumber", STUDY_UID])
def test_a_word_is_found_however_it_is_encoded(word: str) -> None:
    assert word in (*IN_FILES, *IN_REQUESTS)
    for lead in range(3):
        padded = b"\0" * lead + word.encode() + b"\0" * 5
        assert word in found_in(base64.b64encode(padded)), lead
    for data in (word.upper().encode(), word.encode("utf-16"), word.encode().hex().encode()):
        assert word in found_in(b"\xff" + data + b"\xff")
