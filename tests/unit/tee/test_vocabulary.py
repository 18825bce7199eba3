"""What is known of claims' values, against tables, simulated and genuine evidence."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from cloister.cli import evidence
from cloister.tee.registry import ROOTS_OF_TRUST, by_name
from cloister.tee.vocabulary import SHAPES, Shape, shape_of
from evidence_samples import folder

ALWAYS: Final = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", [root.name for root in ROOTS_OF_TRUST])
def test_what_is_known_is_about_claims_that_there_are(kind: str) -> None:
    """Each with a form that fits."""
    root = by_name(kind)
    assert root is not None
    forms = {field.path: field.form for field in root.fields()}
    for path, shape in SHAPES[kind].items():
        form = forms.get(path)
        if path.startswith(("snp.", "tdx.")) and form is None:
            continue  # a claim of the processor's that Azure's table leaves out
        assert form is not None, path
        assert not shape.sizes or form == "bytes"
        assert shape.words is None or form in {"text", "texts"}
        assert not shape.pattern or form in {"text", "texts"}
        assert not shape.parts or form == "versions"
        assert not shape.pattern or shape.example


def test_nothing_is_known_of_what_is_not_listed() -> None:
    """And nothing is made up."""
    assert shape_of("vax", "measurement") == Shape()
    assert shape_of("tdx", "qe_svn") == Shape()


def fits(shape: Shape, value: Any) -> bool:
    """Whether a claim, as `--json` prints it, is of a shape."""
    if isinstance(value, list):
        return all(fits(shape, each) for each in value)
    if shape.sizes:
        return len(bytes.fromhex(value)) in shape.sizes
    if shape.words is not None:
        return value in shape.words
    if shape.parts:
        return set(value) <= shape.parts
    return re.fullmatch(shape.pattern, value) is not None


@pytest.mark.spec("EVP-23")
@pytest.mark.parametrize("family", ["sgx", "tdx", "snp", "azure", "tpm", "nvidia", "nitro", "cca"])
def test_genuine_evidence_says_nothing_else(family: str) -> None:
    """So a policy that compares with something else never matches."""
    compared = 0
    for described in sorted(folder(family).glob("*/sample.json")):
        facts, path = json.loads(described.read_text("utf-8")), described.parent
        kind = f"azure-{path.name.partition('-')[0]}" if family == "azure" else family
        check = next(iter(facts.get("checks") or [{}]))
        names = [check.get("collateral"), check.get("crl")]
        if family == "snp":
            names += [facts["certificates"]["leaf"], facts["certificates"]["chain"]]
        names += {"tpm": ["ak_pub.pem"], "cca": ["cpak.jwk.json"]}.get(family, [])
        at = check.get("verify_at", facts.get("verify_at", ALWAYS))
        dt.datetime.fromisoformat(at)
        words = ["verify", str(path), "--kind", kind, "--at", at, "--json"]
        for name in names:
            words += ["--endorsements", str(path / name)] if name else []
        done = CliRunner().invoke(evidence.app, words)
        if kind not in SHAPES or done.exit_code not in {0, 77}:
            continue
        claims = json.loads(done.stdout)["claims"]
        for claim, shape in SHAPES[kind].items():
            value: Any = claims.get(claim)
            if value is None and claims:
                value = claims
                for name in claim.split("."):
                    value = value.get(name) if isinstance(value, dict) else None
            if value is not None and claims:
                assert fits(shape, value), (path.name, claim, value)
                compared += 1
    assert compared
