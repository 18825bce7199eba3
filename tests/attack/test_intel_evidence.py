"""Quotes that are forged, recombined, revoked, out of time or of unknown platforms are refused.

Each attack departs in one thing from a good case of the simulated manufacturer, and is refused by
the verifiers that real machines' quotes go through, with a code that says what it was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.verdict import Verdict, appraise_claims, default_rules
from cloister.crypto.chain import to_pem
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, EndorsementError, EvidenceError
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.layout import Quote
from cloister.tee.intel.roots import INTEL_SGX_ROOT_CA
from cloister.tee.sgx.fields import FIELDS as SGX_FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, Kind, Minted, SimulatedIntel

AT: Final = 1767225600
DAY: Final = 86400
INTEL: Final = SimulatedIntel(b"intel of these tests", at=AT)
OTHER: Final = SimulatedIntel(b"another intel", at=AT)
KINDS: Final[tuple[Kind, ...]] = ("sgx3", "sgx4", "sgx5", "tdx4", "tdx5", "tdx15", "tdx15ex")
BOTH: Final[tuple[Kind, ...]] = ("sgx3", "tdx15")
TDS: Final[tuple[Kind, ...]] = ("tdx4", "tdx15")
PAST: Final = (AT - 9 * DAY, AT - 1)
FUTURE: Final = (AT + 1, AT + 9 * DAY)


def verify(minted: Minted, kind: str, *, anchor: bytes = INTEL.anchor, at: int = AT) -> Claims:
    """Judge minted evidence as evidence of its TEE."""
    verifier = SgxVerifier if kind.startswith("sgx") else TdxVerifier
    return verifier((anchor,)).verify(minted.evidence, minted.endorsements, at=at)


def judge(kind: Kind, **knobs: Any) -> Verdict:
    """Mint, verify, and apply the strict default rules."""
    claims = verify(INTEL.mint(IntelCase(kind, **knobs)), kind)
    fields = SGX_FIELDS if kind.startswith("sgx") else TDX_FIELDS
    return appraise_claims(claims, fields, default_rules(fields))


def refused(kind: Kind, **knobs: Any) -> str:
    """Mint and return the code with which it is refused."""
    with pytest.raises(CloisterError) as e:
        verify(INTEL.mint(IntelCase(kind, **knobs)), kind)
    return e.value.code


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.spec("INTEL-1", "INTEL-3", "INTEL-40", "INTEL-52", "INTEL-53")
def test_a_good_case_is_accepted_and_says_that_no_hardware_vouches(kind: Kind) -> None:
    """The verifier of real quotes, the strict rules, and an anchor of the caller's."""
    verdict = judge(kind, report_data=bytes(range(64)))
    assert verdict.accepted
    assert verdict.claims is not None
    assert not verdict.claims.hardware_rooted
    assert verdict.claims.anchor == INTEL.anchor
    assert verdict.claims.report_data == bytes(range(64))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-15", "INTEL-53")
def test_under_intels_root_the_simulated_one_is_refused(kind: Kind) -> None:
    """No evidence of the simulated manufacturer passes for Intel's."""
    with pytest.raises(EndorsementError) as e:
        verify(INTEL.mint(IntelCase(kind)), kind, anchor=INTEL_SGX_ROOT_CA)
    assert e.value.code == "endorsement.anchor"


FORGERIES: Final = {
    "quote": "evidence.signature",
    "qe_report": "evidence.signature",
    "key": "evidence.parts",
    "pck": "endorsement.signature",
    "ca": "endorsement.signature",
    "signer": "endorsement.signature",
    "tcb_info": "endorsement.signature",
    "qe_identity": "endorsement.signature",
    "pck_crl": "endorsement.signature",
    "root_crl": "endorsement.signature",
}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("what", "code"), FORGERIES.items())
@pytest.mark.spec("INTEL-13", "INTEL-16", "INTEL-18", "INTEL-32", "INTEL-34")
def test_what_somebody_else_signed_is_refused(kind: Kind, what: str, code: str) -> None:
    """Every signature of the chain is checked, and the binding of the attestation key."""
    assert refused(kind, forged=frozenset({what})) == code


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
@pytest.mark.spec("INTEL-18")
def test_text_that_intel_did_not_sign_is_not_parsed(name: str) -> None:
    """Signatures come before the work that hostile text makes (NVFlare#5131)."""
    minted = INTEL.mint(IntelCase("sgx3"))
    body = json.dumps(dict(minted.bundle) | {name: "[" * 1000}).encode()
    with pytest.raises(EndorsementError) as e:
        SgxVerifier((INTEL.anchor,)).verify(
            minted.evidence, (Endorsement(COLLATERAL_TYPE, body),), at=AT
        )
    assert e.value.code == "endorsement.signature"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("what", ["pck", "ca", "signer"])
