"""An unmodified program gets its secrets, and nothing of them is anywhere else on the machine."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.policy.secret_rules import FileRule
from integration.apart import run_apart, users
from integration.launcher.launchbench import LaunchBench

pytestmark = pytest.mark.fuse
_PYTHON = ("/usr/bin/python3", "/code/main.py")
needs_python = pytest.mark.skipif(
    not Path(_PYTHON[0]).exists(), reason="needs the distribution's python3"
)
_TOKEN = "planted-token-5b1c0f3a7e"
_KEY = b"planted-key-\x00\xff-93d1aa40c2"
_PROGRAM = """
import hashlib, os, ssl, time
def digest(data): return hashlib.sha256(data).hexdigest()
print(digest(open('/run/secrets/key', 'rb').read()), digest(os.environ['TOKEN'].encode()))
ssl.create_default_context().load_cert_chain('/run/secrets/tls.pem')
print(oct(os.stat('/run/secrets/key').st_mode & 0o777), os.environ['LITERAL'],
      len(os.environ['PASSWORD']))
time.sleep(1)
"""
_SECRETS = """
  token: {opaque: {max_bytes: 64}}
  key: {opaque: {max_bytes: 64}}
  password: {password: {length: 40, alphabet: abcdefghijklmnopqrstuvwxyz}}
  ca: {authority: {common_name: lab, lifetime_days: 30}}
  tls: {certificate: {authority: ca, lifetime_days: 30, dns: [db.example]}}
"""
_ENVIRONMENT = {
    "TOKEN": "${secret:token}",
    "PASSWORD": "${secret:password}",
    "LITERAL": "$${secret:token}",
}
_FILES = {
    "/run/secrets/key": FileRule(content="${secret:key}"),
    "/run/secrets/tls.pem": FileRule(content="${secret:tls.private}${secret:tls.chain}"),
}


def _apart(function: Any) -> Any:
    def inside() -> Any:
        folder = Path(tempfile.mkdtemp(prefix="cloister-run-"))
        try:
            return function(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run_apart(users()[-1], inside)


def _spellings() -> list[bytes]:
    """The planted values, as they are and as somebody might have written them."""
    found = []
    for value in (_TOKEN.encode(), _KEY):
        found += [value, value.hex().encode(), base64.b64encode(value), repr(value)[2:-1].encode()]
    return found


def _holders(places: Iterable[Path]) -> list[str]:
    """Return the places that hold a planted value."""
    found = []
    for place in places:
        try:
            data = place.read_bytes()
        except OSError:
            continue
        found += [str(place)] if any(spelling in data for spelling in _spellings()) else []
    return found


def _processes() -> list[Path]:
    """Return what /proc tells of every process but the workload's own environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        found.append(folder / "cmdline")
        try:
            is_workload = b"/code/main.py" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if not is_workload:
            found.append(folder / "environ")
    return found


def _prepared(folder: Path) -> LaunchBench:
    bench = LaunchBench.create(folder).prepare(
        _PROGRAM, command=_PYTHON, environment=_ENVIRONMENT, secrets=_SECRETS, files=_FILES
    )
    for name, value in (("token", _TOKEN.encode()), ("key", _KEY)):
        bench.owner.put_secret(bench.policy(), name, value)
    return bench


@needs_python
@pytest.mark.spec("SEC-45", "SEC-62")
def test_a_program_gets_its_secrets_and_nobody_else_does() -> None:
    """Files, variables and certificates inside; while it runs and afterwards, nothing outside."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = _prepared(folder)
        seen: dict[str, list[str]] = {}
        write = bench.output.__setitem__

        class Watched(dict[str, bytes]):
            """Looks around when the program says something."""

            def __setitem__(self, stream: str, text: bytes) -> None:
                seen.setdefault("running", _holders(_processes()))
                seen["looked"] = [str(len(_processes()))]
                write(stream, text)
                super().__setitem__(stream, text)

        bench.output = Watched(bench.output)
        outcome = bench.run()
        disk = [path for path in folder.rglob("*") if path.is_file()]
        return {
            "status": outcome.status,
            "stdout": bench.output["stdout"].decode(),
            "stderr": bench.output["stderr"].decode(),
            "running": seen["running"],
            "looked": int(seen["looked"][0]),
            "disk": _holders(disk),
            "files": [str(path.relative_to(folder)) for path in disk],
        }

    found = _apart(inside)
    assert found["status"] == 0, found["stderr"]
    first, second = found["stdout"].splitlines()
    digests = [hashlib.sha256(value).hexdigest() for value in (_KEY, _TOKEN.encode())]
    assert first.split() == digests
    assert second == "0o400 ${secret:token} 40"
    assert found["looked"] > 4
    assert found["running"] == []
    assert found["disk"] == []
    assert "receipt.json" in found["files"]
    assert any(name.startswith("domain/keyservice/") for name in found["files"])
    assert "domain/keyservice/service.log" in found["files"]


@needs_python
def test_the_scan_finds_what_is_there(tmp_path: Path) -> None:
    """A planted value in any of its spellings is found: the test above is not blind."""
    for number, spelling in enumerate(_spellings()):
        (tmp_path / str(number)).write_bytes(b"before " + spelling + b" after")
    assert len(_holders(tmp_path.iterdir())) == len(_spellings())


@needs_python
@pytest.mark.spec("SEC-41")
def test_a_program_whose_secret_was_not_put_is_not_started() -> None:
    """The run is refused before any volume is opened."""

    def inside(folder: Path) -> str:
        bench = LaunchBench.create(folder).prepare(
            _PROGRAM, command=_PYTHON, environment=_ENVIRONMENT, secrets=_SECRETS, files=_FILES
        )
        try:
            bench.run()
        except CloisterError as e:
            return f"{e.code} {bench.output['stdout'].decode()}{os.sep}"
        return ""

    assert _apart(inside) == "release.secret-missing /"
