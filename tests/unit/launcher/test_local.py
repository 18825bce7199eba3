"""What this machine would prove of itself, and the runtime's digest by its fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.launcher import local
from cloister.launcher.fingerprint import take_fingerprint
from cloister.launcher.local import layout_of, local_facts, measure_runtime, runtime_digest
from cloister.launcher.manifest import RUNTIME_LABEL
from cloister.launcher.runtime import MeasuredRoot, RuntimeLayout
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform

_LATER = 4_000_000_000  # far behind every file's change time


class _Taken:
    """A fingerprint without a process."""

    def __init__(self, layout: RuntimeLayout) -> None:
        self.roots = layout.roots

    def value(self) -> bytes | None:
        """Take it now."""
        return take_fingerprint(self.roots)


class _Bench:
    """A tree, a platform, and how often the tree was measured."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = folder / "packages"
        self.tree.mkdir()
        (self.tree / "a.py").write_text("a = 1\n")
        root = MeasuredRoot("packages/0", self.tree)
        self.layout = RuntimeLayout(Path("/usr/bin/python3"), (root,), (), ())
        self.platform = SimPlatform.create(folder / "platform", svn=1, debug=False)
        self.cache = folder / "cache"
        self.measured = 0

        def counted(*arguments: object, **named: object) -> object:
            self.measured += 1
            return measure_runtime(*arguments, **named)

        monkeypatch.setattr(local, "measure_runtime", counted)

    def digest(self, *, at: int = _LATER, fingerprint: object = "taken") -> bytes:
        """Ask as a run does."""
        taken = _Taken(self.layout) if fingerprint == "taken" else fingerprint
        return runtime_digest(
            self.layout,
            self.platform,
            cache_directory=self.cache,
            at=at,
            progress=lambda _done, _total: None,
            fingerprint=taken,
        )

    def afresh(self) -> bytes:
        """Hash everything."""
        manifest = measure_runtime(
            self.layout,
            self.platform,
            cache_directory=self.cache / "none",
            at=_LATER,
            progress=lambda _done, _total: None,
        )
        return manifest.digest(RUNTIME_LABEL)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Bench:
    """A tree of one file."""
    return _Bench(tmp_path, monkeypatch)


@pytest.mark.spec("LM-20", "LM-25")
def test_an_unchanged_tree_is_not_measured_again(bench: _Bench) -> None:
    """The digest is the one that hashing everything gives, also after a change."""
    assert bench.digest() == bench.digest() == bench.afresh()
    assert bench.measured == 1
    (bench.tree / "a.py").write_text("a = 2\n")
    assert bench.digest() == bench.afresh()
    assert bench.measured == 2


@pytest.mark.spec("LM-22", "LM-25")
def test_a_tree_that_just_changed_is_measured_again(bench: _Bench) -> None:
    """Within the margin, the next change might not show."""
    changed = int((bench.tree / "a.py").stat().st_ctime)
    for _ in range(2):
        assert bench.digest(at=changed + 1) == bench.afresh()
    assert bench.measured == 2


@pytest.mark.spec("LM-25")
def test_a_change_while_hashing_is_not_remembered(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fingerprint from before and one from after must be the same."""
    monkeypatch.setattr(local, "take_fingerprint", lambda _roots: b"another" * 4)
    for _ in range(2):
        assert bench.digest() == bench.afresh()
    assert bench.measured == 2


def test_without_a_fingerprint_everything_is_measured(bench: _Bench) -> None:
    """None was begun, it could not be taken, or it is of other roots."""
    other = _Taken(RuntimeLayout(Path("/x"), (MeasuredRoot("b", bench.tree),), (), ()))
    untakable = _Taken(bench.layout)
    untakable.value = lambda: None
    for fingerprint in (None, other, untakable):
        assert bench.digest(fingerprint=fingerprint) == bench.afresh()
    assert bench.measured == 3


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A simulated platform."""
    return SimPlatform.create(tmp_path / "platform", svn=3, debug=False)


def _quiet(_done: int, _total: int) -> None:
    """Draw nothing."""


def test_facts_are_the_platforms_and_the_programs(platform: SimPlatform, tmp_path: Path) -> None:
    """One changed byte of the program is another runtime; the rest stays."""
    program = tmp_path / "program"
    found = []
    for content in (b"#!/bin/sh\n", b"#!/bin/sh\n\n", b"#!/bin/sh\n"):
        program.write_bytes(content)
        facts = local_facts(
            platform,
            program=str(program),
            cache_directory=tmp_path,
            at=2_000_000_000,
            progress=_quiet,
        )
        assert (facts.anchor, facts.svn) == (platform.anchor.text, 3)
        assert facts.launcher == installed_image()
        found.append(facts.runtime)
    assert found[0] == found[2] != found[1]


def test_python_is_the_running_interpreter_and_all_it_imports() -> None:
    """Another program is its file alone, and must be there."""
    assert {root.label for root in layout_of("python").roots} >= {"interpreter", "stdlib"}
    assert [root.label for root in layout_of("/bin/sh").roots] == ["executable"]
    with pytest.raises(ConfigError) as caught:
        layout_of("/no/program")
    assert caught.value.code == "config.missing"


@pytest.mark.spec("LM-26")
def test_without_a_platform_nothing_that_lies_on_a_disk_is_believed(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of hardware hashes every byte each time, and leaves no cache behind."""
    expected = bench.digest()
    before = {path: path.read_bytes() for path in bench.cache.iterdir()}
    measured = bench.measured
    monkeypatch.setattr(local, "KnownDigests", None)
    monkeypatch.setattr(local, "CacheKey", None)
    for _ in range(2):
        found = runtime_digest(
            bench.layout,
            None,
            cache_directory=bench.cache,
            at=_LATER,
            progress=lambda _done, _total: None,
            fingerprint=_Taken(bench.layout),
        )
        assert found == expected
    assert bench.measured == measured + 2
    assert {path: path.read_bytes() for path in bench.cache.iterdir()} == before