@pytest.mark.spec("INTEL-17")
def test_what_is_revoked_is_refused(kind: Kind, what: str) -> None:
    """The platform, its authority, and who signed the statements."""
    assert refused(kind, revoked=frozenset({what})) == "endorsement.revoked"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("window", [PAST, FUTURE], ids=["past", "future"])
@pytest.mark.parametrize("what", ["ca", "pck", "signer"])
@pytest.mark.spec("INTEL-13")
def test_certificates_out_of_their_time_are_refused(
    kind: Kind, what: str, window: tuple[int, int]
) -> None:
    """Each certificate counts from its beginning to its end."""
    assert refused(kind, windows={what: window}) == "endorsement.expired"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("window", [PAST, FUTURE], ids=["past", "future"])
@pytest.mark.parametrize("what", ["pck_crl", "root_crl", "tcb_info", "qe_identity"])
@pytest.mark.spec("INTEL-16", "INTEL-21")
def test_collateral_out_of_its_time_decides_nothing(
    kind: Kind, what: str, window: tuple[int, int]
) -> None:
    """Old and future collateral is stale: that says nothing about the machine."""
    assert refused(kind, windows={what: window}) == "endorsement.stale"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("what", ["pck", "ca", "signer"])
@pytest.mark.spec("INTEL-13")
def test_another_curve_is_refused(kind: Kind, what: str) -> None:
    """Intel's profile is P-256 alone."""
    assert refused(kind, curve=frozenset({what})) == "endorsement.signature"


@pytest.mark.parametrize("what", ["pck", "ca", "signer"])
@pytest.mark.spec("INTEL-13")
def test_a_certificate_of_another_purpose_is_refused(what: str) -> None:
    """A key that Intel certified for something else signs no statement and no platform."""
    assert refused("sgx3", names={what: "Intel SGX Something Else"}) == "endorsement.mismatch"


@pytest.mark.spec("INTEL-13", "INTEL-18")
def test_a_platform_cannot_sign_the_list_of_good_platforms() -> None:
    """A PCK certificate under the same root is no TCB signer, however good its chain."""
    assert refused("sgx3", statements_by="pck") == "endorsement.mismatch"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-18")
def test_collateral_of_another_accepted_root_does_not_count(kind: Kind) -> None:
    """Who accepts two roots lets neither speak about the other's platforms."""
    mine, theirs = INTEL.mint(IntelCase(kind)), OTHER.mint(IntelCase(kind))
    bundle = dict(theirs.bundle) | {
        name: mine.bundle[name] for name in ("root_ca_crl", "pck_crl", "pck_crl_issuer_chain")
    }
    verifier = SgxVerifier if kind == "sgx3" else TdxVerifier
    with pytest.raises(EndorsementError) as e:
        verifier((INTEL.anchor, OTHER.anchor)).verify(
            mine.evidence,
            (Endorsement(COLLATERAL_TYPE, json.dumps(bundle).encode()),),
            at=AT,
        )
    assert e.value.code == "endorsement.anchor"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-32")
def test_another_chips_certificate_is_refused(kind: Kind) -> None:
    """The chain of a healthy chip does not cover for the one that signed."""
    sick, healthy = (INTEL.mint(IntelCase(kind, platform=name)) for name in ("sick", "healthy"))
    quote = Quote.from_bytes(sick.quote)
    signature = replace(quote.signature, certification=to_pem(healthy.chain))
    with pytest.raises(EvidenceError) as e:
        verify(sick.with_quote(replace(quote, signature=signature).to_bytes()), kind)
    assert e.value.code == "evidence.signature"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.spec("INTEL-34")
def test_a_changed_body_is_refused(kind: Kind) -> None:
    """Report data of another request under the old signature."""
    minted = INTEL.mint(IntelCase(kind, report_data=b"A" * 64))
    with pytest.raises(EvidenceError) as e:
        verify(minted.with_quote(minted.quote.replace(b"A" * 64, b"B" * 64)), kind)
    assert e.value.code == "evidence.signature"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-30")
