"""How failures of the stage are named; what the stage does is in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.confinement.stage import _Order, replace_file
from cloister.confinement.steps import Step, StepError
from cloister.wire import Fields


def test_a_failed_step_carries_its_name_and_errno() -> None:
    """The launcher learns which step failed and what the kernel said of which path."""
    with pytest.raises(StepError) as caught, Step("root"):
        raise FileNotFoundError(2, "No such file", "/x")
    assert (caught.value.step, caught.value.number) == ("root", 2)
    assert caught.value.text == "No such file (/x)"


def test_a_step_lets_other_errors_through() -> None:
    """Only failed calls are renamed."""
    with pytest.raises(ZeroDivisionError), Step("root"):
        raise ZeroDivisionError


def test_an_order_is_read_whole() -> None:
    """argv, environment, folder and listeners come from the launcher's message."""
    message: dict[str, object] = {
        "argv": ["/bin/x", "1"],
        "environment": {"A": "b"},
        "directory": "/code",
        "listeners": ["https"],
    }
    order = _Order.read(Fields(message, what="test"))
    assert order == _Order(["/bin/x", "1"], {"A": "b"}, "/code", ["https"])


def test_a_file_takes_another_ones_place(tmp_path: Path) -> None:
    """In one step, with its mode; what a broken attempt left is in nobody's way."""
    target = tmp_path / "cert.pem"
    target.write_bytes(b"old")
    (tmp_path / ".cert.pem.new").write_bytes(b"left over")
    before = target.stat().st_ino
    replace_file(target, b"new", mode=0o400)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o400
    assert target.stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir()] == ["cert.pem"]


@pytest.mark.parametrize("place", ["folder", "file", "fresh"])
def test_no_link_is_followed(tmp_path: Path, place: str) -> None:
    """The workload owns the folder and cannot lead us elsewhere with it."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    victim = outside / "cert.pem"
    victim.write_bytes(b"victim")
    if place == "folder":
        inside.rmdir()
        inside.symlink_to(outside)
        with pytest.raises(OSError, match="Not a directory"):
            replace_file(inside / "cert.pem", b"new", mode=0o400)
    else:
        name = "cert.pem" if place == "file" else ".cert.pem.new"
        (inside / name).symlink_to(victim)
        replace_file(inside / "cert.pem", b"new", mode=0o400)
        assert (inside / "cert.pem").read_bytes() == b"new"
    assert victim.read_bytes() == b"victim"
    assert sorted(path.name for path in outside.iterdir()) == ["cert.pem"]
