"""The gateway touches no pixel and no model: an image of it holds neither library."""

import subprocess
import sys
from importlib.metadata import distribution

from packaging.requirements import Requirement

FOREIGN = ("numpy", "PIL", "pydicom", "gdcm", "ai_edge_litert", "tensorflow", "keras")
FOREIGN_DISTRIBUTIONS = {"numpy", "pillow", "pydicom", "python-gdcm", "ai-edge-litert"} | {
    "tensorflow",
    "keras",
    "tbscreen-worker",
    "tbscreen-training",
}


def required_by(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> None:
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            required_by(requirement.name.lower(), frozenset(requirement.extras), seen)


def test_no_dependency_of_the_gateway_leads_to_pixels_or_models() -> None:
    seen: set[tuple[str, frozenset[str]]] = set()
    required_by("tbscreen-gateway", frozenset(), seen)
    names = {name for name, _ in seen}
    assert "fastapi" in names and "redis" in names
    assert names & FOREIGN_DISTRIBUTIONS == set()


def test_the_running_gateway_imports_neither_pixels_nor_models() -> None:
    code = (
        "import sys, tbscreen_gateway.__main__\n"
        f"print(*(name for name in {FOREIGN!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
