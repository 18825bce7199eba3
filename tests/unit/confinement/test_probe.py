"""The facts that `cloister doctor` shows."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.confinement import nftables, syscalls
from cloister.confinement import probe as probe_module
from cloister.confinement.probe import Fact, probe


def _by_name(facts: list[Fact]) -> dict[str, Fact]:
    return {fact.name: fact for fact in facts}


def test_every_part_of_the_machine_is_reported() -> None:
    """Each probe yields a fact, whatever the machine has."""
    found = _by_name(probe())
    assert {
        "kernel", "python", "user-namespaces", "network-namespaces", "nftables", "fuse", "seccomp",
        "landlock", "cgroups", "tee", "swap", "core-dumps", "memory", "frameworks", "cryptography",
    } <= set(found)  # fmt: skip


def test_what_is_missing_says_what_it_costs_and_how_to_get_it() -> None:
    """A fact that is not `ok` has a cost or is a failed probe; a missing one has a remedy."""
    for fact in probe():
        assert fact.state in {"ok", "partial", "missing"}
        assert fact.state != "missing" or (fact.cost and fact.remedy), fact


def test_facts_are_plain_records() -> None:
    """`--json` can print every fact."""
    assert json.loads(json.dumps([fact.as_record() for fact in probe()]))


def test_a_probe_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable file of /proc becomes a fact of its own."""

    def _unreadable() -> Iterator[Fact]:
        raise PermissionError(13, "no")
        yield

    def _fine() -> Iterator[Fact]:
        yield Fact("fine", "ok", "yes")

    monkeypatch.setattr(probe_module, "_PROBES", (_unreadable, _fine))
    assert [(fact.name, fact.state) for fact in probe()] == [
        ("unreadable", "partial"),
        ("fine", "ok"),
    ]


def test_a_machine_with_nothing_explains_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FUSE, namespaces, Landlock and TEEs, each is `missing` with cost and remedy."""
    monkeypatch.setattr(Path, "exists", lambda _path: False)

    def refuse(_flags: int) -> None:
        raise OSError(28, "No space left on device")

    def no_landlock() -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(syscalls, "unshare", refuse)
    monkeypatch.setattr(syscalls, "landlock_abi", no_landlock)
    found = _by_name(probe())
    for name in ("fuse", "user-namespaces", "network-namespaces", "nftables", "landlock", "tee"):
        assert found[name].state == "missing"
        assert found[name].cost
        assert found[name].remedy
    assert "user.max_user_namespaces" in found["user-namespaces"].detail


def test_an_attempt_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that tries in a child waits for a bounded time only."""
    monkeypatch.setattr(probe_module, "_TRY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(syscalls, "unshare", lambda _flags: signal.pause())
    assert _by_name(probe())["user-namespaces"].detail == "the attempt did not end"


def test_nftables_are_tried_and_their_absence_has_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the program: what that costs, and which package has it."""
    if _by_name(probe())["user-namespaces"].state != "ok":
        pytest.skip("this machine has no user namespaces")
    monkeypatch.setattr(nftables, "PROGRAMS", ("/nowhere/nft",))
    fact = _by_name(probe())["nftables"]
    assert (fact.state, "every port" in fact.cost) == ("missing", True)
    assert "apt-get install nftables" in fact.remedy


@pytest.mark.parametrize(
    ("there", "state"),
    [
        ({"/dev/tdx_guest"}, "partial"),
        ({"/dev/tdx_guest", "/sys/kernel/config/tsm/report"}, "ok"),
        ({"/dev/nvidiactl", "/dev/tpm0"}, "partial"),
    ],
)
def test_hardware_is_of_use_where_the_kernel_offers_its_evidence(
    monkeypatch: pytest.MonkeyPatch, there: set[str], state: str
) -> None:
    """A device alone attests nothing here."""
    monkeypatch.setattr(Path, "exists", lambda path: str(path) in there)
    fact = _by_name(probe())["tee"]
    assert (fact.state, bool(fact.cost)) == (state, state != "ok")
    assert all(path in fact.detail for path in there)
