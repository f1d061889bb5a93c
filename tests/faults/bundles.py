"""Bundles that arrive damaged on the models volume, or are damaged under their workers."""

import time

from faults.scene import Scene, served_versions
from support.waits import wait_until

_DAMAGED_FOR_S = 6.0
"""Several rounds of the workers' watch on the volume."""

# Runs on the models volume, with the right to write to it. `current` is replaced by a rename, as
# publishing does; the folders behind it are what a copy that was cut off, or a bad disk, leaves.
_SCRIPT = """
import json, pathlib, shutil, sys
how, source, version = sys.argv[1:]
models = pathlib.Path("/var/lib/tbscreen/models")
if how == "in use":
    with (models / version / "model.tflite").open("r+b") as model:
        model.truncate(model.write(bytes(2**20)))
elif how != "as it is":
    shutil.copytree(models / source, models / version)
    manifest = models / version / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    damaged = manifest if how == "torn" else models / version / "model.tflite"
    whole = damaged.read_bytes()
    middle = len(whole) // 2
    if how == "flipped":
        flipped = bytes(byte ^ 0xFF for byte in whole[middle : middle + 64])
        damaged.write_bytes(whole[:middle] + flipped + whole[middle + 64 :])
    elif how != "sound":
        damaged.write_bytes(whole[:middle])
partial = models / ".current-fault"
partial.write_text(version + "\\n")
partial.replace(models / "current")
"""


def _activate(scene: Scene, version: str, *, source: str = "", how: str = "as it is") -> None:
    scene.stack.compose(
        *("run", "--rm", "--no-deps", "-T", "--entrypoint", "python"),
        *("models-init", "-c", _SCRIPT, how, source, version),
    )


def corrupt_new_bundle(scene: Scene) -> float:
    """Activates a half-copied, a flipped and a torn bundle, then a sound one, then the first.

    The sound one's model is overwritten and cut off where it lies, once it is in use.

    Raises:
        AssertionError: a worker took a damaged bundle, or did not take the sound one, or left it.
    """
    [first] = set(served_versions(scene.stack))
    for how in ("half", "flipped", "torn"):
        _activate(scene, f"fault-{scene.run}-{how}", source=first, how=how)
        _stay_with(scene, first, how)
    sound = f"fault-{scene.run}-sound"
    _activate(scene, sound, source=first, how="sound")
    lifted = time.monotonic()
    _wait_for(scene, sound)
    scene.note(f"swapped {time.monotonic() - lifted:.1f} s after a sound bundle came")
    _activate(scene, sound, how="in use")
    _stay_with(scene, sound, "in use")
    _activate(scene, first)
    _wait_for(scene, first)
    return lifted


def _stay_with(scene: Scene, version: str, how: str) -> None:
    time.sleep(_DAMAGED_FOR_S)
    serving = served_versions(scene.stack)
    assert set(serving) == {version}, f"{how}: workers answer with {serving}"


def _wait_for(scene: Scene, version: str) -> None:
    wait_until(
        lambda: set(served_versions(scene.stack)) == {version},
        timeout_s=60,
        every_s=0.2,
        what=f"every worker with {version}",
    )
