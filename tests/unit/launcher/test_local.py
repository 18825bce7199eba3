"""What this machine would prove of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.launcher.local import layout_of, local_facts
from cloister.tee.sim.attester import installed_image
from cloister.tee.sim.platform import SimPlatform


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
