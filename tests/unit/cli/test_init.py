"""What `cloister init` says."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cloister.cli.main import app


def test_init_says_which_folders_it_made(tmp_path: Path) -> None:
    """For people and, under `made`, for machines."""
    shown = CliRunner().invoke(app, ["init", str(tmp_path / "work" / "domain")])
    assert shown.exit_code == 0
    assert f"new folder   {tmp_path / 'work'}  (only you may enter)" in shown.output
    again = CliRunner().invoke(app, ["init", str(tmp_path / "work" / "second"), "--json"])
    assert json.loads(again.output)["made"] == []
