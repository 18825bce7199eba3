"""Policies that are none: lint, apply and run refuse them at once, and say where."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import pytest

from integration.cli.desk import Desk

BAD: Final[dict[str, tuple[Callable[[str], str], str, str]]] = {
    "unknown-key": (
        lambda good: good.replace("minimum_svn: 1", "minimum_svn: 1\n    colour: red", 1),
        "policy.invalid",
        "unknown key",
    ),
    "missing-check": (
        lambda good: "\n".join(
            line for line in good.splitlines() if not line.strip().startswith("debug:")
        ),
        "policy.invalid",
        "debug",
    ),
    "bad-yaml": (lambda good: good + "\n  - [unclosed\n", "policy.malformed", "not YAML"),
    "ten-megabytes": (lambda good: good + "#" * 10_000_000, "policy.too-large", ""),
    "empty": (lambda _good: "", "policy.malformed", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_policy_is_refused_everywhere(desk: Desk, name: str) -> None:
    """Lint names the line, apply and run refuse with the same code, and the old policy runs."""
    change, code, named = BAD[name]
    path = desk.folder / f"bad-{name}.yaml"
    path.write_text(change((desk.folder / "policy.yaml").read_text()))
    lint = desk.json("policy", "lint", path)
    assert lint.status != 0
    began = time.monotonic()
    refused = [
        desk.json("policy", "apply", path),
        desk.json("run", path, "--workload", "copy"),
    ]
    for done in refused:
        assert done.status == 71
        assert done.code == code
        assert named in done.error["message"]
    assert time.monotonic() - began < 60
    findings = lint.record.get("findings")
    if findings is None:
        assert lint.code == code
    else:
        assert lint.record["valid"] is False
        errors = [finding for finding in findings if finding["severity"] == "error"]
        assert any(finding["code"] == code and finding["line"] >= 1 for finding in errors)


def test_a_policy_that_was_not_applied_releases_nothing(desk: Desk) -> None:
    """A good policy that the owner never applied is refused by the key service."""
    path = desk.folder / "edited.yaml"
    good = (desk.folder / "policy.yaml").read_text()
    path.write_text(good.replace("- /code/copy.sh", "- /code/fill.sh"))
    done = desk.json("run", path, "--workload", "copy")
    assert (done.status, done.code) == (77, "release.policy-unknown")


def test_a_policy_that_names_no_predecessor_replaces_nothing(desk: Desk) -> None:
    """A second policy of the same name must name the first."""
    path = desk.folder / "second.yaml"
    good = (desk.folder / "policy.yaml").read_text()
    path.write_text(good.replace("- /code/copy.sh", "- /code/fill.sh"))
    done = desk.json("policy", "apply", path)
    assert (done.status, done.code) == (77, "release.predecessor")
