"""Write the vectors of sim-evidence-v1. Running it again changes nothing.

Uses cbor2 and cryptography only: an implementation of its own, written from the page.
"""

import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent


def write(out: Path, name: str, case: dict[str, object]) -> None:
    """Write one vector."""
    (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
KIND = "application/vnd.cloister.sim+cbor"
LABEL = b"cloister/sim-evidence/v1/report"
REPORT = {
    "version": 1,
    "anchor": KEY.public_key().public_bytes_raw(),
    "measurement": b"m" * 32,
    "report_data": b"d" * 64,
    "debug": False,
    "svn": 7,
}


def evidence(
    report: dict[str, object], key: Ed25519PrivateKey = KEY, label: bytes = LABEL
) -> dict[str, object]:
    """A signed report's parts."""
    data = cbor2.dumps(report, canonical=True)
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (label, data))
    return {"report": data, "signature": key.sign(framed)}


def flip(parts: dict[str, object], name: str) -> dict[str, object]:
    """Change the last bit of one part."""
    value = parts[name]
    if not isinstance(value, bytes):
        raise TypeError(name)
    return parts | {name: value[:-1] + bytes([value[-1] ^ 1])}


def main(out: Path) -> None:
    """Write every case."""
    good = evidence(REPORT)
    cases = {
        "ok": ("A genuine report.", "SIM-14", good, "ok"),
        "ok-debug": (
            "It may say debug; a policy decides.",
            "SIM-14",
            evidence(REPORT | {"debug": True}),
            "ok",
        ),
        "other-platform": (
            "Genuine, but of a platform that is not among the anchors.",
            "SIM-12",
            evidence(REPORT | {"anchor": OTHER.public_key().public_bytes_raw()}, OTHER),
            "endorsement.anchor",
        ),
        "borrowed-anchor": (
            "Names an accepted platform, signed by another.",
            "SIM-13",
            evidence(REPORT, OTHER),
            "evidence.signature",
        ),
        "other-label": (
            "Signed for another purpose.",
            "SIM-13",
            evidence(REPORT, label=b"cloister/sim-evidence/v1/other"),
            "evidence.signature",
        ),
        "flipped-signature": (
            "One bit of the signature.",
            "SIM-13",
            flip(good, "signature"),
            "evidence.signature",
        ),
        "short-report-data": (
            "63 bytes of report data.",
            "SIM-3",
            evidence(REPORT | {"report_data": b"d" * 63}),
            "message.malformed",
        ),
        "svn-too-large": (
            "17 bits.",
            "SIM-3",
            evidence(REPORT | {"svn": 65536}),
            "message.malformed",
        ),
        "other-version": (
            "Version 2.",
            "SIM-2",
            evidence(REPORT | {"version": 2}),
            "message.malformed",
        ),
        "debug-is-a-number": (
            "0 is not false.",
            "SIM-2",
            evidence(REPORT | {"debug": 0}),
            "message.malformed",
        ),
        "field-unknown": (
            "One field more.",
            "SIM-2",
            evidence(REPORT | {"x": 1}),
            "message.malformed",
        ),
        "short-signature": (
            "63 bytes.",
            "SIM-2",
            good | {"signature": bytes(63)},
            "message.malformed",
        ),
    }
    anchors = [KEY.public_key().public_bytes_raw().hex()]
    for name, (comment, clause, parts, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "expect": expect, "anchors": anchors}
        body = cbor2.dumps(parts, canonical=True)
        write(out, name, case | {"media_type": KIND, "body": body.hex()})
    case = {"comment": "Another media type.", "clause": "SIM-10", "expect": "evidence.kind"}
    body = cbor2.dumps(good, canonical=True).hex()
    write(out, "other-kind", case | {"anchors": anchors, "media_type": "a/b", "body": body})
    case = {"comment": "No anchor at all.", "clause": "SIM-5", "expect": "config.missing"}
    write(out, "no-anchors", case | {"anchors": [], "media_type": KIND, "body": body})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
