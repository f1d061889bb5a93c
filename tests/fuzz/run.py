"""Fuzzes each target for a time: `python -m fuzz.run [TARGET ...] [--seconds N]`.

Inputs that reached something new are kept in .cache/fuzz/TARGET/corpus and begun with the next
time; what ended a process is in .cache/fuzz/TARGET/findings. Prints a table, a line a target.
"""

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from fuzz.targets import TARGETS, Target

_CACHE: Final = Path(".cache/fuzz")
_LARGEST_INPUT: Final = 128 * 1024
_MEMORY_MIB: Final = 1024
_SLOWEST_S: Final = 20
"""An input that takes longer is a finding, as one that takes more memory is."""
_INPUTS: Final = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_REACHED: Final = re.compile(r"^#\d+\s.*?cov: (\d+) ft: (\d+)", re.MULTILINE)


@dataclass
class Run:
    """What fuzzing one target came to.

    Attributes:
        seconds: wall time.
        inputs: that were read.
        coverage: edges of the instrumented Python that were reached.
        features: libFuzzer's finer count, of edges and how often.
        findings: files of inputs that ended a process.
    """

    seconds: float = 0.0
    inputs: int = 0
    coverage: int = 0
    features: int = 0
    findings: list[Path] = field(default_factory=list)


def fuzz(name: str, target: Target, seconds: float) -> Run:
    """Fuzzes one target; a process that a finding ended is followed by another."""
    directory = _CACHE / name
    corpus, findings = directory / "corpus", directory / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / sha256(seed).hexdigest()[:20]).write_bytes(seed)
    known, run, begun = set(findings.iterdir()), Run(), time.monotonic()
    while (left := seconds - (time.monotonic() - begun)) > 1:
        log = directory / "last.log"
        with log.open("wb") as stream:
            subprocess.run(
                [
                    *(sys.executable, "-m", "fuzz.target", name, str(corpus)),
                    f"-max_total_time={int(left)}",
                    f"-max_len={_LARGEST_INPUT}",
                    f"-rss_limit_mb={_MEMORY_MIB}",
                    f"-timeout={_SLOWEST_S}",
                    f"-artifact_prefix={findings}/",
                    "-print_final_stats=1",
                ],
                stdout=stream,
                stderr=stream,
                check=False,
            )
        _add(run, log.read_text(errors="replace"))
        new = sorted(set(findings.iterdir()) - known)
        for path in new:
            path.with_suffix(".log").write_bytes(log.read_bytes()[-20_000:])
        run.findings += new
        known = set(findings.iterdir())
    run.seconds = time.monotonic() - begun
    return run


def _add(run: Run, log: str) -> None:
    inputs = _INPUTS.search(log)
    if inputs is None:
        raise SystemExit(f"the fuzzer did not start:\n{log[-2000:]}")
    run.inputs += int(inputs[1])
    # None, where one of the first inputs ended it.
    for edges, features in _REACHED.findall(log):
        run.coverage = max(run.coverage, int(edges))
        run.features = max(run.features, int(features))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all unless named")
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    arguments = parser.parse_args()
    found = 0
    print("| target | seconds | inputs | edges | features | findings |\n|---|---|---|---|---|---|")
    for name in arguments.targets or TARGETS:
        run = fuzz(name, TARGETS[name], arguments.seconds)
        found += len(run.findings)
        print(
            f"| {name} | {run.seconds:.0f} | {run.inputs:,} | {run.coverage} | {run.features} "
            f"| {len(run.findings)} |",
            flush=True,
        )
        for path in run.findings:
            print(f"  {path}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
