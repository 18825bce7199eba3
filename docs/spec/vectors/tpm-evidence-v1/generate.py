"""Write the vectors of tpm-evidence-v1. Running it again changes nothing."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cloister.attestation.evidence import Endorsement
from cloister.tee.tpm.event_log import write
from cloister.tee.tpm.layout import QuoteParts, TpmEvidence
from cloister.testing.manufacturers import der
from cloister.testing.manufacturers.tpm import SimulatedTpm

HERE = Path(__file__).parent
KIND = "application/vnd.cloister.tpm+cbor"
NONCE = b"d" * 64
TPM = SimulatedTpm(b"vectors")
OTHER = SimulatedTpm(b"another")
PARTS = TPM.quote(NONCE)
GIVEN = TPM.endorsements()
PINNED = hashlib.sha256(TPM.ak).digest()


def body(**changes: Any) -> bytes:
    """The good evidence with other parts."""
    return TpmEvidence(TPM.ak, dataclasses.replace(PARTS, **changes)).to_bytes()


def quoted(parts: QuoteParts) -> bytes:
    """Evidence of another quote by the same key."""
    return TpmEvidence(TPM.ak, parts).to_bytes()


def case(
    comment: str,
    clause: str,
    expect: str,
    *,
    data: bytes | None = None,
    given: list[Endorsement] = GIVEN,
    at: int = TPM.now,
    kind: str = KIND,
    anchors: tuple[bytes, ...] = (TPM.anchor,),
) -> dict[str, object]:
    """One vector."""
    return {
        "comment": comment,
        "clause": clause,
        "expect": expect,
        "anchors": [anchor.hex() for anchor in anchors],
        "at": at,
        "media_type": kind,
        "body": (body() if data is None else data).hex(),
        "endorsements": [{"media_type": x.media_type, "body": x.body.hex()} for x in given],
    }


def flip(data: bytes, place: int) -> bytes:
    """Change one bit."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def cases() -> dict[str, dict[str, object]]:
    """Every case by name."""
    ecdsa = SimulatedTpm(b"vectors", scheme="ECDSA")
    pss = SimulatedTpm(b"vectors", scheme="RSAPSS")
    encipher = TPM.certificate(
        extensions=[der.extension("2.5.29.15", b"\x03\x02\x05\x20", critical=True)]
    )
    boot = [(each.pcr, each.kind, each.data) for each in TPM.events]
    return {
        "ok-certified": case("A certified RSASSA key, with a log.", "TPM-26", "ok"),
        "ok-ecdsa": case(
            "A certified ECDSA key.",
            "TPM-23",
            "ok",
            data=ecdsa.evidence(NONCE),
            given=ecdsa.endorsements(),
        ),
        "ok-pinned-pss": case(
            "A pinned RSAPSS key, two banks, no log.",
            "TPM-21",
            "ok",
            data=pss.evidence(NONCE, selection={"sha384": (0, 7), "sha256": (7,)}, log=b""),
            given=[],
            anchors=(PINNED,),
        ),
        "ok-no-lists": case(
            "Without lists: a claim.", "TPM-27", "ok", given=TPM.endorsements(lists=[])
        ),
        "no-anchors": case("No anchor at all.", "TPM-20", "config.missing", anchors=()),
        "other-kind": case("Another media type.", "TPM-20", "evidence.kind", kind="a/b"),
        "not-pinned": case(
            "No chain, and another key is pinned.",
            "TPM-21",
            "endorsement.anchor",
            given=[],
            anchors=(hashlib.sha256(OTHER.ak).digest(),),
        ),
        "other-root": case(
            "Another root is pinned.", "TPM-22", "endorsement.anchor", anchors=(OTHER.anchor,)
        ),
        "expired": case(
            "Two years later.",
            "TPM-22",
            "endorsement.expired",
            given=TPM.endorsements(lists=[]),
            at=TPM.now + 2 * 365 * 86400,
        ),
        "may-not-sign": case(
            "The certificate of a key that encrypts.",
            "TPM-22",
            "endorsement.signature",
            given=TPM.endorsements(certificate=encipher),
        ),
        "other-key": case(
            "A genuine certificate of another key.",
            "TPM-22",
            "endorsement.mismatch",
            given=TPM.endorsements(certificate=TPM.certificate(spki=OTHER.ak)),
        ),
        "revoked": case(
            "The key is on its issuer's list.",
            "TPM-22",
            "endorsement.revoked",
            given=TPM.endorsements(lists=[TPM.revocations("issuer", serials=(1000,))]),
        ),
        "stale": case(
            "A list of last year.",
            "TPM-22",
            "endorsement.stale",
            given=TPM.endorsements(lists=[TPM.revocations("issuer", validity=(1, 2))]),
        ),
        "two-chains": case(
            "Two chains.", "TPM-5", "endorsement.malformed", given=[GIVEN[0], GIVEN[0]]
        ),
        "not-a-quote": case(
            "A TPM's statement about a key.",
            "TPM-3",
            "evidence.malformed",
            data=body(message=PARTS.message[:4] + b"\x80\x17" + PARTS.message[6:]),
        ),
        "sha1-signature": case(
            "A signature over SHA-1.",
            "TPM-4",
            "evidence.malformed",
            data=body(signature=b"\0\x14\0\x04" + PARTS.signature[4:]),
        ),
        "flipped-signature": case(
            "One bit of the signature.",
            "TPM-23",
            "evidence.signature",
            data=body(signature=flip(PARTS.signature, 20)),
        ),
        "flipped-nonce": case(
            "One bit of the nonce.",
            "TPM-23",
            "evidence.signature",
            data=body(message=flip(PARTS.message, 50)),
        ),
        "other-values": case(
            "Two values change places.",
            "TPM-24",
            "evidence.parts",
            data=body(values=(PARTS.values[1], PARTS.values[0], *PARTS.values[2:])),
        ),
        "value-missing": case(
            "A value is missing.", "TPM-24", "evidence.parts", data=body(values=PARTS.values[:-1])
        ),
        "other-boot": case(
            "The log of another boot.",
            "TPM-25",
            "evidence.log",
            data=body(event_log=SimulatedTpm(b"vectors", boot=[*boot, (4, 8, b"x")]).log()),
        ),
        "silent-log": case(
            "The log leaves PCR 7 out.",
            "TPM-25",
            "evidence.log",
            data=body(
                event_log=SimulatedTpm(b"vectors", boot=[x for x in boot if x[0] != 7]).log()
            ),
        ),
        "useless-log": case(
            "The log explains nothing of the quote.",
            "TPM-25",
            "evidence.log",
            data=quoted(TPM.quote(NONCE, selection={"sha256": (23,)})),
        ),
        "weak-log": case(
            "A log with SHA-1 alone.",
            "TPM-25",
            "evidence.log",
            data=body(event_log=write(TPM.events, ("sha1",))),
        ),
        "old-log": case(
            "A log from before SHA-256.",
            "TPM-6",
            "evidence.malformed",
            data=body(event_log=bytes(32)),
        ),
    }


def main(out: Path) -> None:
    """Write every case."""
    for name, each in cases().items():
        (out / f"{name}.json").write_text(json.dumps(each, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
