"""Sections about genuine evidence: what they may say, and what they cannot leave out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cloister.attestation.evidence_rules import AtLeast, OneOf, Unchecked, Within
from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import (
    canonical_bytes,
    policy_from_canonical,
    policy_hash,
    tree_value,
)
from cloister.keyservice.policy.evidence_roots import POLICY_KINDS, accepted_roots, table_of
from cloister.keyservice.policy.model import EvidenceRoot, Policy
from cloister.keyservice.policy.reader import diagnose, parse_policy
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.registry import ROOTS_OF_TRUST
from cloister.testing.genuine import section, with_gpus
from cloister.testing.policies import sample_text
from cloister.wire import decode

ANCHOR = "sha256:" + "a1" * 32
MEASUREMENT = bytes.fromhex("b2" * 48)


def text_with(*sections: str) -> str:
    """The sample, with these sections beside `sim`."""
    before, mark, after = sample_text().partition("# Sealed")
    return before.rstrip() + "\n" + "\n".join(sections) + "\n" + mark + after


def policy_with(*sections: str) -> Policy:
    """The same as a policy."""
    return parse_policy(text_with(*sections).encode(), source="policy.yaml")


def strict(kind: str, **claims: str) -> str:
    """A section with rules for all that its kind's table asks for."""
    return section(kind, anchors=[ANCHOR], measurement=MEASUREMENT, claims=claims)


@pytest.mark.parametrize("kind", POLICY_KINDS)
@pytest.mark.spec("POL-30", "POL-35")
def test_each_kind_has_a_section(kind: str) -> None:
    """It is read, it is part of the canonical form and the hash, and comes back the same."""
    policy = policy_with(strict(kind))
    assert policy.roots_of_trust.names == ("sim", kind)
    assert policy.roots_of_trust.genuine[kind].anchors == (ANCHOR,)
    canonical = canonical_bytes(policy)
    again = policy_from_canonical(canonical)
    assert again.roots_of_trust == policy.roots_of_trust
    assert canonical_bytes(again) == canonical
    other = policy_with(strict(kind, measurement='{one_of: ["b3"]}'))
    assert policy_hash(other) != policy_hash(policy)


@pytest.mark.parametrize("kind", POLICY_KINDS)
@pytest.mark.spec("POL-31", "POL-32", "POL-10")
def test_nothing_that_the_table_requires_may_be_left_out(kind: str) -> None:
    """Each required claim in turn; what the protocol binds is the one that may not be there."""
    required = [field.path for field in table_of(kind) if field.required]
    assert "measurement" in required
    assert "report_data" not in required
    for path in required:
        with pytest.raises(MalformedError) as e:
            policy_with(section(kind, anchors=[ANCHOR], measurement=b"m", claims={path: ""}))
        assert e.value.code == "policy.invalid"
        assert f"nothing is said about '{path}'" in (e.value.detail or "")
    for rule in ('{one_of: ["00"]}', "{unchecked: the protocol binds it anyway}"):
        (problem,) = diagnose(
            text_with(strict(kind, report_data=rule)).encode(), source="p"
        ).problems
        assert problem.path == f"roots_of_trust.{kind}.claims.report_data"
        assert "the protocol binds it" in problem.message


@pytest.mark.spec("POL-34")
def test_kinds_that_hold_no_workload_have_none() -> None:
    """Nor has one that nobody invented, and `sim` keeps its own words."""
    assert set(POLICY_KINDS) == {"sgx", "tdx", "snp", "azure-snp", "azure-tdx", "nitro"}
    for kind in [root.name for root in ROOTS_OF_TRUST if root.name not in POLICY_KINDS]:
        if kind != "sim":
            with pytest.raises(MalformedError) as e:
                policy_with(strict("nitro").replace("nitro", kind))
            assert "unknown key" in (e.value.detail or "")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (f"[{ANCHOR}]", "[]", "anchors"),
        (f"[{ANCHOR}]", "[intel]", "anchors"),
        (f"[{ANCHOR}]", f"[{ANCHOR}, {ANCHOR}]", "anchors"),
        (f"anchors: [{ANCHOR}]", "", ""),
        (f"anchors: [{ANCHOR}]", f"anchors: [{ANCHOR}]\n    debug: refused", "debug"),
        ("{one_of: [UpToDate]}", "{at_least: 3}", "claims.status"),
        ("{one_of: [UpToDate]}", "unchecked", "claims.status"),
        ("{one_of: [UpToDate]}", "{unchecked: no}", "claims.status"),
        ("{one_of: [UpToDate]}", "{one_of: []}", "claims.status"),
        ("{one_of: [clear]}", "{one_of: [false]}", "claims.migratable"),
        ('"status":', '"stattus":', "claims.stattus"),
    ],
)
@pytest.mark.spec("POL-30")
def test_what_evidence_policies_refuse_is_refused(old: str, new: str, path: str) -> None:
    """By the reader of those, with line and path."""
    text = text_with(strict("tdx"))
    assert old in text
    problems = diagnose(text.replace(old, new, 1).encode(), source="p").problems
    assert problems
    place = f"roots_of_trust.tdx.{path}".rstrip(".")
    assert place in {problem.path for problem in problems}
    assert all(problem.line for problem in problems)


