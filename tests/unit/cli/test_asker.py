"""Who asks, and what they pin, as `cloister proxy` and `cloister query` have it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.errors import CloisterError

COMMAND = ["proxy", "http://127.0.0.1:9", "--identity", "spiffe://a.example/b/c/d/*"]
POLICY = ["--policy", "sha256:" + "0" * 64]


def code(tmp_path: Path, *words: str) -> str:
    domain = tmp_path / "domain.json"
    domain.write_text('{"name": "a.example", "ca": ""}')
    done = CliRunner().invoke(app, [*COMMAND, "--trust", str(domain), *words])
    assert isinstance(done.exception, CloisterError), done.output
    return done.exception.code


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "config.missing"),
        ([*POLICY, "--any-policy", "tests do not care"], "config.missing"),
        (["--any-policy", "shrug"], "config.value"),
        (POLICY, "config.missing"),
        ([*POLICY, "--principal", "alice"], "config.missing"),
        ([*POLICY, "--certificate", "a", "--principal", "b"], "config.missing"),
        ([*POLICY, "--certificate", "none", "--private-key", "none"], "config.file"),
    ],
)
def test_what_is_missing_or_cannot_be_meant(
    tmp_path: Path, words: list[str], expected: str
) -> None:
    """Is said before anything is opened."""
    assert code(tmp_path, *words) == expected
