"""Radiographs through two compose workers, beside a bare loop of two processes in the same run.

`make benchmark` builds the images and runs this. The bare loop does what a worker does to a
radiograph's pixels (read, preprocess, one LiteRT call) in two containers of the worker's image,
with no queue, no store and no HTTP: the ratio is what the promise to a job costs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.compose import ROOT, running_stack
from support.radiographs import radiograph_files

_BARE_LOOP = """
import json, sys, time
from pathlib import Path
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.imaging import ImageLimits, read_radiograph, to_model_input
from tbscreen_worker.predictor import LiteRtPredictor

bundle = ModelStore(Path("/usr/share/tbscreen/models")).load_active()
predictor = LiteRtPredictor(bundle)
files = sorted(Path("/radiographs").iterdir())
size = bundle.manifest.input
def screen(path):
    radiograph = read_radiograph(path, limits=ImageLimits())
    return predictor.predict(to_model_input(radiograph, height=size.height, width=size.width))
screen(files[0])
print("ready", flush=True)
sys.stdin.readline()
start = time.monotonic()
for n in range(int(sys.argv[1])):
    screen(files[n % len(files)])
print(time.monotonic() - start, flush=True)
"""


def bare_loop(files: list[Path], count: int) -> float:
    """Returns the radiographs per second of two processes, each with half of `count`."""
    command = ["docker", "run", "--rm", "--interactive", "--network", "none"]
    command += ["--volume", f"{files[0].parent}:/radiographs:ro", "--entrypoint", "python"]
    command += ["tbscreen/worker", "-c", _BARE_LOOP, str(count // 2)]
    loops = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for loop in loops:
        assert loop.stdout is not None and loop.stdout.readline() == "ready\n"
    started = time.monotonic()
    for loop in loops:
        assert loop.stdin is not None
        loop.stdin.write("\n")
        loop.stdin.flush()
    for loop in loops:
        loop.wait()
    return count // 2 * 2 / (time.monotonic() - started)


def through_the_stack(url: str, files: list[Path], count: int, senders: int) -> dict[str, float]:
    """Submits `count` radiographs and waits for each; the figures are in seconds."""
    latencies: list[float] = []
    lost: list[str] = []
    lock = threading.Lock()
    with httpx.Client(base_url=url, timeout=60) as http:

        def screen(n: int) -> None:
            content = files[n % len(files)].read_bytes()
            started = time.monotonic()
            response = http.post("/v1/jobs", files={"file": ("radiograph", content)})
            location = response.headers["Location"]
            job = response.json()
            while job["status"] in ("queued", "started"):
                job = http.get(location, params={"wait": 30}).json()
            with lock:
                latencies.append(time.monotonic() - started)
                if job["status"] != "succeeded":
                    lost.append(location)

        screen(0)
        latencies.clear()
        started = time.monotonic()
        with ThreadPoolExecutor(senders) as pool:
            list(pool.map(screen, range(count)))
        elapsed = time.monotonic() - started
    latencies.sort()
    return {
        "radiographs": count,
        "senders": senders,
        "lost": len(lost),
        "median_s": round(statistics.median(latencies), 3),
        "p95_s": round(latencies[int(0.95 * len(latencies))], 3),
        "per_second": round(count / elapsed, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--senders", type=int, nargs="+", default=[2, 4, 16])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = radiograph_files(Path(scratch))
        artifacts = ROOT / ".cache" / "benchmark"
        report: dict[str, object] = {
            "cores": os.cpu_count(),
            "real_radiographs": "TBSCREEN_RADIOGRAPHS" in os.environ,
        }
        before = bare_loop(files, arguments.count)
        with running_stack("tbscreen-benchmark", artifacts, workers=2) as stack:
            runs = [
                through_the_stack(stack.url, files, arguments.count, senders)
                for senders in arguments.senders
            ]
        after = bare_loop(files, arguments.count)
    report["bare_loop_per_second"] = [round(before, 2), round(after, 2)]
    for run in runs:
        run["ratio_to_bare_loop"] = round(run["per_second"] / statistics.mean([before, after]), 2)
    report["stack"] = runs
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
