"""`make soak`: an hour at 80 % of the capacity, in which nothing may grow.

A crowd comes before it, at twice the capacity: what it leaves in memory is no growth. Results
expire after five minutes, so that a steady state exists. The last two thirds of the samples decide:
see `support.trend`. Exits 1 when something grows, or can not be told, or a promise was broken.
"""

import argparse
import csv
import math
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from faults.report import insert
from faults.soak_plot import plot
from support.compose import ROOT, ComposeStack, running_stack
from support.ledger import percentile
from support.load import Load, measure_capacity, running_load
from support.radiographs import radiograph_files
from support.stack_gauges import StackGauges
from support.trend import Verdict, trend_of

Samples = list[dict[str, float]]

_WORKERS = 2
_SHARE = 0.8
_SAMPLE_EVERY_S = 10.0
_RESULT_TTL_S = 300
_CAPACITY_FOR_S = 60
"""A short look meets a shared machine in one mood."""
_MOST_UNDER_WAY = 20
"""At 80 % of the capacity a handful is. As many are only there while a neighbour slows the machine
down to less: then its whole capacity is used, and what is withheld is told. Without this bound the
hour would show how its neighbours come and go."""
_MOST_WITHHELD = 0.1
"""Of what is to be offered: with more, it was no hour at 80 %, whoever slowed down."""
_CROWD_FOR_S = 60
"""How long twice the capacity is offered before the hour."""
_MOST_IN_CROWD = 250
"""Each waits on a connection, and the gateway gives one client 375."""
# Growth within an hour that counts as none: a share of the level, and never less than an amount.
_TOLERANCES = (
    ("anonymous_mb", 0.02, 1.0),
    # With pages of files, which the kernel maps and reclaims as it likes.
    ("rss_mb", 0.05, 3.0),
    # A gateway's are its senders' connections as well, which come and go.
    ("files", 0.25, 1.0),
    ("used_memory_mb", 0.02, 0.1),
    ("keys", 0.02, 50.0),
    ("uploads", 0.0, 20.0),
    ("uploads_mb", 0.0, 10.0),
    ("queue_length", 0.0, 20.0),
    # Deliveries in workers' hands: Celery's have been seen to drift upward for days.
    ("unacked", 0.0, 2.0),
)
_LEAST_OF_A_RECENT_JOB = {"redis keys": 2.0, "redis used_memory_mb": 0.001}
"""Each job is remembered until its result expires, and the rate is not constant where a neighbour
slows the machine down: so these are judged at a constant number of jobs. They have to fall with it,
by what each job takes at least; else a leak could hide in a rate that falls."""


_TELLING = 0.05
"""How much their number has to vary: less is the noise of counting it, which follows nothing."""


def sample(stack: ComposeStack, load: Load, seconds: float, path: Path) -> Samples:
    """Reads the gauges every few seconds, and writes them down as they come."""
    gauges, samples = StackGauges(stack), Samples()
    begun = time.monotonic()
    names: list[str] = []
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        while (elapsed := time.monotonic() - begun) < seconds:
            ends = [entry.ended_s for entry in load.ledger.entries]
            expired_s = time.monotonic() - _RESULT_TTL_S
            row = {
                "at_s": round(elapsed, 1),
                "offered": len(ends),
                "ended": sum(1 for end in ends if end is not None),
                "recent_jobs": sum(1 for end in ends if end is not None and end > expired_s),
                **gauges.read(),
            }
            if not names:
                names = list(row)
                writer.writerow(names)
            samples.append({name: row.get(name, float("nan")) for name in names})
            writer.writerow(samples[-1].values())
            stream.flush()
            time.sleep(max(0.0, begun + len(samples) * _SAMPLE_EVERY_S - time.monotonic()))
    return samples


