"""What the tree of cells is planned to show."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

import pytest

from cloister.confinement.cell_root import fact_files, runtime_binds


@pytest.mark.spec("CELL-14")
def test_facts_about_the_machine_say_nothing_that_changes() -> None:
    """The same files each time; memory is the cell's own, and no clock is among them."""
    first, second = (
        {file.path: file.content for file in fact_files(1 << 30, 65534, 65534)} for _ in range(2)
    )
    assert first == second
    assert "cpu MHz" not in first["/proc/cpuinfo"]
    assert first["/proc/meminfo"].split()[:2] == ["MemTotal:", str(1 << 20)]
    count = os.cpu_count() or 1
    wanted = "0\n" if count == 1 else f"0-{count - 1}\n"
    assert first["/sys/devices/system/cpu/online"] == wanted


@pytest.mark.spec("CELL-13")
def test_the_runtime_is_libraries_and_packages_alone(tmp_path: Path) -> None:
    """A folder that merely stands on the import path is not shown."""
    sys.path.insert(0, str(tmp_path))
    try:
        targets = {bind.target for bind in runtime_binds()}
    finally:
        sys.path.remove(str(tmp_path))
    assert str(tmp_path) not in targets
    assert set(site.getsitepackages()) <= targets
    assert not targets & {"/", "/home", "/root", "/etc", "/tmp", os.getcwd()}  # noqa: PTH109, S108  # names alone