@pytest.mark.spec("POL-33")
def test_a_section_that_checks_nothing_is_refused() -> None:
    """Every claim left out, each with a good reason."""
    left_out = {
        field.path: "{unchecked: a reason that is long}"
        for field in table_of("sgx")
        if field.required
    }
    with pytest.raises(MalformedError) as e:
        policy_with(section("sgx", anchors=[ANCHOR], measurement=b"", claims=left_out))
    assert "nothing of the evidence would be checked" in (e.value.detail or "")
    kept = left_out | {"debug": "{one_of: [clear]}"}
    policy_with(section("sgx", anchors=[ANCHOR], measurement=b"", claims=kept))


@pytest.mark.spec("POL-35")
def test_values_are_spelled_as_people_write_them() -> None:
    """Bytes in hex, bits as words, numbers by part; the model has them as evidence has them."""
    policy = policy_with(
        strict("snp", vmpl="{one_of: [0, 2]}", guest_svn="{at_least: 3}"),
        strict("tdx", advisories="{within: [INTEL-SA-00001]}"),
    )
    snp, tdx = (policy.roots_of_trust.genuine[name].claims for name in ("snp", "tdx"))
    assert snp["measurement"] == OneOf((MEASUREMENT,))
    assert snp["debug"] == OneOf((False,))
    assert snp["vmpl"] == OneOf((0, 2))
    assert snp["guest_svn"] == AtLeast(3)
    assert tdx["advisories"] == Within(("INTEL-SA-00001",))
    assert isinstance(tdx["rtmr1"], Unchecked)
    tree = decode(canonical_bytes(policy), max_bytes=1 << 20)
    assert tree == tree_value(policy)
    assert isinstance(tree, dict)
    roots = tree["roots_of_trust"]
    assert isinstance(roots, dict)
    assert set(roots) == {"sim", "snp", "tdx"}
    said = roots["snp"]
    assert isinstance(said, dict)
    assert isinstance(said["claims"], dict)
    assert said["claims"]["measurement"] == {"one_of": [MEASUREMENT.hex()]}
    assert said["claims"]["debug"] == {"one_of": ["clear"]}
    assert said["claims"]["reported_tcb"] == {"at_least": {"snp": 20, "microcode": 200}}


@pytest.mark.spec("POL-36")
def test_accelerators_stand_below_their_processor() -> None:
    """In the form and the hash, and read again the same; only where the processor can bind them."""
    part = with_gpus(strict("tdx"), ["manufacturer"])
    policy = policy_with(part)
    device = policy.roots_of_trust.genuine["tdx"].devices["nvidia"]
    assert set(device.claims) == {"debug", "measres", "revocation"}
    assert policy_from_canonical(canonical_bytes(policy)).roots_of_trust == policy.roots_of_trust
    assert policy_hash(policy) != policy_hash(policy_with(strict("tdx")))
    for kind in POLICY_KINDS:
        text = text_with(with_gpus(strict(kind), ["manufacturer"])).encode()
        accepted = diagnose(text, source="p").policy is not None
        assert accepted == (kind in {"tdx", "snp"})
    for old, new in (
        ("nvidia:", "amd:"),
        ('"measres": {one_of: [success]}', ""),
        ("devices:", "d:"),
    ):
        assert old in part
        assert diagnose(text_with(part.replace(old, new)).encode(), source="p").policy is None


@pytest.mark.spec("POL-62")
def test_the_manufacturer_stands_for_the_pinned_roots() -> None:
    """And a digest for itself."""
    root = EvidenceRoot(anchors=("manufacturer", ANCHOR), claims={})
    assert accepted_roots("tdx", root) == INTEL_ROOTS | {bytes.fromhex("a1" * 32)}
    assert accepted_roots("tdx", EvidenceRoot(anchors=(ANCHOR,), claims={})) == {b"\xa1" * 32}


def test_no_verifier_is_loaded_for_a_policy_about_simulated_evidence() -> None:
    """What a key service loads is what its policies need."""
    program = (
        "import sys\n"
        "from cloister.keyservice.policy import parse_policy\n"
        "import cloister.keyservice.session\n"
        "parse_policy(sys.stdin.buffer.read(), source='p')\n"
        "print(sorted(m for m in sys.modules if m.startswith('cloister.tee.')))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=sample_text().encode(),
        capture_output=True,
        check=True,
    )
    # Neither a verifier nor a table of claims: the registry, and how two parts are bound.
    assert found.stdout.decode().strip() == "['cloister.tee.composite', 'cloister.tee.registry']"
