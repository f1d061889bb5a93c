from pathlib import Path

import pytest
from typer.testing import CliRunner

from tbscreen import keys_command
from tbscreen.cli import app


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys_command, "find_spec", lambda _: None)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["keys", "list"])
    assert result.exit_code == 1
    assert "pip install 'tbscreen[serve]'" in result.stderr
