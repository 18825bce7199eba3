"""Write the vectors of composite-evidence-v1. Running it again changes nothing.

The derivations are written here once more, from the page; a simulated processor and a simulated
GPU make the parts.
"""

import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list

HERE = Path(__file__).parent
AT = 1_800_000_000
NONCE = bytes(range(32))
REQUEST = bytes(range(64))
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
MAKER = SimulatedNvidia("vectors/composite", at=AT)
PREFIX = b"cloister/composite-evidence/v1/"
Part = dict[str, str | bytes]


def framed(*parts: bytes) -> bytes:
    """As in report-data-binding-v1."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def gpu(nonce: bytes = NONCE, request: bytes = REQUEST, number: int = 1) -> Part:
    """The accelerators' part."""
    signed = hashlib.sha256(framed(PREFIX + b"accelerator-nonce", nonce, request)).digest()
    evidence = evidence_list([MAKER.gpu("HOPPER", number=number)], signed)
    return {"media_type": evidence.media_type, "body": evidence.body}


def bound(part: Part, request: bytes = REQUEST) -> bytes:
    """What the processor binds."""
    digest = hashlib.sha256(cbor2.dumps(part, canonical=True)).digest()
    return hashlib.sha512(framed(PREFIX + b"report-data", request, digest)).digest()


def cpu(report_data: bytes) -> Part:
    """The processor's part, as in sim-evidence-v1."""
    report = {
        "version": 1,
        "anchor": KEY.public_key().public_bytes_raw(),
        "measurement": b"m" * 32,
        "report_data": report_data,
        "debug": False,
        "svn": 7,
    }
    data = cbor2.dumps(report, canonical=True)
    signature = KEY.sign(framed(b"cloister/sim-evidence/v1/report", data))
    body = cbor2.dumps({"report": data, "signature": signature}, canonical=True)
    return {"media_type": "application/vnd.cloister.sim+cbor", "body": body}


def main(out: Path) -> None:
    """Write every case."""
    kind = "application/vnd.cloister.composite+cbor"
    part = gpu()
    good = {"version": 1, "cpu": cpu(bound(part)), "gpu": part}
    stale = gpu(nonce=bytes(32))
    foreign = gpu(request=bytes(64))
    forged = good["cpu"] | {"body": cpu(b"x" * 64)["body"][:-1] + b"\x00"}
    cases = {
        "ok": ("Both parts, for each other.", "CE-15", kind, good, "ok"),
        "other-kind": ("Another media type.", "CE-10", "a/b", good, "evidence.kind"),
        "no-gpu": (
            "Half of it.",
            "CE-10",
            kind,
            {"version": 1, "cpu": good["cpu"]},
            "evidence.parts",
        ),
        "no-cpu": ("The other half.", "CE-10", kind, {"version": 1, "gpu": part}, "evidence.parts"),
        "three-parts": ("One part more.", "CE-2", kind, good | {"tpm": part}, "message.malformed"),
        "other-version": ("Version 2.", "CE-2", kind, good | {"version": 2}, "message.malformed"),
        "swapped": (
            "Each part in the other's place.",
            "CE-11",
            kind,
            {"version": 1, "cpu": part, "gpu": good["cpu"]},
            "evidence.kind",
        ),
        "forged-cpu": (
            "A processor's part that is not genuine.",
            "CE-11",
            kind,
            good | {"cpu": forged},
            "evidence.signature",
        ),
        "plain-cpu": (
            "The processor bound the request alone.",
            "CE-13",
            kind,
            good | {"cpu": cpu(REQUEST)},
            "evidence.binding",
        ),
        "other-gpu": (
            "A GPU of another machine.",
            "CE-13",
            kind,
            good | {"gpu": gpu(number=2)},
            "evidence.binding",
        ),
        "other-request": (
            "Made for somebody else's keys.",
            "CE-13",
            kind,
            {"version": 1, "cpu": cpu(bound(foreign, bytes(64))), "gpu": foreign},
            "evidence.binding",
        ),
        "stale-gpu": (
            "The processor bound an old report of the GPU.",
            "CE-14",
            kind,
            {"version": 1, "cpu": cpu(bound(stale)), "gpu": stale},
            "evidence.binding",
        ),
    }
    for name, (comment, clause, media_type, body, expect) in cases.items():
        case = {
            "comment": comment,
            "clause": clause,
            "expect": expect,
            "at": AT,
            "nonce": NONCE.hex(),
            "request": REQUEST.hex(),
            "media_type": media_type,
            "body": cbor2.dumps(body, canonical=True).hex(),
            "cpu_anchors": [KEY.public_key().public_bytes_raw().hex()],
            "gpu_anchors": [each.hex() for each in MAKER.anchors],
        }
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
