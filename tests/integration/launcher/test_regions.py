"""Regions of volumes in real runs: four classes, nested, and an operator who interferes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.policy import parse_policy
from integration.apart import run_apart, users
from integration.launcher.launchbench import LaunchBench, RegionWord

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(
        not Path("/usr/bin/python3").exists(), reason="needs the distribution's python3"
    ),
]
everybody = pytest.mark.parametrize("user_id", users())

_PYTHON = ("/usr/bin/python3", "/code/main.py")
_REGIONS: dict[str, dict[str, RegionWord]] = {
    "model": {
        "/public": "authenticated",
        "/scratch": "ephemeral",
        "/scratch/a/keep": "encrypted",
        "/scratch/a/keep/tmp": "ephemeral",
        "/scratch/a/shown": "authenticated",
        "/scratch/b/drop": "plain",
        "/out": "plain",
    },
    "data": {"/open": "authenticated", "/work": "ephemeral", "/feed": "plain"},
}
_DATA = {"x.txt": b"a secret sentence", "open/y.txt": b"a readable sentence"}

_SCRIPT = """
import errno, json, os

found = {"before": {}, "errors": {}, "read": {}}

def attempt(name, act):
    try:
        found["read"][name] = act()
    except OSError as e:
        found["errors"][name] = errno.errorcode[e.errno]

def read(path):
    with open(path) as f: return f.read()

def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f: f.write(text)

m = "/model"
for folder in (m, "/public", "/scratch", "/scratch/a/keep", "/scratch/a/keep/tmp", "/out"):
    folder = folder if folder == m else m + folder
    found["before"][folder[6:]] = sorted(os.listdir(folder)) if os.path.exists(folder) else None
if os.path.exists(m + "/public/shown.txt"):
    attempt("shown", lambda: read(m + "/public/shown.txt"))
    attempt("kept", lambda: read(m + "/scratch/a/keep/kept.txt"))
else:
    write(m + "/secret.txt", "the secret result")
    write(m + "/public/shown.txt", "the public result " * 300)
    write(m + "/public.txt", "not public, by its name")
    write(m + "/scratch/x.txt", "only in memory")
    write(m + "/scratch/a/y.txt", "only in memory")
    write(m + "/scratch/a/keep/kept.txt", "kept and secret")
    write(m + "/scratch/a/keep/tmp/z.txt", "only in memory")
    write(m + "/scratch/a/shown/s.txt", "kept and public")
    write(m + "/scratch/b/drop/dropped.txt", "for the operator")
    write(m + "/out/result.txt", "for the operator too")
for name, act in {
    "show": lambda: os.rename(m + "/secret.txt", m + "/public/secret.txt"),
    "link": lambda: os.link(m + "/secret.txt", m + "/public/secret.txt"),
    "hide": lambda: os.rename(m + "/public/shown.txt", m + "/shown.txt"),
    "out": lambda: os.rename(m + "/secret.txt", m + "/out/secret.txt"),
    "move region": lambda: os.rename(m + "/public", m + "/private"),
    "move memory": lambda: os.rename(m + "/scratch", m + "/disk"),
    "move plain": lambda: os.rename(m + "/out", m + "/in"),
    "move inside": lambda: os.rename(m + "/scratch/a", m + "/scratch/c"),
    "move nested": lambda: os.rename(m + "/scratch/a/keep", m + "/scratch/a/other"),
    "move way": lambda: os.rename(m + "/scratch/b", m + "/scratch/c"),
    "remove": lambda: os.rmdir(m + "/scratch/b/drop"),
    "trap": lambda: read(m + "/out/trap"),
    "trap folder": lambda: os.listdir(m + "/out/folder"),
    "trap write": lambda: write(m + "/out/trap", "overwritten"),
    "run": lambda: os.execv(m + "/out/program", ["program"]),
    "feed": lambda: read("/data/feed/in.txt"),
    "feed write": lambda: write("/data/feed/in.txt", "x"),
    "data": lambda: read("/data/x.txt"),
    "open": lambda: read("/data/open/y.txt"),
    "data write": lambda: write("/data/x.txt", "x"),
    "open write": lambda: write("/data/open/y.txt", "x"),
    "work": lambda: write("/data/work/a/b.txt", "only in memory"),
    "held": lambda: os.listdir("/.regions"),
}.items():
    attempt(name, act)
