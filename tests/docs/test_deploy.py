"""What is under deploy/ parses, hardens, and starts a command that exists."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.errors import TamperedError
from docs.pages import ROOT

UNIT: Final = ROOT / "deploy" / "cloister-keyservice.service"
CONTAINER: Final = ROOT / "deploy" / "Containerfile"
INSTALLED: Final = "/opt/cloister/.venv/bin/cloister"
HARDENED: Final = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "RestrictNamespaces": "yes",
    "LimitCORE": "0",
    "MemorySwapMax": "0",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
    "IPAddressDeny": "any",
}


def unit() -> RawConfigParser:
    """The unit, read like a file of sections; a key that repeats keeps its last value."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(UNIT.read_text("utf-8"))
    return parser


def require_command(words: list[str]) -> None:
    """The words start the key service with options that it has."""
    assert words[:3] == [INSTALLED, "keyservice", "serve"]
    found = CliRunner().invoke(app, [*words[1:], "--help"])
    assert found.exit_code == 0
    said = found.output
    assert all(word in said for word in words if word.startswith("--"))


def test_the_unit_is_hardened_and_starts_the_service() -> None:
    """Each setting that takes something away is there."""
    service = unit()["Service"]
    assert {name: service[name] for name in HARDENED} == HARDENED
    require_command(shlex.split(service["ExecStart"]))
    assert service["User"] == "cloister-keyservice"
    assert service["RestartPreventExitStatus"] == str(TamperedError.exit_status)
    domain = shlex.split(service["ExecStart"])[4]
    assert domain.startswith(f"/var/lib/{service['StateDirectory']}/")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    """No unknown key and no value that it ignores, with a command that is there."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace(INSTALLED, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, said) == (0, [])


def test_the_container_runs_without_privileges() -> None:
    """Its files are there to be copied, its last user is not root, its command exists."""
    text = CONTAINER.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    steps = [line.split(maxsplit=1) for line in lines]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
    assert {step[0] for step in steps} == known | {"ENTRYPOINT", "CMD"}
    users = [value for name, value in steps if name == "USER"]
    assert users == ["8400:8400"]
    for name, value in steps:
        if name == "COPY" and not value.startswith("--from"):
            assert all((ROOT / source).exists() for source in value.split()[:-1])
    started = [json.loads(value) for name, value in steps if name in {"ENTRYPOINT", "CMD"}]
    require_command([*started[0], *started[1]])