def test_another_makers_quoting_enclave_is_refused(kind: Kind) -> None:
    """The vendor in the header is Intel's: verifiers in the field did not look (dcap-qvl#127)."""
    assert refused(kind, vendor=bytes(16)) == "evidence.kind"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("key_type", [0, 1, 3, 5])
@pytest.mark.spec("INTEL-30")
def test_another_attestation_key_is_refused(kind: Kind, key_type: int) -> None:
    """P-384 and what comes after are other procedures."""
    assert refused(kind, key_type=key_type) == "evidence.kind"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "knobs",
    [
        {"qe_signer": bytes(32)},
        {"qe_attributes": bytes([0x13]) + bytes(15)},
        {"qe_attributes": bytes([0x15]) + bytes(15)},
        {"qe": {"isvprodid": 9}},
        {"qe": {"miscselect": "01000000"}},
    ],
    ids=["signer", "debug", "64-bit", "product", "miscselect"],
)
@pytest.mark.spec("INTEL-33")
def test_an_enclave_that_is_not_the_quoting_enclave_is_refused(
    kind: Kind, knobs: dict[str, Any]
) -> None:
    """Any enclave on a genuine platform can have its report signed; only one may vouch for keys."""
    if knobs == {"qe_attributes": bytes([0x15]) + bytes(15)}:
        # A bit outside the mask does not count.
        assert judge(kind, **knobs).accepted
    else:
        assert refused(kind, **knobs) == "evidence.parts"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-41")
def test_a_revoked_quoting_enclave_is_refused(kind: Kind) -> None:
    """A version that Intel revoked was accepted in the field (automata#144)."""
    assert refused(kind, qe_status="Revoked") == "endorsement.revoked"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-41")
def test_a_revoked_platform_is_refused(kind: Kind) -> None:
    """No policy can allow it."""
    assert refused(kind, status="Revoked") == "endorsement.revoked"


@pytest.mark.parametrize("kind", TDS)
@pytest.mark.spec("INTEL-41", "INTEL-43")
def test_a_revoked_tdx_module_is_refused(kind: Kind) -> None:
    """Nor this."""
    assert refused(kind, module_levels=((5, "Revoked"),)) == "endorsement.revoked"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "knobs",
    [{"components": (2,) * 16}, {"qe_svn": 4}, {"components": (255,) * 15 + (2,)}],
    ids=["platform", "qe", "one component"],
)
@pytest.mark.spec("INTEL-40", "INTEL-41")
def test_versions_below_every_level_are_refused(kind: Kind, knobs: dict[str, Any]) -> None:
    """Components are compared one by one: high ones do not make up for a low one."""
    assert refused(kind, **knobs) == "endorsement.mismatch"


@pytest.mark.parametrize(
    "knobs",
    [
        {"tee_tcb_svn": bytes([1, 1, 7]) + bytes(13)},
        {"tee_tcb_svn": bytes([5, 1, 6]) + bytes(13)},
        {"tee_tcb_svn": bytes([5, 2, 7]) + bytes(13)},
        {"tee_tcb_svn": bytes([4, 0, 7]) + bytes(13)},
    ],
    ids=["module", "component", "unknown module", "module 0"],
)
@pytest.mark.spec("INTEL-41", "INTEL-42", "INTEL-43")
def test_tdx_versions_below_every_level_are_refused(knobs: dict[str, Any]) -> None:
    """The TDX module's version counts, and that Intel knows the module at all."""
    assert refused("tdx4", **knobs) == "endorsement.mismatch"


@pytest.mark.spec("INTEL-45")
@pytest.mark.parametrize(
    ("svn2", "code"),
    [(bytes([5, 1, 6]), "endorsement.mismatch"), (bytes(3), "endorsement.mismatch")],
)
def test_what_runs_the_td_now_is_judged_too(svn2: bytes, code: str) -> None:
    """A module that was exchanged for an unknown one is not covered by the one at launch."""
    assert refused("tdx15", tee_tcb_svn2=svn2 + bytes(13)) == code


@pytest.mark.parametrize("kind", TDS)
@pytest.mark.spec("INTEL-42")
def test_a_tdx_module_of_somebody_else_is_refused(kind: Kind) -> None:
    """MRSIGNERSEAM is what Intel's TCB info names."""
    assert refused(kind, mr_signer_seam=b"\x01" * 48) == "evidence.parts"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("members", [{"fmspc": "00606a000000"}, {"pceId": "0001"}], ids=str)
