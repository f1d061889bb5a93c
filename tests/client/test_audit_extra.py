from pathlib import Path

import pytest
from typer.testing import CliRunner

from tbscreen import audit_command
from tbscreen.cli import app


@pytest.mark.parametrize("command", ["verify", "show"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setattr(audit_command, "find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["audit", command, str(tmp_path)])
    assert result.exit_code == 1
    assert "pip install 'tbscreen[serve]'" in result.stderr
