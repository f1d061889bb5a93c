import threading
from pathlib import Path
from typing import Any

from support.waits import wait_until
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.contracts import WorkerBeat
from tbscreen_worker.heartbeat import Heartbeat
from tbscreen_worker.models import ModelWatcher


class Registry:
    """Has no memory for the first beat."""

    def __init__(self) -> None:
        self.refused = threading.Event()
        self.beats: list[WorkerBeat] = []

    def beat(self, beat: WorkerBeat) -> None:
        if not self.refused.is_set():
            self.refused.set()
            raise MemoryError
        self.beats.append(beat)

    def leave(self, name: str) -> None:
        pass


def test_a_process_out_of_memory_beats_again_when_it_has_some(tmp_path: Path) -> None:
    def load(bundle: Any) -> Any:
        raise AssertionError

    registry, models = Registry(), ModelWatcher(ModelStore(tmp_path), load)
    heartbeat = Heartbeat(registry, "worker", models, lambda: 0)  # type: ignore[arg-type]
    heartbeat.start()
    try:
        assert registry.refused.wait(10)
        models.changed.set()
        wait_until(lambda: registry.beats, timeout_s=10, what="a beat")
    finally:
        heartbeat.stop()