@pytest.mark.spec("INTEL-25")
def test_tcb_info_of_another_platform_is_refused(kind: Kind, members: dict[str, str]) -> None:
    """Genuine, current, and about another model."""
    assert refused(kind, tcb=members) == "endorsement.mismatch"


@pytest.mark.parametrize(
    ("kind", "knobs", "code"),
    [
        ("tdx4", {"tcb": {"id": "SGX"}}, "endorsement.mismatch"),
        ("tdx4", {"qe": {"id": "QE"}}, "endorsement.mismatch"),
        ("sgx3", {"qe": {"id": "TD_QE"}}, "endorsement.mismatch"),
        ("sgx3", {"qe": {"id": "QVE"}}, "endorsement.malformed"),
        ("tdx4", {"tcb": {"version": 2}}, "endorsement.malformed"),
        ("sgx3", {"tcb": {"version": 4}}, "endorsement.malformed"),
        ("sgx3", {"tcb": {"version": 1}}, "endorsement.malformed"),
        ("sgx3", {"qe": {"version": 1}}, "endorsement.malformed"),
        ("sgx3", {"tcb": {"tcbType": 1}}, "endorsement.malformed"),
        ("sgx3", {"status": "Excellent"}, "endorsement.malformed"),
        ("sgx3", {"qe_status": "SWHardeningNeeded"}, "endorsement.malformed"),
        ("tdx4", {"module_levels": ((5, "ConfigurationNeeded"),)}, "endorsement.malformed"),
    ],
    ids=str,
)
@pytest.mark.spec("INTEL-22", "INTEL-23", "INTEL-26")
def test_statements_of_another_kind_are_refused(kind: Kind, knobs: Any, code: str) -> None:
    """What SGX's statements say is not about TDX, and unknown words mean nothing good."""
    assert refused(kind, **knobs) == code


def _with_chain(minted: Minted) -> tuple[Endorsement, ...]:
    """Return the collateral with the platform's chain in it."""
    chain = to_pem(minted.chain).decode()
    body = json.dumps(dict(minted.bundle) | {"pck_certificate_chain": chain}).encode()
    return (Endorsement(COLLATERAL_TYPE, body),)


@pytest.mark.parametrize("certification_type", [1, 2, 3])
@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-31")
def test_a_quote_without_its_chain_decides_nothing(kind: Kind, certification_type: int) -> None:
    """Unless the collateral brings the chain."""
    minted = INTEL.mint(IntelCase(kind, certification_type=certification_type))
    with pytest.raises(CloisterError) as e:
        verify(minted, kind)
    assert e.value.code == "endorsement.missing"
    verifier = SgxVerifier if kind == "sgx3" else TdxVerifier
    claims = verifier((INTEL.anchor,)).verify(minted.evidence, _with_chain(minted), at=AT)
    assert claims.status == "UpToDate"


@pytest.mark.spec("INTEL-31")
def test_what_stands_in_the_place_of_a_chain_is_about_the_platform() -> None:
    """Nobody signed it, so it agrees with what was signed; only ciphertext may be anything."""
    for certification_type in (1, 2, 3):
        minted = INTEL.mint(IntelCase("sgx3", certification_type=certification_type))
        quote = Quote.from_bytes(minted.quote)
        good = quote.signature.certification
        passed = set()
        for at in range(len(good)):
            changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
            signature = replace(quote.signature, certification=changed)
            evidence = Evidence(
                minted.evidence.media_type, replace(quote, signature=signature).to_bytes()
            )
            code = "evidence.parts"
            try:
                SgxVerifier((INTEL.anchor,)).verify(evidence, _with_chain(minted), at=AT)
                passed.add(at)
            except EvidenceError as e:
                code = e.code
            assert code == "evidence.parts"
        assert passed == (set() if certification_type == 1 else set(range(len(good) - 20)))