print(json.dumps(found))
"""


def _apart(user_id: int, function: Callable[[Path], Any]) -> Any:
    def inside() -> Any:
        folder = Path(tempfile.mkdtemp(prefix="cloister-regions-"))
        try:
            return function(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run_apart(user_id, inside)


def _run(bench: LaunchBench, **changes: Any) -> dict[str, Any]:
    bench.output = {"stdout": b"", "stderr": b""}
    try:
        outcome = bench.run(**changes)
    except CloisterError as e:
        return {"code": e.code, "public": e.public, "out": bench.output["stdout"].decode()}
    assert outcome.status == 0, bench.output["stderr"].decode()
    said: dict[str, Any] = json.loads(bench.output["stdout"])
    return said | {"troubles": [trouble.code for trouble in outcome.troubles]}


def _stored(store: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file())


def _prepare(folder: Path, **changes: Any) -> LaunchBench:
    return LaunchBench.create(folder).prepare(
        _SCRIPT, command=_PYTHON, data=_DATA, regions=_REGIONS, **changes
    )


@everybody
def test_four_classes_in_two_runs(user_id: int) -> None:
    """Each class is what it says for the program, for the operator, and for the next run."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = _prepare(folder)
        sealed = folder / "sealed"
        (sealed / "data.plain/feed").mkdir(parents=True)
        (sealed / "data.plain/feed/in.txt").write_text("from the operator")
        out = sealed / "model.plain/out"
        out.mkdir(parents=True)
        (out / "trap").symlink_to("/model/secret.txt")
        (out / "folder").symlink_to("../..")
        (out / "program").write_text("#!/bin/sh\necho run\n")
        (out / "program").chmod(0o755)
        first, second = _run(bench), _run(bench)
        model, data = _stored(sealed / "model"), _stored(sealed / "data")
        path = next(p for p in (sealed / "model").rglob("*") if p.is_file()
                    and b"the public result" in p.read_bytes())  # fmt: skip
        changed = bytearray(path.read_bytes())
        changed[changed.index(b"the public result") + 3000] ^= 1
        path.write_bytes(changed)
        return {
            "first": first,
            "second": second,
            "flipped": _run(bench),
            "readable": [
                text.encode() in model + data
                for text in ("the public result", "kept and public", "a readable sentence")
            ],
            "unreadable": [
                text.encode() in model + data
                for text in (
                    "the secret result", "not public", "kept and secret", "only in memory",
                    "a secret sentence", "for the operator", "shown.txt", "secret.txt",
                )
            ],
            "plain": {
                str(p.relative_to(sealed)): p.read_text()
                for name in ("model.plain", "data.plain")
                for p in sorted((sealed / name).rglob("*.txt"))
            },
            "kept": bench.read_result("secret.txt").decode(),
        }  # fmt: skip

    found = _apart(user_id, inside)
    first, second = found["first"], found["second"]
    assert first["before"] == {
        "": ["out", "scratch"],
        "/public": None,
        "/scratch": ["a", "b"],
        "/scratch/a/keep": ["tmp"],
        "/scratch/a/keep/tmp": [],
        "/out": ["folder", "program", "trap"],
    }
    assert second["before"] == {
        "": ["out", "public", "public.txt", "scratch", "secret.txt"],
        "/public": ["shown.txt"],
        "/scratch": ["a", "b"],
        "/scratch/a/keep": ["kept.txt", "tmp"],
        "/scratch/a/keep/tmp": [],
        "/out": ["folder", "program", "result.txt", "trap"],
    }
    assert second["read"]["shown"] == "the public result " * 300
    assert second["read"]["kept"] == "kept and secret"
    for run in (first, second):
        assert run["troubles"] == []
        assert run["errors"] == {
            "show": "EXDEV", "link": "EXDEV", "hide": "EXDEV", "out": "EXDEV",
            "move region": "EXDEV", "move memory": "EBUSY", "move plain": "EBUSY",
            "move inside": "EBUSY", "move nested": "EBUSY", "move way": "EBUSY",
            "remove": "EBUSY", "trap": "ELOOP", "trap folder": "ELOOP", "trap write": "ELOOP",
            "run": "EACCES", "feed write": "EROFS", "data write": "EROFS", "open write": "EROFS",
            "held": "ENOENT",
        }  # fmt: skip
        read = {name: run["read"][name] for name in ("feed", "data", "open", "work")}
        assert read == {
            "feed": "from the operator",
            "data": "a secret sentence",
            "open": "a readable sentence",
            "work": None,
        }
    assert found["readable"] == [True] * 3
    assert found["unreadable"] == [False] * 8
    assert found["plain"] == {
        "model.plain/out/result.txt": "for the operator too",
        "model.plain/scratch/b/drop/dropped.txt": "for the operator",
        "data.plain/feed/in.txt": "from the operator",
    }
    assert found["kept"] == "the secret result"
    assert found["flipped"]["code"] == "volume.tampered", found["flipped"]


@pytest.mark.spec("POL-19", "VOL-83")
def test_the_policys_regions_decide() -> None:
    """Data that was sealed in other classes, or a policy that the operator edited, is refused."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = _prepare(folder, sealed_regions={})
        edited = bench.text.replace('"/out": plain', '"/out": encrypted')
        edited = edited.replace('"/public": authenticated', '"/public": plain')
        assert edited != bench.text
        return {
            "sealed": _run(bench),
            "edited": _run(bench, policy=parse_policy(edited.encode(), source="p")),
        }

    found = _apart(users()[0], inside)
    assert (found["sealed"]["code"], found["sealed"]["out"]) == ("volume.region", "")
    assert "y.txt" not in found["sealed"]["public"]
    assert (found["edited"]["code"], found["edited"]["out"]) == ("release.policy-unknown", "")


def test_a_plain_folder_that_leads_elsewhere() -> None:
    """A link in the place of a plain region's folder, or above it, is not followed."""

    def inside(folder: Path) -> dict[str, Any]:
        bench = _prepare(folder)
        sealed, elsewhere = folder / "sealed", folder / "elsewhere"
        (elsewhere / "out").mkdir(parents=True)
        (sealed / "model.plain").symlink_to(elsewhere)
        found = {"above": _run(bench)}
        (sealed / "model.plain").unlink()
        (sealed / "model.plain").mkdir()
        (sealed / "model.plain/out").symlink_to(elsewhere)
        found["itself"] = _run(bench)
        (sealed / "model.plain/out").unlink()
        (sealed / "model.plain/out").write_text("a file")
        found["file"] = _run(bench)
        return found | {"elsewhere": [p.name for p in sorted(elsewhere.rglob("*"))]}

    found = _apart(users()[0], inside)
    for name in ("above", "itself", "file"):
        assert (found[name]["code"], found[name]["out"]) == ("confinement.setup", ""), name
        assert "host-folders" in found[name]["public"]
    assert found["elsewhere"] == ["out"]
