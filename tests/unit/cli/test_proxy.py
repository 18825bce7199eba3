"""`cloister proxy`: where it listens. It runs in tests/integration/test_proxy.py."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.errors import ConfigError


@pytest.mark.parametrize("words", [["--listen", "0.0.0.0:80"], ["--grpc", "10.0.0.1:80"]])
def test_only_this_machine_reaches_it(tmp_path: Path, words: list[str]) -> None:
    """Said before anything is read or opened."""
    command = ["proxy", "http://127.0.0.1:9", "--identity", "spiffe://a.example/b/c/d/*"]
    done = CliRunner().invoke(app, [*command, "--trust", str(tmp_path / "none"), *words])
    assert isinstance(done.exception, ConfigError), done.output
    assert done.exception.code == "config.value"