@pytest.mark.parametrize("certification_type", [0, 4, 6, 7])
@pytest.mark.spec("INTEL-31")
def test_other_certification_data_is_refused(certification_type: int) -> None:
    """Also of a known type and another length: nothing unread comes along."""
    minted = INTEL.mint(IntelCase("sgx3", certification_type=certification_type))
    for other in (minted, INTEL.mint(IntelCase("sgx3", certification_type=2))):
        quote = Quote.from_bytes(other.quote)
        longer = replace(quote.signature, certification=quote.signature.certification + b"x")
        evidence = Evidence(minted.evidence.media_type, replace(quote, signature=longer).to_bytes())
        with pytest.raises(EvidenceError) as e:
            SgxVerifier((INTEL.anchor,)).verify(evidence, _with_chain(other), at=AT)
        assert e.value.code == "evidence.kind"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-10")
def test_without_collateral_nothing_is_decided(kind: Kind) -> None:
    """No list, no TCB info: that is never taken for nothing revoked and all up to date."""
    minted = INTEL.mint(IntelCase(kind))
    verifier = SgxVerifier if kind == "sgx3" else TdxVerifier
    with pytest.raises(CloisterError) as e:
        verifier((INTEL.anchor,)).verify(minted.evidence, (), at=AT)
    assert e.value.code == "endorsement.missing"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("knobs", "anchor", "code"),
    [
        ({"forged": frozenset({"quote"})}, INTEL.anchor, "evidence.signature"),
        ({"forged": frozenset({"key"})}, INTEL.anchor, "evidence.parts"),
        ({"forged": frozenset({"pck"})}, INTEL.anchor, "endorsement.signature"),
        ({}, INTEL_SGX_ROOT_CA, "endorsement.anchor"),
        ({}, INTEL.anchor, "endorsement.missing"),
    ],
    ids=str,
)
@pytest.mark.spec("INTEL-34")
def test_without_collateral_forgeries_are_refused_all_the_same(
    kind: Kind, knobs: Any, anchor: bytes, code: str
) -> None:
    """Nothing that comes along later would make them good."""
    minted = INTEL.mint(IntelCase(kind, **knobs))
    verifier = SgxVerifier if kind == "sgx3" else TdxVerifier
    with pytest.raises(CloisterError) as e:
        verifier((anchor,)).verify(minted.evidence, (), at=AT)
    assert e.value.code == code


@pytest.mark.parametrize(
    ("kind", "knobs", "failed", "status"),
    [
        ("sgx3", {"debug": True}, ["debug"], "UpToDate"),
        ("tdx4", {"debug": True}, ["debug"], "UpToDate"),
        ("sgx3", {"status": "OutOfDate"}, ["status"], "OutOfDate"),
        ("sgx3", {"status": "SWHardeningNeeded"}, ["status"], "SWHardeningNeeded"),
        ("sgx3", {"advisories": ("INTEL-SA-9",)}, ["advisories"], "UpToDate"),
        ("sgx3", {"components": (4,) * 16}, ["status", "advisories"], "OutOfDate"),
        ("sgx3", {"qe_status": "OutOfDate"}, ["status"], "OutOfDate"),
        ("sgx3", {"qe_svn": 6}, ["status", "advisories"], "OutOfDate"),
        (
            "sgx3",
            {"qe_status": "OutOfDate", "status": "ConfigurationNeeded"},
            ["status"],
            "OutOfDateConfigurationNeeded",
        ),
        ("tdx4", {"tee_tcb_svn": bytes([3, 1, 7]) + bytes(13)}, ["status"], "OutOfDate"),
        ("tdx4", {"attributes": 0}, ["sept_ve_disable"], "UpToDate"),
        ("tdx4", {"attributes": 3 << 28}, ["migratable"], "UpToDate"),
        ("tdx4", {"attributes": 1 << 28 | 1 << 20}, ["reserved_attributes"], "UpToDate"),
        ("tdx15", {"mr_service_td": b"\x01" * 48}, ["mr_service_td"], "UpToDate"),
        (
            "tdx15",
            {"tee_tcb_svn": bytes([3, 1, 7]) + bytes(13)},
            ["status"],
            "TDRelaunchAdvised",
        ),
        (
            "tdx15",
            {"tee_tcb_svn": bytes([3, 1, 7]) + bytes(13), "status": "ConfigurationNeeded"},
            ["status"],
            "TDRelaunchAdvisedConfigurationNeeded",
        ),
        ("tdx15", {"tee_tcb_svn2": bytes([3, 1, 7]) + bytes(13)}, ["status"], "OutOfDate"),
    ],
    ids=str,
)
@pytest.mark.spec(
    "INTEL-40", "INTEL-43", "INTEL-44", "INTEL-45", "INTEL-46", "INTEL-51", "INTEL-52"
)
def test_what_genuine_evidence_admits_is_refused_by_the_strict_rules(
    kind: Kind, knobs: Any, failed: list[str], status: str
) -> None:
    """Where nobody wrote a policy, each of these is a reason, and the only one."""
    verdict = judge(kind, **knobs)
    assert not verdict.accepted
    assert sorted(reason.detail.split(":")[0] for reason in verdict.reasons) == sorted(failed)
    assert verdict.status == status


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("size", [1, 70, 3065])
@pytest.mark.spec("INTEL-6")
def test_only_zero_bytes_may_follow_a_quote(kind: Kind, size: int) -> None:
    """Padding of guest interfaces says nothing; anything else is not a quote."""
    assert judge(kind, padding=bytes(size)).accepted
    assert refused(kind, padding=bytes(size - 1) + b"\x01") == "evidence.malformed"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-1")
