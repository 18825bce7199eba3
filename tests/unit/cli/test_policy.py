"""`cloister policy`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import CloisterError
from cloister.testing.keyservice import MEASUREMENT, policy_text
from unit.cli.conftest import Door


@pytest.fixture
def drafted(door: Door, plain: Path) -> Path:
    """A policy for plain code, drafted on this machine."""
    words = ("--name", "p", "--workload", "w", "--command", "/bin/sh /code/two.sh")
    found = door.record("policy", "draft", *words, "--code", plain)
    assert found == {"file": "policy.yaml"}
    return door.folder / "policy.yaml"


def test_a_draft_passes_lint_and_is_applied(door: Door, drafted: Path) -> None:
    """Its hash is the one that the key service then has."""
    lint = door.record("policy", "lint", drafted)
    assert lint["valid"] is True
    applied = door.record("policy", "apply", drafted)
    assert applied == door.record("policy", "hash", drafted)
    assert applied["policy"] == "default/p"
    [known] = door.record("keyservice", "status")["policies"]
    assert known["name"] == "p"


def test_a_draft_overwrites_nothing(door: Door, drafted: Path, plain: Path) -> None:
    """An existing file is left alone."""
    words = ("--name", "p", "--workload", "w", "--command", "/bin/sh")
    found = door.call("policy", "draft", *words, "--code", plain)
    assert getattr(found.exception, "code", None) == "config.exists"


def test_lint_shows_line_column_and_code(door: Door, drafted: Path) -> None:
    """And exits with 1."""
    drafted.write_text(drafted.read_text() + "colour: red\n")
    found = door.call("policy", "lint", drafted)
    line = len(drafted.read_text().splitlines())
    assert found.exit_code == 1
    assert f"{drafted}:{line}:1: error: unknown key" in found.stdout
    assert "not usable" in found.stdout


def test_apply_refuses_what_lint_refuses_with_its_code(door: Door, drafted: Path) -> None:
    """Nothing reaches the key service."""
    drafted.write_text("a: [")
    found = door.call("policy", "apply", drafted)
    assert getattr(found.exception, "code", None) == "policy.malformed"
    assert door.record("keyservice", "status")["policies"] == []


def test_show_says_it_in_words(door: Door, drafted: Path) -> None:
    """For people in lines, for machines in sections."""
    assert "/bin/sh" in door.call("policy", "show", drafted).stdout
    assert door.record("policy", "show", drafted)["sections"]


def test_people_get_lines(door: Door, drafted: Path) -> None:
    """Lint and apply end in one sentence, hash in one word."""
    assert f"{drafted}: good" in door.call("policy", "lint", drafted).stdout
    assert "default/p is sha256:" in door.call("policy", "apply", drafted).stdout
    assert door.call("policy", "hash", drafted).stdout.startswith("sha256:")


def test_refusals_are_told_to_who_may_read_the_policy(door: Door) -> None:
    """For people and machines; a policy is named with its namespace."""
    bench = door.bench
    bench.register_volumes()
    policy = bench.apply(policy_text(bench))
    assert "no appraisal refused" in door.call("policy", "refusals", "lab/digits").stdout
    with pytest.raises(CloisterError):
        bench.release_client().release(
            policy=policy,
            workload="train",
            instance="run-1",
            measurement=LaunchMeasurement(code=b"?" * 32, runtime=MEASUREMENT.runtime),
            attester=bench.attester(),
        )
    (found,) = door.record("policy", "refusals", "lab/digits")["refusals"]
    assert (found["code"], found["workload"]) == ("appraisal.code", "train")
    shown = door.call("policy", "refusals", "lab/digits").stdout
    assert f"entry {found['entry']}: train/run-1 appraisal.code" in shown
    error = door.call("policy", "refusals", "digits").exception
    assert isinstance(error, CloisterError)
    assert error.code == "config.value"


def test_lint_knows_evidence_policies(door: Door) -> None:
    """By their first key, with the same exit status."""
    text = (
        "evidence_policy: cloister/v1\nkind: sim\nanchors: [manufacturer]\nclaims:\n"
        '  measurement: {one_of: ["%s"]}\n  report_data: {unchecked: the command gives it}\n'
        "  debug: {one_of: [clear]}\n  security_version: {at_least: %d}\n"
    )
    path = door.folder / "evidence.yaml"
    path.write_text(text % ("ab" * 32, 1))
    found = door.record("policy", "lint", path)
    assert found["valid"] is True
    path.write_text(text % ("ab" * 48, 0))
    done = door.call("policy", "lint", path)
    assert done.exit_code == 1
    assert "evidence.yaml:5:" in done.stdout
    assert "[lint.value-length]" in done.stdout
    assert "[lint.at-least-zero]" in done.stdout


def test_several_workloads_are_drafted_at_once(door: Door, tmp_path: Path, plain: Path) -> None:
    """With whom they may connect to, and what may leave."""
    file = tmp_path / "several.yaml"
    words = ("--name", "crew", "--command", "/bin/sh -c true", "--output", file, "--code", plain)
    several = (
        *("--workload", "worker", "--workload", "ps", "--instances", "1"),
        *("--instances", "worker:2", "--connect", "all"),
        *("--egress", "ps:t.example.org:443=1000/10"),
        *("--budget", "ps:queries=100/alice,bob"),
    )
    door.record("policy", "draft", *words, *several)
    assert door.record("policy", "lint", file)["valid"] is True
    shown = door.call("policy", "show", file).stdout
    assert "connects to ps: every port" in shown
    assert "sends to t.example.org" in shown
    assert "queries: at most 100 in each of alice, bob, ever; spent by ps" in shown
