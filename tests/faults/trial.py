"""One run of one fault: a load before, during and after it, and an audit of every promise."""

import dataclasses
import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from subprocess import SubprocessError

import httpx

from faults.catalogue import Fault
from faults.scene import Scene, jobs_done
from support.announcements import DoneAnnouncements
from support.callbacks import Callbacks
from support.compose import ComposeStack
from support.containers import run_python
from support.ledger import Ledger, percentile
from support.load import Load, changed_since, running_load
from support.waits import wait_until

_BASELINE_S = 5.0
_CALM_S = 4.0
"""Without a disturbance for so long, the stack is as it was before."""
_WAITED_FOR_S = 15.0
"""Beyond a fault's bound: for the calm itself, a restarted worker's first job, and its beat."""
_SLOW_S = 2.0
_TOLD_IN_S = 45.0
"""An attempt that died with its gateway is made again 20 s after it began."""
_NOTABLE_S = 15.0

_UPLOADS = """
import pathlib
print(sum(not path.name.startswith(".") for path in
          pathlib.Path("/var/lib/tbscreen/blobs").iterdir()))
"""


@dataclass
class Trial:
    """What became of one run. `problems` is empty when every promise was kept."""

    fault: str
    run: int
    rate_per_s: float
    measured_on: str = field(default_factory=lambda: date.today().isoformat())
    offered: int = 0
    accepted: int = 0
    refused: int = 0
    finished: int = 0
    failed_typed: int = 0
    lost: int = 0
    duplicates: int = 0
    redone: int = 0
    """Finished after more than one delivery."""
    unheard: int = 0
    """Jobs that were done though no sender heard of their acceptance."""
    uploads_left: int = 0
    """Files that stay on the uploads' volume though nothing is under way."""
    first_answer_s: float = math.nan
    """From the fault to the answer to a radiograph that was offered after it."""
    as_before_s: float = math.nan
    """From the fault to the end of the last radiograph that was refused, or took long."""
    longest_s: float = math.nan
    """From the offer of a radiograph to its answer, at the most."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Laboratory:
    """A stack, and what is heard of it beside the load."""

    stack: ComposeStack
    announcements: DoneAnnouncements
    callbacks: Callbacks
    radiographs: list[Path]
    workers: int
    rate_per_s: float
    artifacts: Path

    def run(self, fault: Fault, number: int) -> Trial:
        """Runs a fault once, and looks at everything afterwards."""
        trial = Trial(fault.name, number, round(self.rate_per_s, 1))
        self.announcements.forget()
        left_before = self._uploads()
        self.callbacks.forget()
        load = Load(
            self.stack.url,
            self.radiographs,
            rate_per_s=self.rate_per_s,
            callback_url=self.callbacks.url,
        )
        scene = Scene(self.stack, load, number, self.artifacts)
        with running_load(load):
            self._disturb(fault, scene, trial)
        load.settle()
        self._audit(fault, scene, trial)
        trial.uploads_left = self._uploads_left(left_before)
        trial.notes += scene.notes
        if trial.uploads_left:
            trial.notes.append(f"{trial.uploads_left} uploads left behind")
        if trial.problems or trial.as_before_s > _NOTABLE_S:
            self._keep_evidence(trial, load.ledger)
        return trial

    def _disturb(self, fault: Fault, scene: Scene, trial: Trial) -> None:
        ledger = scene.load.ledger
        time.sleep(_BASELINE_S)
        slow_s = max(_SLOW_S, 5 * percentile(ledger.latencies(), 0.95))
        begun = time.monotonic()
        try:
            lifted = fault.inject(scene)
        except (AssertionError, RuntimeError, httpx.HTTPError, SubprocessError) as error:
            trial.problems.append(f"{fault.name}: {error}")
            lifted = time.monotonic()
        deadline = lifted + fault.recovers_in_s + _WAITED_FOR_S
        at_work = self._wait_for_calm(ledger, begun, lifted, slow_s, deadline)
        now = time.monotonic()
        answered = ledger.first_answer_after(lifted)
        disturbed = ledger.last_disturbance(begun, slow_s=slow_s, now_s=now)
        if answered is not None:
            trial.first_answer_s = round(answered - lifted, 1)
            trial.as_before_s = round(max(disturbed or 0.0, answered) - lifted, 1)
        if not at_work:
            trial.as_before_s = math.nan
            trial.problems.append(f"not as before {now - lifted:.0f} s later, or workers idle")
        elif trial.as_before_s > fault.recovers_in_s:
            trial.problems.append(f"as before only after {trial.as_before_s} s")

    def _wait_for_calm(
        self, ledger: Ledger, begun: float, lifted: float, slow_s: float, deadline: float
    ) -> bool:
        """Returns whether all is as before: answers in time, and every worker at work."""
        first_seen: dict[str, int] = {}
        while (now := time.monotonic()) < deadline:
            done = jobs_done(self.stack)
            first_seen |= {name: count for name, count in done.items() if name not in first_seen}
            idle = [name for name, count in done.items() if count <= first_seen[name]]
            disturbed = ledger.last_disturbance(begun, slow_s=slow_s, now_s=now)
            calm = now - max(lifted, disturbed or 0.0) > _CALM_S
            if calm and not idle and len(done) == self.workers:
                return True
            time.sleep(1)
        return False

    def _audit(self, fault: Fault, scene: Scene, trial: Trial) -> None:
        ledger = scene.load.ledger
        accepted, lost = ledger.accepted(), ledger.lost()
        failures, known = ledger.failures(), {entry.job_id for entry in accepted}
        changed = changed_since(self.stack.url, ledger)
        untold = self._untold(known)
        final_states = {entry.job_id: entry.fingerprint for entry in accepted if entry.ended_s}
        twice = {job_id for job_id, states in self.callbacks.told().items() if len(states) > 1}
        twice |= set(self.announcements.repeated())
        trial.offered, trial.accepted = len(ledger.entries), len(accepted)
        trial.refused = len(ledger.refused())
        trial.finished = len(ledger.ended("succeeded"))
        trial.failed_typed = len(ledger.ended("failed"))
        trial.lost, trial.duplicates = len(lost), len(twice)
        trial.longest_s = round(max(ledger.latencies(), default=math.nan), 1)
        redone = {entry.job_id for entry in accepted if entry.attempts > 1}
        trial.redone = len(redone)
        trial.unheard = len(self.announcements.job_ids() - known)
        faulty = sum(entry.faulty_looks for entry in ledger.entries)
        found = {
            "accepted and without a final state": len(lost),
            "announced more than once": len(twice),
            "changed after their end": len(changed),
            "failed without an error code": failures[""],
            "refused without 429, 503 or 507, code and Retry-After": len(ledger.impolite()),
            "neither accepted nor refused": len(ledger.unanswered()),
            "answers to GET of no documented kind": faulty,
            "ends that no webhook told of": len(untold),
            "in the victim's hands and not delivered again": len(set(scene.in_hand) - redone),
            "webhooks that tell otherwise": len(self.callbacks.contradictions(final_states)),
        }
        if trial.failed_typed > fault.expected_failures:
            found[f"failed ({dict(failures)})"] = trial.failed_typed
        if trial.longest_s > fault.answers_in_s:
            trial.problems.append(f"an answer took {trial.longest_s} s")
        trial.problems += [f"{count} {what}" for what, count in found.items() if count]
        if refusals := ledger.refusals():
            trial.notes.append(", ".join(f"{count} x {kind}" for kind, count in refusals.items()))
        if trial.unheard:
            trial.notes.append(f"{trial.unheard} jobs done that no sender was promised")
        if repeats := self.callbacks.repeats():
            trial.notes.append(f"{repeats} webhooks came again under their id")
        if ledger.withheld:
            trial.notes.append(f"{ledger.withheld} withheld by the sender")

    def _untold(self, job_ids: set[str]) -> set[str]:
        with suppress(AssertionError):
            wait_until(
                lambda: job_ids <= self.callbacks.told().keys(),
                timeout_s=_TOLD_IN_S,
                every_s=0.2,
                what="every webhook",
            )
        return job_ids - self.callbacks.told().keys()

    def _uploads_left(self, before: int) -> int:
        with suppress(AssertionError):
            wait_until(
                lambda: self._uploads() <= before, timeout_s=10, every_s=0.2, what="a clean store"
            )
        return max(0, self._uploads() - before)

    def _uploads(self) -> int:
        return int(run_python(self.stack.containers("gateway")[0], _UPLOADS))

    def _keep_evidence(self, trial: Trial, ledger: Ledger) -> None:
        folder = self.artifacts / f"{trial.fault}-{trial.run}"
        folder.mkdir(parents=True, exist_ok=True)
        self.stack.save_logs(folder / "compose.log")
        (folder / "trial.json").write_text(json.dumps(dataclasses.asdict(trial), indent=2))
        entries = [dataclasses.asdict(entry) for entry in ledger.entries]
        (folder / "ledger.json").write_text(json.dumps(entries, indent=1))
        records = {
            entry.job_id: self.stack.redis_cli("HGETALL", f"tbscreen:job:{entry.job_id}")
            for entry in ledger.lost()[:20]
        }
        (folder / "lost.json").write_text(json.dumps(records, indent=1))
