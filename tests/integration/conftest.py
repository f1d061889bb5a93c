from pathlib import Path

import pytest

from support.phantom import draw_phantom


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    path = tmp_path / "phantom.png"
    draw_phantom(1, size=(400, 400)).save(path)
    return path
