"""`cloister evidence explain`: every reason, and dry runs that nobody takes for a verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cloister.cli.evidence_explaining import WOULD_HOLD, WOULD_NOT_HOLD
from unit.cli.test_evidence import NONCE, POLICY, Quoted, code, run


class Explained(Quoted):
    """A simulated TD's quote, and what is said of it."""

    def __init__(self, folder: Path, **case: Any) -> None:
        super().__init__(folder, **case)
        self.folder = folder
        self.subject = (self.quote, "--kind", "tdx", *self.words[4:], *self.given)
        self.measurement = self.judge()[1]["claims"]["measurement"]

    def policy(self, name: str, **change: str) -> Path:
        """A policy for it, or one with other facts."""
        facts = {
            "anchor": self.intel.anchor.hex(),
            "measurement": self.measurement,
            "status": "UpToDate",
        }
        path = self.folder / name
        path.write_text(POLICY.format(**facts | change))
        return path

    def saved(self, *words: str | Path) -> Path:
        """The record that `verify --json` prints."""
        path = self.folder / "verdict.json"
        path.write_text(run(*self.words, *self.given, *words, "--json").stdout)
        return path

    def explain(self, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """Status and record."""
        done = run("explain", *words, "--json")
        assert done.exit_code in {0, 20, 21, 75, 77}, done.exception
        return done.exit_code, json.loads(done.stdout)


def outcomes(record: dict[str, Any]) -> dict[str, str]:
    """Rule to outcome."""
    return {each["rule"]: each["outcome"] for each in record["rules"]}


@pytest.mark.spec("EVP-30")
def test_evidence_is_judged_again(tmp_path: Path) -> None:
    """With the verdict's own status, and each rule."""
    good = Explained(tmp_path)
    status, record = good.explain(*good.subject)
    assert (status, record["dry_run"], record["genuine"]) == (0, False, True)
    assert outcomes(record)["status"] == "holds"
    assert outcomes(record)["measurement"] == "unchecked"
    status, record = good.explain(*good.subject, "--nonce", bytes(64).hex())
    assert (status, outcomes(record)["report_data"]) == (77, "does not hold")
    typo = "00" + good.measurement[2:]
    policy = good.policy("typo.yaml", measurement=typo)
    status, record = good.explain(*good.subject, "--policy", policy)
    [line] = [each for each in record["rules"] if each["rule"] == "measurement"]
    assert (status, line["outcome"]) == (77, "does not hold")
    assert line["nearest"] == f"nearest is {typo}: 1 of 48 bytes differ"
    assert [each["code"] for each in record["reasons"]] == ["appraisal.claim"]
    text = run("explain", *good.subject, "--policy", policy).stdout
    assert "does not hold: 1" in text


@pytest.mark.spec("EVP-32")
def test_a_dry_run_is_no_verdict(tmp_path: Path) -> None:
    """In word, record and status, whatever it finds."""
    good = Explained(tmp_path)
    for policy, status, holds in (
        (good.policy("same.yaml"), WOULD_HOLD, True),
        (good.policy("old.yaml", status="OutOfDate"), WOULD_NOT_HOLD, False),
        (good.policy("anchor.yaml", anchor="00" * 32), WOULD_HOLD, True),  # --anchor counts too
    ):
        words = (*good.subject, "--against", policy)
        found, record = good.explain(*words)
        assert (found, record["would_hold"]) == (status, holds)
        assert record["dry_run"] is True
        assert record["verdict"] is None
        text = run("explain", *words).stdout
        assert text.startswith("dry run: nothing is decided here")
        assert "accept" not in text + json.dumps(record)


@pytest.mark.spec("EVP-32")
def test_a_policy_that_checks_nothing_would_not_hold(tmp_path: Path) -> None:
    """As it accepts nothing."""
    good = Explained(tmp_path)
    policy = good.policy("policy.yaml")
    text = re.sub(r"\{(one_of|within): .*\}", "{unchecked: nobody looks at it}", policy.read_text())
    policy.write_text(text)
    status, record = good.explain(*good.subject, "--against", policy)
    assert (status, record["would_hold"]) == (WOULD_NOT_HOLD, False)
    assert set(outcomes(record).values()) == {"holds", "unchecked"}  # the anchors hold


@pytest.mark.spec("EVP-33")
def test_what_would_change(tmp_path: Path) -> None:
    """Relative to the policy by which it was judged."""
    old = Explained(tmp_path, status="OutOfDate")
    strict, lax = old.policy("strict.yaml"), old.policy("lax.yaml", status="OutOfDate")
    words = (*old.subject, "--policy", strict, "--against", lax)
    status, record = old.explain(*words)
    assert {"rule": "status", "before": "does not hold", "after": "holds"} in record["changes"]
    assert status == (WOULD_HOLD if record["would_hold"] else WOULD_NOT_HOLD)
    assert "change: status: does not hold -> holds" in run("explain", *words).stdout
    words = (*old.subject, "--policy", strict, "--against", strict)
    assert old.explain(*words)[1]["changes"] == []


@pytest.mark.spec("EVP-32")
def test_a_record_is_taken_at_its_word_and_says_so(tmp_path: Path) -> None:
    """Its status is never that of a verdict, even where all holds."""
    good = Explained(tmp_path)
    saved = good.saved()
    status, record = good.explain(saved)
    assert (status, record["dry_run"], record["genuine"]) == (WOULD_HOLD, True, False)
    assert outcomes(record)["status"] == "holds"
    text = run("explain", saved).stdout
    assert "taken at its word" in text
    policy = good.policy("policy.yaml")
    status, record = good.explain(saved, "--against", policy)
    assert (status, record["verified_now"]) == (WOULD_HOLD, False)
    # The root is not among those of another policy, and nobody named it beside it.
    other = good.policy("other.yaml", anchor="00" * 32)
    status, record = good.explain(saved, "--against", other)
    assert (status, outcomes(record)["anchors"]) == (WOULD_NOT_HOLD, "does not hold")
    status, record = good.explain(saved, "--against", other, "--anchor", good.anchor)
    assert (status, outcomes(record)["anchors"]) == (WOULD_HOLD, "holds")
    # The same lines as of the evidence itself.
    again = good.explain(*good.subject, "--against", policy)[1]
    assert again["rules"] == good.explain(saved, "--against", policy)[1]["rules"]


def test_the_nonce_counts_for_both_policies(tmp_path: Path) -> None:
    """As it does for a verdict."""
    good = Explained(tmp_path)
    words = (*good.subject, "--against", good.policy("policy.yaml"))
    record = good.explain(*words, "--nonce", NONCE.hex())[1]
    assert outcomes(record)["report_data"] == "holds"


def test_a_record_by_a_policy_needs_that_policy(tmp_path: Path) -> None:
    """Otherwise what would change is unknown."""
    old = Explained(tmp_path)
    policy = old.policy("policy.yaml", measurement="00" * 48)
    saved = old.saved("--policy", policy)
    assert code("explain", saved) == "config.missing"
    status, record = old.explain(saved, "--policy", policy)
    assert (status, outcomes(record)["measurement"]) == (WOULD_NOT_HOLD, "does not hold")


@pytest.mark.spec("EVP-32")
def test_what_is_not_genuine_no_policy_makes_so(tmp_path: Path) -> None:
    """A dry run has nothing to compare."""
    good = Explained(tmp_path)
    policy = good.policy("policy.yaml")
    words = (good.quote, "--kind", "tdx", *good.words[4:], "--endorsements", good.collateral)
    status, record = good.explain(*words)
    assert (status, record["rules"]) == (77, [])
    assert record["reasons"][0]["code"] == "endorsement.anchor"
    other = good.policy("other.yaml", anchor="00" * 32)
    status, record = good.explain(*words, "--against", other)
    assert (status, record["would_hold"], record["rules"]) == (WOULD_NOT_HOLD, False, [])
    assert record["reasons"][0]["code"] == "endorsement.anchor"
    # A policy that trusts the root judges by it, whatever the first one trusts.
    for before in ((), ("--policy", other)):
        status, record = good.explain(*words, *before, "--against", policy)
        assert (status, outcomes(record)["anchors"]) == (WOULD_HOLD, "holds")
    text = run("explain", *words, "--against", other).stdout
    assert "nothing that it says is compared" in text
    refused = tmp_path / "refused.json"
    refused.write_text(run(*good.words, "--endorsements", good.collateral, "--json").stdout)
    assert code("explain", refused) == "config.missing"  # it does not say its kind
    assert run("explain", refused, "--kind", "tdx").exit_code == WOULD_NOT_HOLD


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"claims": []},
        {"claims": {"root_of_trust": "tdx"}},
        {"reasons": [{}]},
        {"not_checked": [{"rule": 1, "reason": ""}]},
        {"hardware_rooted": 1},
    ],
)
def test_a_record_that_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    """Is the user's mistake."""
    good = Explained(tmp_path)
    saved = good.saved()
    saved.write_text(json.dumps(json.loads(saved.read_text()) | change))
    assert code("explain", saved) == "config.file"


def test_mistakes_are_named(tmp_path: Path) -> None:
    """Before anything is explained."""
    good = Explained(tmp_path)
    saved = good.saved()
    assert code("explain", good.quote) == "config.missing"
    assert code("explain", tmp_path / "nowhere", "--kind", "tdx") == "config.file"
    assert code("explain", saved, "--kind", "snp") == "config.value"
    assert code("explain", saved, "--against", tmp_path / "nowhere") == "config.file"
    text = saved.read_text()
    for old, new in (('"debug": false', '"debug": 0'), ('"rtmr0": "', '"rtmr0": "x')):
        saved.write_text(text.replace(old, new))
        assert code("explain", saved) == "config.file"
