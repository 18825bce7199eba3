"""Which files count as the runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import cloister
from cloister.errors import ConfigError
from cloister.launcher.runtime import executable_layout, running_layout


@pytest.mark.spec("LM-10", "LM-11")
def test_interpreter_library_and_packages_are_measured() -> None:
    """The layout names the interpreter's binary, the standard library and site-packages."""
    layout = running_layout()
    roots = {root.label: root for root in layout.roots}
    assert layout.interpreter == Path(sys.executable)
    assert roots["interpreter"].path == Path(sys.executable).resolve()
    assert (roots["stdlib"].path / "os.py").is_file()
    assert (roots["packages/0"].path / "cryptography").is_dir()
    assert roots["packages/0"].skipped == frozenset()


@pytest.mark.spec("LM-12")
def test_sources_are_measured_without_caches() -> None:
    """Folders outside of site-packages leave out what the sandbox hides."""
    layout = running_layout()
    home = Path(cloister.__file__).resolve().parent.parent
    sources = {root.path: root for root in layout.roots if root.label.startswith("sources/")}
    if home in sources:  # not where Cloister itself is installed in site-packages
        assert sources[home].skipped == {"__pycache__", ".git"}
        assert home in layout.visible


def test_what_pythonpath_added_for_us_is_not_the_workloads() -> None:
    """The tests' own folders on the import path are not part of the runtime."""
    here = Path(__file__).resolve().parents[2]
    assert here not in [root.path for root in running_layout().roots]


@pytest.mark.spec("LM-13")
def test_a_program_is_measured_by_its_file(tmp_path: Path) -> None:
    """A command that is not Python has one root: the file behind its links."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    (tmp_path / "link").symlink_to(program)
    layout = executable_layout(tmp_path / "link")
    assert [(root.label, root.path) for root in layout.roots] == [("executable", program.resolve())]


def test_a_program_that_is_missing_is_named() -> None:
    """`config.missing` with the path."""
    with pytest.raises(ConfigError) as caught:
        executable_layout(Path("/nowhere/program"))
    assert caught.value.code == "config.missing"
