"""Claims of TDs; what is refused is in tests/attack/test_intel_evidence.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.errors import ConfigError, EvidenceError, MalformedError
from cloister.tee.tdx.eventlog import RUNTIME_EVENT, Event, runtime_digest
from cloister.tee.tdx.fields import FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600
INTEL = SimulatedIntel(b"tdx", at=AT)
EVENTS = (
    Event(0, 1, b"a" * 48, "", b"firmware"),
    Event(1, 2, b"b" * 48, "", b"kernel"),
    *(
        Event(3, RUNTIME_EVENT, runtime_digest(name, payload), name, payload)
        for name, payload in (("compose-hash", b"c"), ("system-ready", b""), ("app", b"x"))
    ),
)


def dstack(events: tuple[Event, ...]) -> bytes:
    """Write dstack's log."""
    return json.dumps(
        [
            {
                "imr": each.register,
                "event_type": each.kind,
                "digest": each.digest.hex(),
                "event": each.name,
                "event_payload": each.payload.hex(),
            }
            for each in events
        ]
    ).encode()


@pytest.mark.spec("INTEL-51")
def test_claims_say_what_the_quote_says() -> None:
    """Common claims and the vendor's; a bare quote has no log."""
    case = IntelCase("tdx15ex", measurement=b"m" * 48, report_data=b"r" * 64, events=EVENTS)
    minted = INTEL.mint(case)
    claims = TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert (claims.root_of_trust, claims.measurement) == ("tdx", b"m" * 48)
    assert claims.vendor["rtmr2"] == bytes(48)
    assert claims.vendor["rtmr3"] != bytes(48)
    assert claims.vendor["event_log"] == {"format": "none"}
    assert claims.vendor["tdx_module_status"] == "UpToDate"
    assert claims.vendor["mr_service_td"] == bytes(48)
    assert len(claims.vendor["td_id"] or b"") == 32


@pytest.mark.spec("INTEL-51", "INTEL-52")
def test_old_bodies_have_no_room_for_service_tds() -> None:
    """That is told apart from having none, and the strict rules take both."""
    minted = INTEL.mint(IntelCase("tdx4"))
    claims = TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert claims.vendor["mr_service_td"] == b""
    rules = default_rules(FIELDS)
    assert appraise_claims(claims, FIELDS, rules).accepted
    strict = rules | {"mr_service_td": OneOf((bytes(48),))}
    assert not appraise_claims(claims, FIELDS, strict).accepted


@pytest.mark.spec("INTEL-8", "INTEL-63", "INTEL-65")
def test_a_log_that_explains_the_registers_becomes_claims() -> None:
    """The system's events, and none of the application's."""
    minted = INTEL.mint(IntelCase("tdx4", events=EVENTS, log=("dstack", dstack(EVENTS))))
    claims = TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert claims.vendor["event_log"] == {
        "format": "dstack",
        "events": 5,
        "system": {"compose-hash": b"c", "system-ready": b""},
    }
    rules = default_rules(FIELDS) | {"event_log.system.compose-hash": OneOf((b"c",))}
    assert appraise_claims(claims, FIELDS, rules).accepted
    rules["event_log.system.compose-hash"] = OneOf((b"d",))
    assert not appraise_claims(claims, FIELDS, rules).accepted


@pytest.mark.parametrize(
    "events",
    [
        EVENTS[:-1],
        EVENTS[1:],
        (*EVENTS, EVENTS[0]),
        (EVENTS[1], EVENTS[0], *EVENTS[3:], EVENTS[2]),
        (*EVENTS[:2], replace(EVENTS[2], payload=b"other"), *EVENTS[3:]),
    ],
    ids=["one less", "another less", "one more", "another order", "another payload"],
)
@pytest.mark.spec("INTEL-63", "INTEL-64")
def test_a_log_that_does_not_is_refused(events: tuple[Event, ...]) -> None:
    """However genuine the quote."""
    minted = INTEL.mint(IntelCase("tdx4", events=EVENTS, log=("dstack", dstack(events))))
    with pytest.raises(EvidenceError) as e:
        TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert e.value.code == "evidence.log"


@pytest.mark.spec("INTEL-60")
def test_a_log_that_cannot_be_read_is_refused() -> None:
    """It is never left out silently."""
    minted = INTEL.mint(IntelCase("tdx4", events=EVENTS, log=("ccel", b"x")))
    with pytest.raises(MalformedError) as e:
        TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert e.value.code == "evidence.malformed"


@pytest.mark.spec("INTEL-42")
def test_a_module_of_version_0_is_judged_with_the_platform() -> None:
    """TCB info names it apart from the others."""
    svn = bytes([5, 0, 7]) + bytes(13)
    minted = INTEL.mint(IntelCase("tdx4", tee_tcb_svn=svn))
    claims = TdxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert (claims.status, claims.vendor["tdx_module_status"]) == ("UpToDate", "UpToDate")


@pytest.mark.spec("INTEL-15")
def test_without_anchors_there_is_no_verifier() -> None:
    """Nothing could be accepted."""
    with pytest.raises(ConfigError) as e:
        TdxVerifier(())
    assert e.value.code == "config.missing"


@pytest.mark.spec("INTEL-1")
def test_another_media_type_is_refused() -> None:
    """Before anything is read."""
    with pytest.raises(EvidenceError) as e:
        TdxVerifier((INTEL.anchor,)).verify(Evidence("a/b", b""), (), at=AT)
    assert e.value.code == "evidence.kind"
