"""What goes wrong on the first day: each error is a sentence, a next step and a code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from integration.apart import run_apart
from integration.cli.desk import Desk, Done


def _shown(done: Done) -> tuple[str, str, str]:
    """Return sentence, next step and code as a person reads them."""
    found = {"error": "", "next": "", "code": ""}
    for line in done.stderr.splitlines():
        name, _, rest = line.strip().partition(":")
        if name in found:
            found[name] = rest.strip()
    return found["error"], found["next"], found["code"]


def test_without_a_trust_domain(tmp_path: Path) -> None:
    """The first command of all, before `cloister init`."""
    sentence, step, code = _shown(Desk(tmp_path).run("volume", "ls", "sealed"))
    assert code == "config.missing"
    assert sentence == "no trust domain in .cloister: No such file or directory"
    assert "cloister init" in step
    assert "--domain" in step


def test_with_a_folder_that_is_no_trust_domain(tmp_path: Path) -> None:
    """A wrong `--domain` is named."""
    (tmp_path / "elsewhere").mkdir()
    done = Desk(tmp_path).run("volume", "ls", "sealed", "--domain", "elsewhere")
    assert (done.status, _shown(done)[2]) == (65, "config.missing")
    (tmp_path / "elsewhere" / "domain.json").write_text("{}")
    done = Desk(tmp_path).run("volume", "ls", "sealed", "--domain", "elsewhere")
    assert (done.status, _shown(done)[2]) == (65, "config.file")
    assert "elsewhere/domain.json" in _shown(done)[0]


def test_with_a_trust_domain_twice(tmp_path: Path) -> None:
    """A second `cloister init` in the same place changes nothing."""
    desk = Desk(tmp_path)
    desk.run("init").good()
    before = (tmp_path / ".cloister" / "domain.json").read_bytes()
    sentence, step, code = _shown(desk.run("init"))
    assert (sentence, code) == (".cloister is in use already", "config.exists")
    assert "cloister init DIRECTORY" in step
    assert (tmp_path / ".cloister" / "domain.json").read_bytes() == before


def test_without_the_owners_key(desk: Desk) -> None:
    """The operator, who has no owner's key, is told where to do it."""
    key = desk.folder / ".cloister" / "owner" / "owner.key"
    key.rename(key.with_name("away"))
    try:
        done = desk.run("volume", "ls", "sealed/data")
    finally:
        key.with_name("away").rename(key)
    sentence, step, code = _shown(done)
    assert (done.status, code) == (65, "config.missing")
    assert "owner's key" in sentence
    assert "owner's machine" in step


def test_with_an_owners_key_that_others_may_read(desk: Desk) -> None:
    """A key that was open to others is refused until somebody closes it."""
    key = desk.folder / ".cloister" / "owner" / "owner.key"
    key.chmod(0o644)
    try:
        done = desk.run("volume", "ls", "sealed/data")
    finally:
        key.chmod(0o600)
    sentence, step, code = _shown(done)
    assert (done.status, code) == (65, "config.file")
    assert "open to others" in sentence
    assert step.startswith("chmod 600")


def test_without_a_policy_file(desk: Desk) -> None:
    """A policy file that is not there is named."""
    done = desk.run("run", "polciy.yaml", "--workload", "copy")
    assert (done.status, _shown(done)[2]) == (65, "config.file")
    assert "polciy.yaml" in _shown(done)[0]


def test_with_a_role_that_the_policy_lacks(desk: Desk) -> None:
    """The roles that there are, are listed."""
    done = desk.run("run", "policy.yaml", "--workload", "train")
    assert (done.status, _shown(done)[2]) == (77, "release.workload-unknown")
    assert "copy" in _shown(done)[1]


def test_with_a_path_that_is_no_volume(desk: Desk) -> None:
    """A mistyped store is not taken for a damaged volume."""
    done = desk.run("volume", "verify", "sealed/dtaa")
    assert (done.status, _shown(done)[2]) == (65, "config.missing")
    assert "sealed/dtaa" in _shown(done)[0]


def test_without_the_demonstrations_packages(tmp_path: Path) -> None:
    """The packages to install are named, before anything is begun."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sklearn.py").write_text("raise ImportError('not here')\n")
    sources = str(Path(__file__).parents[3] / "src")
    desk = Desk(tmp_path, variables={"PYTHONPATH": os.pathsep.join([str(blocked), sources])})
    done = desk.run("demo")
    sentence, step, code = _shown(done)
    assert (done.status, code) == (66, "extra.missing"), done
    assert "scikit-learn" in sentence
    assert "[demo]" in step


@pytest.mark.fuse
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a /dev/fuse of another mode")
@pytest.mark.parametrize("mode", [0o020600, None], ids=["closed", "absent"])
def test_without_a_fuse_device_that_one_may_open(mode: int | None, desk: Desk) -> None:
    """An ordinary user is told that /dev/fuse is what is missing, and how to get it."""
    found = run_apart(1000, _run_and_mount_as_user, fuse=mode)
    for done in found:
        assert done["status"] == 69
        error = json.loads(done["stdout"])["error"]
        assert error["code"] == "machine.fuse"
        assert "/dev/fuse" in error["message"]
        assert "modprobe fuse" in error["hint"] or "chmod 0666 /dev/fuse" in error["hint"]


def _run_and_mount_as_user() -> list[dict[str, object]]:
    from integration.cli.user import furnished_for_user  # noqa: PLC0415  # after the fork

    with furnished_for_user() as desk:
        mounted = desk.json("volume", "mount", "sealed/data", "plain", "--", "true")
        run = desk.json("run", "policy.yaml", "--workload", "copy")
        assert desk.json("volume", "verify", "sealed/out").good().record["version"] == 1
        return [{"status": done.status, "stdout": done.stdout} for done in (mounted, run)]


def test_doctor_explains_what_is_missing(tmp_path: Path) -> None:
    """Each thing that is missing comes with its cost and its remedy; nothing has to be there."""
    facts = Desk(tmp_path).json("doctor").good().record["facts"]
    assert {fact["name"] for fact in facts} >= {"fuse", "user-namespaces"}
    for fact in facts:
        assert fact["state"] == "ok" or (fact["cost"] and fact["remedy"])
