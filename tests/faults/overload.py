"""`make overload`: ten times the capacity is offered; what is accepted is finished, the rest not.

Exits 1 when an accepted radiograph was not finished, a refusal lacks its code or Retry-After, or
the 95th percentile of GET /v1/jobs/{id} reached 50 ms meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from faults.report import insert
from support.compose import ROOT, ComposeStack, running_stack
from support.ledger import Ledger, percentile
from support.load import Load, measure_capacity, running_load
from support.radiographs import radiograph_files

_WORKERS = 2
_LONGEST_QUEUE = 100
"""So short that refusal starts within seconds."""
_LOOKUP_P95_MS = 50.0
_MOST_UNDER_WAY = 4 * _LONGEST_QUEUE
"""Senders that wait for an answer. One that is refused at once is soon free for the next."""
_SENDERS_NICENESS = 10
"""They share the machine with the stack, and must not take from it what is measured."""
_SLOW_WORKERS = Path(__file__).parent / "stacks" / "slow-workers.yml"


@contextmanager
def looking_up(stack: ComposeStack) -> Iterator["subprocess.Popen[str]"]:
    """Starts the process that times GET; ids are written to it."""
    with subprocess.Popen(
        [sys.executable, "-m", "faults.lookups", stack.url],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def look_up_while(stack: ComposeStack, load: Load, seconds: float) -> dict[str, Any]:
    """Times GET on the load's accepted jobs for so many seconds."""
    with looking_up(stack) as process:
        assert process.stdin is not None and process.stdout is not None
        told, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            entries = load.ledger.entries
            for entry in entries[told:]:
                if entry.accepted_s is None and entry.refusal is None:
                    break
                told += 1
                if entry.accepted_s is not None:
                    process.stdin.write(entry.job_id + "\n")
            process.stdin.flush()
            time.sleep(0.1)
        process.stdin.close()
        return dict(json.loads(process.stdout.read()))


def measure(stack: ComposeStack, radiographs: list[Path], seconds: float) -> dict[str, Any]:
    """Returns what became of ten times the capacity, and of the lookups beside it."""
    capacity = measure_capacity(stack.url, radiographs, seconds=12)

    def load_at(rate_per_s: float) -> Load:
        return Load(
            stack.url,
            radiographs,
            rate_per_s=rate_per_s,
            most_under_way=_MOST_UNDER_WAY,
            niceness=_SENDERS_NICENESS,
        )

    calm = load_at(0.4 * capacity)
    with running_load(calm):
        before = look_up_while(stack, calm, 15)
    calm.settle()
    storm = load_at(10 * capacity)
    with running_load(storm):
        meanwhile = look_up_while(stack, storm, seconds)
    ended = time.monotonic()
    storm.settle()
    settled_s = max((e.ended_s or ended for e in storm.ledger.accepted()), default=ended) - ended
    return {
        "measured_on": date.today().isoformat(),
        "cores": os.cpu_count(),
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(storm.ledger.entries) / seconds, 1),
        **_account(storm.ledger),
        "finished_per_s": round(len(storm.ledger.ended("succeeded")) / (seconds + settled_s), 1),
        "lookups_before": before,
        "lookups_meanwhile": meanwhile,
    }


def _account(ledger: Ledger) -> dict[str, Any]:
    refused = ledger.refused()
    waits = sorted({entry.refusal.retry_after_s or 0 for entry in refused if entry.refusal})
    took = [1000 * (e.refusal.at_s - e.offered_s) for e in refused if e.refusal]
    return {
        "offered": len(ledger.entries),
        "accepted": len(ledger.accepted()),
        "finished": len(ledger.ended("succeeded")),
        "lost": len(ledger.lost()),
        "refused": dict(ledger.refusals()),
        "refused_without_code_or_retry_after": len(ledger.impolite()),
        "retry_after_s": [waits[0], waits[-1]] if waits else [],
        "refusal_p95_ms": round(percentile(took, 0.95), 1),
        "broken_connections": sum(entry.broken_posts for entry in ledger.entries),
        "unanswered": len(ledger.unanswered()),
        "withheld_by_the_sender": ledger.withheld,
    }


def problems_of(report: dict[str, Any]) -> list[str]:
    """Returns what must not be."""
    found = []
    if report["accepted"] != report["finished"]:
        found.append(f"{report['accepted']} accepted, {report['finished']} finished")
    if report["refused_without_code_or_retry_after"]:
        found.append(f"{report['refused_without_code_or_retry_after']} refusals are impolite")
    if not report["refused"]:
        found.append("nothing was refused: this was no overload")
    if report["unanswered"]:
        found.append(f"{report['unanswered']} uploads were never answered")
    if set(report["lookups_meanwhile"]["answers"]) != {"200"}:
        found.append(f"GET answered {report['lookups_meanwhile']['answers']}")
    if report["lookups_meanwhile"]["p95_ms"] >= _LOOKUP_P95_MS:
        found.append(f"GET took {report['lookups_meanwhile']['p95_ms']} ms at the 95th percentile")
    return found


def _table(report: dict[str, Any]) -> str:
    lines = ["| | |", "|---|---|"]
    for name, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {item}" for key, item in value.items())
        lines.append(f"| {name.replace('_', ' ')} | {value} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "overload.json")
    parser.add_argument("--document", type=Path, help="whose table is written anew")
    arguments = parser.parse_args()
    settings = {
        "TBSCREEN_MAX_QUEUE_LENGTH": str(_LONGEST_QUEUE),
        # What refuses is the queue's bound, not those of one client, which the senders are.
        "TBSCREEN_RATE_LIMIT_PER_MINUTE": "0",
        "TBSCREEN_MAX_CONNECTIONS": "10000",
    }
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_stack(
            "tbscreen-overload",
            ROOT / ".cache" / "overload",
            workers=_WORKERS,
            overrides=[_SLOW_WORKERS],
            settings=settings,
        ) as stack,
    ):
        report = measure(stack, radiograph_files(Path(scratch)), arguments.seconds)
    text = json.dumps(report, indent=2) + "\n"
    print(text)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(text, encoding="utf-8")
    if arguments.document:
        insert(arguments.document, "overload", _table(report))
    problems = problems_of(report)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
