"""Write the vectors of intel-evidence-v1 beside this file; a second run changes nothing.

Quotes, certificates and collateral are minted by the simulated manufacturer, whose layouts genuine
quotes and dcap-qvl are compared with in the tests.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloister.tee.intel.layout import Quote
from cloister.tee.intel.roots import INTEL_SGX_ROOT_CA
from cloister.tee.tdx.eventlog import RUNTIME_EVENT, Event, runtime_digest
from cloister.testing.manufacturers.intel import IntelCase, Minted, SimulatedIntel

HERE = Path(__file__).parent
AT = 1767225600
DAY = 86400
INTEL = SimulatedIntel(b"intel-evidence-v1", at=AT)
LAUNCHED = bytes([3, 1, 7]) + bytes(13)
EVENTS = (
    Event(0, 0x80000001, b"\x01" * 48, "", b"SecureBoot"),
    *(
        Event(3, RUNTIME_EVENT, runtime_digest(name, payload), name, payload)
        for name, payload in (("compose-hash", b"\x02" * 32), ("system-ready", b""))
    ),
)
LOG = json.dumps(
    [
        {
            "imr": each.register,
            "event_type": each.kind,
            "digest": each.digest.hex(),
            "event": each.name,
            "event_payload": each.payload.hex(),
        }
        for each in EVENTS
    ],
    separators=(",", ":"),
).encode()

GOOD: dict[str, tuple[str, str, IntelCase, dict[str, Any]]] = {
    "ok-sgx-3": (
        "An enclave's quote of version 3.",
        "INTEL-50",
        IntelCase("sgx3", report_data=bytes(range(64))),
        {"status": "UpToDate", "security_version": 20240313},
    ),
    "ok-sgx-5-debug": (
        "Of version 5; debug is for a policy to judge.",
        "INTEL-50",
        IntelCase("sgx5", debug=True),
        {"status": "UpToDate", "debug": True},
    ),
    "ok-sgx-out-of-date": (
        "A configuration is needed, and the quoting enclave is old.",
        "INTEL-44",
        IntelCase("sgx3", status="ConfigurationNeeded", advisories=("INTEL-SA-00009",), qe_svn=6),
        {
            "status": "OutOfDateConfigurationNeeded",
            "advisories": ["INTEL-SA-00002", "INTEL-SA-00009"],
        },
    ),
    "ok-tdx-4": (
        "A TD's quote of version 4, padded as a guest's interface does.",
        "INTEL-51",
        IntelCase("tdx4", padding=bytes(70)),
        {"status": "UpToDate", "mr_service_td": "", "sept_ve_disable": True},
    ),
    "ok-tdx-15-relaunch": (
        "The TDX module was updated under the TD.",
        "INTEL-45",
        IntelCase("tdx15", tee_tcb_svn=LAUNCHED),
        {"status": "TDRelaunchAdvised"},
    ),
    "ok-tdx-15-extended": (
        "Body type 4.",
        "INTEL-7",
        IntelCase("tdx15ex"),
        {"status": "UpToDate", "body_type": 4},
    ),
    "ok-tdx-log": (
        "With dstack's log.",
        "INTEL-65",
        IntelCase("tdx4", events=EVENTS, log=("dstack", LOG)),
        {"status": "UpToDate"},
    ),
}
BAD: dict[str, tuple[str, str, IntelCase, str]] = {
    "forged-quote": (
        "Another attestation key signed.",
        "INTEL-34",
        IntelCase("sgx3", forged=frozenset({"quote"})),
        "evidence.signature",
    ),
    "other-key": (
        "The quoting enclave vouched for another attestation key.",
        "INTEL-32",
        IntelCase("tdx4", forged=frozenset({"key"})),
        "evidence.parts",
    ),
    "forged-tcb-info": (
        "Somebody else signed TCB info.",
        "INTEL-18",
        IntelCase("sgx3", forged=frozenset({"tcb_info"})),
        "endorsement.signature",
    ),
    "platform-as-signer": (
        "A platform's own key signed the statements.",
        "INTEL-13",
        IntelCase("sgx3", statements_by="pck"),
        "endorsement.mismatch",
    ),
    "revoked-platform": (
        "The PCK certificate is in its list.",
        "INTEL-17",
        IntelCase("sgx3", revoked=frozenset({"pck"})),
        "endorsement.revoked",
    ),
    "revoked-level": (
        "The platform's level is revoked.",
        "INTEL-41",
        IntelCase("tdx4", status="Revoked"),
        "endorsement.revoked",
    ),
    "no-level": (
        "One component is below every level.",
        "INTEL-41",
        IntelCase("sgx3", components=(255,) * 15 + (2,)),
        "endorsement.mismatch",
    ),
    "old-tcb-info": (
        "TCB info ended a second ago.",
        "INTEL-21",
        IntelCase("sgx3", windows={"tcb_info": (AT - DAY, AT - 1)}),
        "endorsement.stale",
    ),
    "future-list": (
        "The PCK list begins in a second.",
        "INTEL-16",
        IntelCase("sgx3", windows={"pck_crl": (AT + 1, AT + DAY)}),
        "endorsement.stale",
    ),
    "expired-authority": (
        "The PCK authority's certificate ended.",
        "INTEL-13",
        IntelCase("sgx3", windows={"ca": (AT - DAY, AT - 1)}),
        "endorsement.expired",
    ),
    "other-model": (
        "TCB info of another FMSPC.",
        "INTEL-25",
        IntelCase("sgx3", tcb={"fmspc": "00606a000000"}),
        "endorsement.mismatch",
    ),
    "other-vendor": (
        "A quoting enclave of another maker.",
        "INTEL-30",
        IntelCase("sgx3", vendor=bytes(16)),
        "evidence.kind",
    ),
    "debug-quoting-enclave": (
        "The quoting enclave is in debug mode.",
        "INTEL-33",
        IntelCase("sgx3", qe_attributes=bytes([0x13]) + bytes(15)),
        "evidence.parts",
    ),
    "unknown-module": (
        "TCB info does not know this TDX module.",
        "INTEL-42",
        IntelCase("tdx4", tee_tcb_svn=bytes([5, 9, 7]) + bytes(13)),
        "endorsement.mismatch",
    ),
    "not-padding": (
        "A byte that is not zero follows the quote.",
        "INTEL-6",
        IntelCase("sgx3", padding=b"\x00\x01"),
        "evidence.malformed",
    ),
    "other-log": (
        "The log lacks its last event.",
        "INTEL-63",
        IntelCase("tdx4", events=EVENTS[:-1], log=("dstack", LOG)),
        "evidence.log",
    ),
}


def vector(minted: Minted, comment: str, clause: str, expect: str) -> dict[str, Any]:
    """Return what every vector has."""
    return {
        "comment": comment,
        "clause": clause,
        "expect": expect,
        "media_type": minted.evidence.media_type,
        "body": minted.evidence.body.hex(),
        "collateral": dict(minted.bundle),
        "anchors": [INTEL.anchor.hex()],
        "at": AT,
    }


def main(out: Path) -> None:
    """Write every case."""
    cases: dict[str, dict[str, Any]] = {}
    for name, (comment, clause, case, claims) in GOOD.items():
        cases[name] = vector(INTEL.mint(case), comment, clause, "ok") | {"claims": claims}
    for name, (comment, clause, case, code) in BAD.items():
        cases[name] = vector(INTEL.mint(case), comment, clause, code)
    minted = INTEL.mint(IntelCase("sgx3"))
    cases["other-root"] = vector(
        minted, "Good under its root, and not under Intel's.", "INTEL-15", "endorsement.anchor"
    ) | {"anchors": [INTEL_SGX_ROOT_CA.hex()]}
    cases["no-anchors"] = vector(minted, "No anchor at all.", "INTEL-15", "config.missing") | {
        "anchors": []
    }
    cases["no-collateral"] = vector(minted, "No bundle.", "INTEL-10", "endorsement.missing") | {
        "collateral": None
    }
    quote = Quote.from_bytes(minted.quote)
    spelled = quote.signature.certification.replace(b"\n", b"\r\n")
    quote = replace(quote, signature=replace(quote.signature, certification=spelled))
    cases["other-spelling"] = vector(
        minted.with_quote(quote.to_bytes()),
        "The chain's lines end in two characters.",
        "INTEL-12",
        "certificate.malformed",
    )
    for name, case in cases.items():
        text = json.dumps(case, indent=1, sort_keys=True) + "\n"
        (out / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