def test_evidence_of_one_tee_is_not_the_others(kind: Kind) -> None:
    """Neither by its name nor by its bytes."""
    minted = INTEL.mint(IntelCase(kind))
    other: Any = TdxVerifier if kind == "sgx3" else SgxVerifier
    name = "application/vnd.cloister." + ("tdx" if kind == "sgx3" else "sgx")
    for evidence in (minted.evidence, Evidence(name, minted.quote)):
        with pytest.raises(EvidenceError) as e:
            other((INTEL.anchor,)).verify(evidence, minted.endorsements, at=AT)
        assert e.value.code == "evidence.kind"


@pytest.mark.spec("INTEL-32")
def test_the_attestation_key_is_bound_with_its_authentication_data() -> None:
    """Authentication data that was exchanged is noticed."""
    minted = INTEL.mint(IntelCase("sgx3"))
    changed = minted.quote.replace(bytes(range(32)), bytes(range(1, 33)))
    with pytest.raises(EvidenceError) as e:
        verify(minted.with_quote(changed), "sgx3")
    assert e.value.code == "evidence.parts"


def test_minting_again_gives_the_same_bytes() -> None:
    """Everything follows from seed, instant and case."""
    again = SimulatedIntel(b"intel of these tests", at=AT)
    first, second = INTEL.mint(IntelCase("tdx15ex")), again.mint(IntelCase("tdx15ex"))
    assert first == second
    assert sha256(first.quote) != sha256(OTHER.mint(IntelCase("tdx15ex")).quote)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.spec("INTEL-13", "INTEL-16", "INTEL-18", "INTEL-21")
def test_what_was_remembered_covers_for_nothing_else(kind: Kind) -> None:
    """After a good verdict: the same certificates elsewhere, later, and under another signature."""
    minted = INTEL.mint(IntelCase(kind))
    for _ in range(2):
        assert verify(minted, kind).status == "UpToDate"
    for at, code in ((AT - 2 * DAY, "endorsement.stale"), (AT + 8000 * DAY, "endorsement.expired")):
        with pytest.raises(CloisterError) as e:
            verify(minted, kind, at=at)
        assert e.value.code == code
    with pytest.raises(CloisterError) as e:
        verify(minted, kind, anchor=OTHER.anchor)
    assert e.value.code == "endorsement.anchor"
    for name in ("tcb_info", "qe_identity"):
        signature = minted.bundle[f"{name}_signature"]
        changed = signature[:-1] + ("0" if signature[-1] != "0" else "1")
        body = json.dumps(dict(minted.bundle) | {f"{name}_signature": changed}).encode()
        verifier = SgxVerifier if kind == "sgx3" else TdxVerifier
        with pytest.raises(CloisterError) as e:
            verifier((INTEL.anchor,)).verify(
                minted.evidence, (Endorsement(COLLATERAL_TYPE, body),), at=AT
            )
        assert e.value.code == "endorsement.signature"
    revoked = INTEL.mint(IntelCase(kind, revoked=frozenset({"pck"})))
    body = json.dumps(dict(minted.bundle) | {"pck_crl": revoked.bundle["pck_crl"]}).encode()
    verifier = SgxVerifier if kind == "sgx3" else TdxVerifier
    with pytest.raises(CloisterError) as e:
        verifier((INTEL.anchor,)).verify(
            minted.evidence, (Endorsement(COLLATERAL_TYPE, body),), at=AT
        )
    assert e.value.code == "endorsement.revoked"
