"""Write the vectors of azure-evidence-v1. Running it again changes nothing."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from cloister.attestation.evidence import Endorsement
from cloister.tee.azure.layout import AzureEvidence
from cloister.testing.manufacturers.azure import SimulatedAzureVm

HERE = Path(__file__).parent
KIND = "application/vnd.cloister.azure-snp+cbor"
NONCE = b"d" * 64
VM = SimulatedAzureVm(b"vectors")
OTHER = SimulatedAzureVm(b"another")
GOOD = VM.evidence(NONCE)
PARTS = AzureEvidence.from_bytes(GOOD)


def body(**changes: Any) -> bytes:
    """The good evidence with other parts."""
    return dataclasses.replace(PARTS, **changes).to_bytes()


def runtime(**changes: Any) -> bytes:
    """Evidence whose report covers other runtime data."""
    return VM.evidence(NONCE, runtime=json.dumps(VM.runtime(**changes)).encode())


def case(
    comment: str,
    clause: str,
    expect: str,
    *,
    data: bytes = GOOD,
    given: list[Endorsement] | None = None,
    kind: str = KIND,
    anchors: tuple[bytes, ...] = (VM.amd.anchor,),
) -> dict[str, object]:
    """One vector."""
    found = VM.endorsements() if given is None else given
    return {
        "comment": comment,
        "clause": clause,
        "expect": expect,
        "anchors": [anchor.hex() for anchor in anchors],
        "at": VM.amd.now,
        "media_type": kind,
        "body": data.hex(),
        "endorsements": [{"media_type": x.media_type, "body": x.body.hex()} for x in found],
    }


def cases() -> dict[str, dict[str, object]]:
    """Every case by name."""
    quote = VM.tpm.quote(NONCE)
    keys = VM.runtime()["keys"]
    changed = bytearray(PARTS.report)
    changed[0x90] ^= 1
    return {
        "ok": case("A VM on Milan.", "AZ-26", "ok"),
        "ok-no-log": case(
            "Without a log.",
            "AZ-25",
            "ok",
            data=VM.evidence(NONCE, quote=VM.tpm.quote(NONCE, log=b"")),
        ),
        "ok-no-user-data": case(
            "An older VM, without user data.", "AZ-4", "ok", data=runtime(**{"user-data": None})
        ),
        "no-anchors": case("No anchor at all.", "AZ-20", "config.missing", anchors=()),
        "other-kind": case(
            "The other platform.", "AZ-21", "evidence.kind", kind=KIND.replace("snp", "tdx")
        ),
        "cut": case("The last byte is missing.", "AZ-2", "wire.malformed", data=GOOD[:-1]),
        "other-anchor": case(
            "Another AMD is pinned.", "AZ-22", "endorsement.anchor", anchors=(OTHER.amd.anchor,)
        ),
        "forged-report": case(
            "One bit of the measurement.",
            "AZ-22",
            "evidence.signature",
            data=body(report=bytes(changed)),
        ),
        "guest-report": case(
            "A report that the guest asked for.",
            "AZ-23",
            "evidence.parts",
            data=VM.evidence(NONCE, vmpl=2),
        ),
        "other-runtime": case(
            "Runtime data of another VM.",
            "AZ-24",
            "evidence.parts",
            data=body(runtime_data=json.dumps(OTHER.runtime()).encode()),
        ),
        "unbound": case(
            "Report data without the hash.",
            "AZ-24",
            "evidence.parts",
            data=VM.evidence(NONCE, report_data=bytes(64)),
        ),
        "more-bound": case(
            "Something behind the hash.",
            "AZ-24",
            "evidence.parts",
            data=VM.evidence(NONCE, report_data=VM.chip.chip_id),
        ),
        "two-keys": case(
            "Two attestation keys.",
            "AZ-4",
            "evidence.malformed",
            data=runtime(keys=[keys[0], keys[0]]),
        ),
        "no-key": case(
            "No attestation key.", "AZ-4", "evidence.malformed", data=runtime(keys=[keys[1]])
        ),
        "other-vtpm": case(
            "A quote of another vTPM.",
            "AZ-25",
            "evidence.signature",
            data=VM.evidence(NONCE, quote=OTHER.tpm.quote(NONCE)),
        ),
        "other-values": case(
            "Values in another order.",
            "AZ-25",
            "evidence.parts",
            data=body(quote=dataclasses.replace(quote, values=quote.values[::-1])),
        ),
        "other-boot": case(
            "The log of another boot.",
            "AZ-25",
            "evidence.log",
            data=body(
                quote=dataclasses.replace(
                    quote, event_log=type(VM.tpm)(b"vectors", boot=[(0, 8, b"x")]).log()
                )
            ),
        ),
    }


def main(out: Path) -> None:
    """Write every case."""
    for name, each in cases().items():
        (out / f"{name}.json").write_text(json.dumps(each, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
