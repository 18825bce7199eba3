"""Fingerprints: each change that a listing would show changes them; what is skipped does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.launcher import fingerprint as module
from cloister.launcher.fingerprint import Fingerprint, is_settled, take_fingerprint
from cloister.launcher.runtime import MeasuredRoot

pytestmark = pytest.mark.skipif(
    subprocess.run(["find", "--version"], capture_output=True, check=False).returncode != 0,
    reason="there is no GNU find",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small package, with what is left out beside it."""
    root = tmp_path / "pack[a]ges"
    (root / "pkg" / "__pycache__").mkdir(parents=True)
    (root / "site-packages").mkdir()
    (root / "pkg" / "site-packages").mkdir()
    (root / "pkg" / "a.py").write_text("a = 1\n")
    (root / "a\nb").write_text("")
    (root / "link").symlink_to("pkg")
    return root


def _roots(tree: Path) -> list[MeasuredRoot]:
    skipped = frozenset({"__pycache__", "*"})
    top = frozenset({"site-packages"})
    return [
        MeasuredRoot("sources/0", tree, skipped=skipped, skipped_at_top=top),
        MeasuredRoot("file", tree / "pkg" / "a.py"),
    ]


def _touch(tree: Path) -> None:
    os.utime(tree / "pkg" / "a.py", (1, 1))


_CHANGES: dict[str, Callable[[Path], object]] = {
    "content of the same size": lambda tree: (tree / "pkg" / "a.py").write_text("a = 2\n"),
    "times set back": _touch,
    "mode": lambda tree: (tree / "pkg" / "a.py").chmod(0o755),
    "a new file": lambda tree: (tree / "pkg" / "b.py").touch(),
    "a new folder": lambda tree: (tree / "pkg" / "empty").mkdir(),
    "a removed file": lambda tree: (tree / "a\nb").unlink(),
    "a new name": lambda tree: (tree / "a\nb").rename(tree / "b"),
    "a link's target": lambda tree: [
        (tree / "link").unlink(),
        (tree / "link").symlink_to("a\nb"),
    ],
    "a file where a folder of the same name is skipped at the top only": lambda tree: (
        tree / "pkg" / "site-packages" / "x"
    ).touch(),
}


@pytest.mark.spec("LM-25", "LM-21")
@pytest.mark.parametrize("change", _CHANGES)
def test_a_change_shows(tree: Path, change: str) -> None:
    """In another fingerprint."""
    before = take_fingerprint(_roots(tree))
    assert before is not None
    assert before == take_fingerprint(_roots(tree))
    _CHANGES[change](tree)
    assert take_fingerprint(_roots(tree)) != before


@pytest.mark.spec("LM-25")
def test_other_roots_give_another_fingerprint(tree: Path) -> None:
    """Label and what is left out count, also where the files are the same."""
    (tree / "site-packages").rmdir()
    (tree / "pkg" / "__pycache__").rmdir()
    variants = [
        MeasuredRoot("a", tree),
        MeasuredRoot("b", tree),
        MeasuredRoot("a", tree, skipped=frozenset({"none"})),
        MeasuredRoot("a", tree, skipped_at_top=frozenset({"none"})),
    ]
    assert len({take_fingerprint([root]) for root in variants}) == len(variants)


def test_what_is_left_out_does_not_count(tree: Path) -> None:
    """Skipped names at any depth, others at the top alone; a name is no pattern."""
    before = take_fingerprint(_roots(tree))
    (tree / "pkg" / "__pycache__" / "a.pyc").touch()
    (tree / "site-packages" / "b.py").touch()
    assert take_fingerprint(_roots(tree)) == before


def test_a_root_that_is_a_link_is_followed(tree: Path, tmp_path: Path) -> None:
    """As the measurement does it."""
    (tmp_path / "way").symlink_to(tree)
    root = [MeasuredRoot("a", tmp_path / "way")]
    before = take_fingerprint(root)
    (tree / "pkg" / "a.py").write_text("a = 3\n")
    assert take_fingerprint(root) != before


def test_without_a_fitting_find_there_is_none(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing root, a missing program and one that fails give None, never a hash."""
    assert take_fingerprint([MeasuredRoot("a", tree / "missing")]) is None
    assert take_fingerprint([MeasuredRoot("a", Path("relative"))]) is None
    for program in ("/nonexistent", "/bin/false"):
        monkeypatch.setattr(module, "_FIND", program)
        assert take_fingerprint(_roots(tree)) is None
        assert not is_settled(_roots(tree), at=4_000_000_000, margin_s=3)


def _children() -> set[str]:
    """This process's children, whoever started them."""
    me = os.getpid()
    return set(Path(f"/proc/{me}/task/{me}/children").read_text(encoding="ascii").split())


def test_the_process_gives_the_same(tree: Path) -> None:
    """As often as it is asked; and it is gone afterwards."""
    before = _children()
    with Fingerprint(_roots(tree)) as fingerprint:
        assert fingerprint.value() == take_fingerprint(_roots(tree))
        assert fingerprint.value() == take_fingerprint(_roots(tree))
    assert _children() <= before


def test_the_process_can_be_ended_early(tree: Path) -> None:
    """Closing it leaves no process, and no value."""
    before = _children()
    fingerprint = Fingerprint(_roots(tree))
    fingerprint.close()
    fingerprint.close()
    assert fingerprint.value() is None
    assert _children() <= before


@pytest.mark.spec("LM-22", "LM-25")
def test_a_new_file_is_not_settled(tree: Path) -> None:
    """It is once its change lies long enough before."""
    changed = int((tree / "pkg" / "a.py").stat().st_ctime)
    assert not is_settled(_roots(tree), at=changed, margin_s=3)
    assert not is_settled(_roots(tree), at=changed + 3, margin_s=3)
    assert is_settled(_roots(tree), at=changed + 60, margin_s=3)