def judge(samples: Samples) -> tuple[list[list[str]], list[str]]:
    """Returns the table's rows, and what is not flat."""
    steady = samples[len(samples) // 3 :]
    rows, problems = [], []
    for suffix, _, _ in _TOLERANCES:
        if not any(name.endswith(suffix) for name in samples[0]):
            problems.append(f"{suffix} was not read")
    for name in samples[0]:
        rule = next((rule for rule in _TOLERANCES if name.endswith(rule[0])), None)
        if rule is None:
            continue
        read = [row for row in steady if not math.isnan(row[name])]
        if len(read) < 0.9 * len(steady):
            problems.append(f"{name} could not be read {len(steady) - len(read)} times")
            continue
        hours, values = [row["at_s"] / 3600 for row in read], [row[name] for row in read]
        jobs = [row["recent_jobs"] for row in read]
        least = _LEAST_OF_A_RECENT_JOB.get(name)
        trend = trend_of(hours, values, None if least is None else jobs)
        label = name
        if least is not None and max(jobs) - min(jobs) > _TELLING * max(jobs):
            # The same fit, asked for its other slope.
            per_job = trend_of(jobs, values, hours)
            label = f"{name}, beside {per_job.slope:.3g} for each recent job"
            if per_job.high < least:
                problems.append(f"{name} does not follow the jobs: {per_job.slope:.3g} for each")
        tolerance = max(rule[1] * trend.mean, rule[2])
        verdict = trend.verdict(tolerance)
        if verdict is not Verdict.FLAT:
            problems.append(f"{name} {verdict.value}: {trend.slope:+.2f} an hour")
        interval = f"{trend.slope:+.2f} ({trend.low:+.2f} to {trend.high:+.2f})"
        rows.append([label, f"{trend.mean:.1f}", interval, f"{tolerance:.1f}", verdict.value])
    return rows, problems


def judge_append_only_file(samples: Samples) -> tuple[list[str], list[str]]:
    """The append-only file rises until it is rewritten: its peaks are compared, not its slope."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    name = "redis aof_mb"
    peaks = [max(row[name] for row in part) for part in (middle, last)]
    rewrites = samples[-1]["redis aof_rewrites"] - samples[third]["redis aof_rewrites"]
    if rewrites < 2:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.GROWS if peaks[1] > 1.1 * peaks[0] else Verdict.FLAT
    row = [
        name,
        f"peaks {peaks[0]:.1f}, {peaks[1]:.1f}",
        f"{rewrites:.0f} rewrites",
        "10 %",
        verdict,
    ]
    return row, [f"{name} {verdict}"] if verdict is not Verdict.FLAT else []


def _table(rows: list[list[str]], summary: str) -> str:
    lines = [summary, "", "| | mean | slope an hour (95 % interval) | allowed | verdict |"]
    lines.append("|---" * 5 + "|")
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, help="radiographs/s; else 80 %% of the capacity")
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks" / "soak.csv")
    parser.add_argument("--plot", type=Path, help="PNG file, beside the document")
    parser.add_argument("--document", type=Path, help="whose table is written anew")
    arguments = parser.parse_args()
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "TBSCREEN_RESULT_TTL_S": str(_RESULT_TTL_S),
        "TBSCREEN_RATE_LIMIT_PER_MINUTE": "0",
    }
    artifacts = ROOT / ".cache" / "soak"
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_stack("tbscreen-soak", artifacts, workers=_WORKERS, settings=settings) as stack,
    ):
        radiographs = radiograph_files(Path(scratch))
        capacity = measure_capacity(stack.url, radiographs, seconds=_CAPACITY_FOR_S)
        rate = arguments.rate or _SHARE * capacity
        print(f"{capacity:.1f} radiographs/s, load {rate:.1f}/s", flush=True)
        crowd = Load(stack.url, radiographs, rate_per_s=2 * capacity, most_under_way=_MOST_IN_CROWD)
        with running_load(crowd):
            time.sleep(_CROWD_FOR_S)
        crowd.settle()
        load = Load(stack.url, radiographs, rate_per_s=rate, most_under_way=_MOST_UNDER_WAY)
        with running_load(load):
            samples = sample(stack, load, 60 * arguments.minutes, arguments.csv)
        load.settle()
    rows, problems = judge(samples)
    aof_row, aof_problems = judge_append_only_file(samples)
    problems += aof_problems
    ledger = load.ledger
    took = ledger.latencies()
    summary = (
        f"{date.today()}, {arguments.minutes:.0f} minutes on {os.cpu_count()} cores at "
        f"{rate:.1f} radiographs/s of {capacity:.1f}: "
        f"{len(ledger.accepted())} accepted, {len(ledger.ended('succeeded'))} finished, "
        f"{len(ledger.refused())} refused, {len(ledger.lost())} lost, "
        f"{ledger.withheld} withheld while more than {_MOST_UNDER_WAY} were under way; "
        f"median {percentile(took, 0.5):.2f} s, 95th percentile {percentile(took, 0.95):.2f} s."
    )
    if ledger.withheld > _MOST_WITHHELD * (ledger.withheld + len(ledger.entries)):
        problems.append(f"{ledger.withheld} were withheld")
    if ledger.refused():
        problems.append("some were refused, below the capacity")
    if len(ledger.ended("succeeded")) != len(ledger.accepted()):
        problems.append("not everything that was accepted was finished")
    if len(crowd.ledger.ended("succeeded")) != len(crowd.ledger.accepted()):
        problems.append("not everything of the crowd was finished")
    text = _table([*rows, aof_row], summary)
    print(text)
    if arguments.plot:
        plot(samples, arguments.plot)
        text += f"\n![Everything that was read, over time]({arguments.plot.name})\n"
    if arguments.document:
        insert(arguments.document, "soak", text)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
