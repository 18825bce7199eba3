"""Write the vectors of nitro-evidence-v1. Running it again changes nothing.

The simulated manufacturer makes them; its layout is the verifier's, its keys come from a seed.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from cloister.attestation.evidence import Evidence
from cloister.tee.cose import ES256, CoseSign1
from cloister.tee.nitro.layout import MEDIA_TYPE, read_document
from cloister.testing.manufacturers.nitro import SimulatedNitro

HERE = Path(__file__).parent
AT = 1_800_000_000
MAKER = SimulatedNitro("vectors", at=AT)
OTHER = SimulatedNitro("vectors/other", at=AT)


def signed(payload: bytes) -> Evidence:
    """Any payload, signed."""
    return Evidence(MEDIA_TYPE, MAKER.sign(payload).to_bytes(tagged=False))


def main(out: Path) -> None:
    """Write every case."""
    good = MAKER.document(nonce=b"nonce", public_key=b"key")
    evidence = MAKER.evidence(good)
    message, _ = read_document(evidence.body)
    payload = good.to_bytes()
    late = MAKER.instance(validity=(AT + 1, AT + 2))
    past = MAKER.instance(validity=(AT - 2, AT - 1))
    root, region = good.cabundle
    nested = b"\x65nonce\x45nonce"
    cases = {
        "ok": ("A document.", "NIT-20", evidence, "ok"),
        "ok-indefinite": (
            "The map without its length.",
            "NIT-3",
            signed(b"\xbf" + payload[1:] + b"\xff"),
            "ok",
        ),
        "ok-debug": (
            "A debug enclave; a policy decides.",
            "NIT-20",
            MAKER.evidence(MAKER.document(debug=True)),
            "ok",
        ),
        "ok-nothing-given": (
            "No user data.",
            "NIT-20",
            MAKER.evidence(MAKER.document(user_data=None)),
            "ok",
        ),
        "other-kind": (
            "Another media type.",
            "NIT-10",
            Evidence("a/b", evidence.body),
            "evidence.kind",
        ),
        "tagged": (
            "With the tag 18.",
            "NIT-2",
            Evidence(MEDIA_TYPE, message.to_bytes(tagged=True)),
            "evidence.malformed",
        ),
        "trailing": (
            "One byte more.",
            "NIT-2",
            Evidence(MEDIA_TYPE, evidence.body + b"\x00"),
            "evidence.malformed",
        ),
        "cut": (
            "One byte less.",
            "NIT-2",
            Evidence(MEDIA_TYPE, evidence.body[:-1]),
            "evidence.malformed",
        ),
        "indefinite-inside": (
            "A string without its length.",
            "NIT-3",
            signed(payload.replace(nested, nested[:6] + b"\x5f\x45nonce\xff")),
            "evidence.malformed",
        ),
        "ten-keys": (
            "One key more.",
            "NIT-3",
            signed(b"\xaa" + payload[1:] + b"\x61x\x00"),
            "evidence.malformed",
        ),
        "key-twice": (
            "One key twice.",
            "NIT-3",
            signed(b"\xaa" + payload[1:] + nested),
            "evidence.malformed",
        ),
        "sha-256": (
            "Registers of another hash.",
            "NIT-3",
            signed(payload.replace(b"SHA384", b"SHA256")),
            "evidence.malformed",
        ),
        "short-pcr": (
            "A register of 32 bytes.",
            "NIT-3",
            MAKER.evidence(replace(good, pcrs={0: bytes(32)})),
            "evidence.malformed",
        ),
        "other-root": ("Another maker's.", "NIT-11", OTHER.evidence(), "endorsement.anchor"),
        "no-root": (
            "The bundle without its root.",
            "NIT-11",
            MAKER.evidence(replace(good, cabundle=(region,))),
            "endorsement.anchor",
        ),
        "no-region": (
            "The bundle with a gap.",
            "NIT-12",
            MAKER.evidence(replace(good, cabundle=(root,))),
            "endorsement.signature",
        ),
        "expired": (
            "The certificate is past.",
            "NIT-12",
            MAKER.evidence(signer=past),
            "endorsement.expired",
        ),
        "not-yet": (
            "The certificate is from later.",
            "NIT-12",
            MAKER.evidence(signer=late),
            "endorsement.expired",
        ),
        "other-key": (
            "Signed by another key.",
            "NIT-13",
            MAKER.evidence(good, signer=OTHER.instance()),
            "evidence.signature",
        ),
        "changed": (
            "Another payload.",
            "NIT-13",
            Evidence(
                MEDIA_TYPE,
                replace(message, payload=replace(good, nonce=b"x").to_bytes()).to_bytes(
                    tagged=False
                ),
            ),
            "evidence.signature",
        ),
        "es256": (
            "Another algorithm in the header.",
            "NIT-13",
            Evidence(
                MEDIA_TYPE,
                CoseSign1(ES256, message.payload, message.signature).to_bytes(tagged=False),
            ),
            "evidence.signature",
        ),
    }
    for name, (comment, clause, shown, expect) in cases.items():
        case: dict[str, object] = {
            "comment": comment,
            "clause": clause,
            "expect": expect,
            "anchors": [MAKER.anchor.hex()],
            "at": AT,
            "media_type": shown.media_type,
            "body": shown.body.hex(),
            "endorsements": [],
        }
        if expect == "ok":
            case["debug"] = name == "ok-debug"
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
