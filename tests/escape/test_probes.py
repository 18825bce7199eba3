"""Every attempt of the table is denied in a cell as the table says, and succeeds outside of one."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.confinement.cell import CellSpec, Warm
from cloister.errors import UnsupportedError
from escape.catalogue import lines, load
from escape.ground import SPEC, Control, Ground, prepare, tried_in_one_cell, try_in_cell
from escape.table import NO_CONTROL, PROBES

load()

# What a machine may lack: a kernel's feature, a device, a file of procfs.
_LACKING = {
    "ENOENT", "ENXIO", "ENODEV", "ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT",
    "EOPNOTSUPP", "EIO", "EBUSY",
}  # fmt: skip
_MAY_BE_LACKING = (
    "devices.",
    "proc.",
    "sys.",
    "socket.",
    "mount.",
    "kernel.",
    "code.",
    "pipe.urgent",
)
_NEEDS_ROOT = {"EPERM", "EACCES"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """What attempts aim at."""
    with prepare(tmp_path_factory.mktemp("escape")) as found:
        yield found


@pytest.fixture(scope="module")
def control(ground: Ground) -> Iterator[Control]:
    """The same attempts outside."""
    found = Control(ground)
    yield found
    found.close()


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """One parent of all cells."""
    yield from _started(replace(SPEC, preload=("ctypes", "json", "pathlib", "subprocess")))


def _started(spec: CellSpec) -> Iterator[Warm]:
    with Warm(spec) as found:
        try:
            found.start()
        except UnsupportedError as e:
            pytest.skip(f"this machine cannot: {e.public}")
        yield found


def _require_machine(name: str) -> None:
    if PROBES[name].machine not in {"", platform.machine()}:
        pytest.skip(f"{platform.machine()} has no such thing")


@pytest.fixture(scope="module")
def together(warm: Warm, ground: Ground) -> dict[str, dict[str, str]]:
    """Outcomes of all that can share a cell, one cell for each module; the others are not here."""
    groups: dict[str, list[str]] = {}
    for name, found in PROBES.items():
        if not found.alone and found.machine in {"", platform.machine()}:
            groups.setdefault(found.run.__module__, []).append(name)
    outcomes: dict[str, dict[str, str]] = {}
    for names in groups.values():
        outcomes |= tried_in_one_cell(warm, names, ground.place)
    return outcomes


@pytest.mark.spec("CELL-13", "CELL-14", "CELL-15", "CELL-20", "CELL-21", "CELL-22")
@pytest.mark.spec("CELL-30", "CELL-31", "CELL-32", "CELL-33", "CELL-34", "CELL-35")
@pytest.mark.parametrize("name", [name for name in PROBES if name != "bombs.processor"])
def test_an_attempt_is_denied(
    warm: Warm, ground: Ground, together: dict[str, dict[str, str]], name: str
) -> None:
    """It fails in a cell, in a way that the table names."""
    _require_machine(name)
    outcome = together.get(name) or try_in_cell(warm, name, ground.place)
    assert outcome.get("denied") in PROBES[name].denied, outcome


@pytest.mark.spec("CELL-35")
def test_computing_without_end_is_ended(ground: Ground) -> None:
    """It has its seconds, whatever it does with signals."""
    for warm in _started(replace(SPEC, processor_s=1)):
        outcome = try_in_cell(warm, "bombs.processor", ground.place)
        assert outcome.get("denied") in PROBES["bombs.processor"].denied, outcome


@pytest.mark.parametrize(
    "name", [name for name, found in PROBES.items() if found.control != NO_CONTROL]
)
def test_the_same_succeeds_outside(control: Control, name: str) -> None:
    """An attempt that fails everywhere would show nothing."""
    _require_machine(name)
    outcome = control.attempt(name)
    denied = outcome.get("denied")
    lacking = _LACKING | (_NEEDS_ROOT if name.startswith("devices.") else set())
    if denied in lacking and name.startswith(_MAY_BE_LACKING):
        pytest.skip(f"this machine lacks it: {outcome}")
    if denied in _NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip(f"needs root outside: {outcome}")
    assert "through" in outcome, outcome


def test_there_are_many() -> None:
    """Fewer than there were is a mistake."""
    assert len(PROBES) >= 440


def test_the_page_lists_them_all() -> None:
    """What README.md says that is tried is what is tried."""
    page = (Path(__file__).parent / "README.md").read_text("utf-8")
    assert "\n".join(lines()) in page
