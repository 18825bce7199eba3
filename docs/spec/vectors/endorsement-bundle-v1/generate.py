"""Write the vectors of endorsement-bundle-v1. Running it again changes nothing.

Uses cbor2 and cryptography only: an implementation of its own, written from the page.
"""

import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
LABEL = b"cloister/endorsement-bundle/v1"
ITEMS = [
    {"media_type": kind, "body": body, "source": "https://example.test/x", "at": 1_700_000_000}
    for kind, body in (("application/pkix-cert", b"one"), ("application/pkix-crl", b"two"))
]

SMALL = {"media_type": "", "body": b"", "source": "", "at": 0}


def write(out: Path, name: str, case: dict[str, object]) -> None:
    """Write one vector."""
    (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


def public(key: Ed25519PrivateKey) -> bytes:
    """The public half."""
    return key.public_key().public_bytes_raw()


def signed(
    body: dict[str, object], key: Ed25519PrivateKey = KEY, label: bytes = LABEL
) -> dict[str, object]:
    """A bundle's parts."""
    data = cbor2.dumps(body, canonical=True)
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (label, data))
    return {"body": data, "collector": public(key), "signature": key.sign(framed)}


def listed(*items: dict[str, object], version: int = 1) -> dict[str, object]:
    """A body."""
    return {"version": version, "items": list(items)}


def same_kind() -> list[dict[str, object]]:
    """Three items of one kind, in the order of their digests."""
    bodies = sorted((b"a", b"b", b"c"), key=lambda body: hashlib.sha256(body).digest())
    return [ITEMS[0] | {"body": body} for body in bodies]


def main(out: Path) -> None:
    """Write every case."""
    good = signed(listed(*ITEMS))
    three = same_kind()
    flipped = bytes(good["signature"][:-1]) + bytes([good["signature"][-1] ^ 1])
    malformed = "endorsement.malformed"
    cases = {
        "ok": ("Two endorsements.", "EB-1", good, "ok"),
        "ok-one-kind": ("Digests order items of a kind.", "EB-3", signed(listed(*three)), "ok"),
        "order-kinds": (
            "Media types the other way.",
            "EB-3",
            signed(listed(*ITEMS[::-1])),
            malformed,
        ),
        "order-digests": (
            "Digests the other way.",
            "EB-3",
            signed(listed(*three[::-1])),
            malformed,
        ),
        "twice": ("One endorsement twice.", "EB-3", signed(listed(ITEMS[0], ITEMS[0])), malformed),
        "empty": ("Nothing was collected.", "EB-2", signed(listed()), malformed),
        "many": ("Too many items.", "EB-2", signed(listed(*[SMALL] * 1025)), malformed),
        "version": ("Another version.", "EB-2", signed(listed(*ITEMS, version=2)), malformed),
        "field-unknown": (
            "A field that is not there.",
            "EB-2",
            signed(listed(ITEMS[0] | {"more": 1})),
            malformed,
        ),
        "body-is-text": (
            "Text for bytes.",
            "EB-2",
            signed(listed(ITEMS[0] | {"body": "one"})),
            malformed,
        ),
        "long-kind": (
            "A media type that is too long.",
            "EB-2",
            signed(listed(ITEMS[0] | {"media_type": "x" * 128})),
            malformed,
        ),
        "flipped-signature": (
            "One bit.",
            "EB-11",
            good | {"signature": flipped},
            "endorsement.signature",
        ),
        "other-collector": (
            "Signed by somebody else.",
            "EB-11",
            signed(listed(*ITEMS), OTHER),
            "endorsement.signature",
        ),
        "borrowed-name": (
            "Somebody else in the collector's name.",
            "EB-11",
            signed(listed(*ITEMS), OTHER) | {"collector": public(KEY)},
            "endorsement.signature",
        ),
        "other-label": (
            "A signature for another purpose.",
            "EB-1",
            signed(listed(*ITEMS), label=b"cloister/other/v1"),
            "endorsement.signature",
        ),
        "short-key": (
            "A collector of 31 bytes.",
            "EB-1",
            good | {"collector": bytes(31)},
            malformed,
        ),
    }
    for name, (comment, clause, parts, expect) in cases.items():
        data = cbor2.dumps(parts, canonical=True)
        case = {
            "comment": comment,
            "clause": clause,
            "bundle": data.hex(),
            "collectors": [public(KEY).hex()],
            "expect": expect,
        }
        write(out, name, case)
    raw = cbor2.dumps(good, canonical=True)
    others = {
        "cut": ("Without its last byte.", "EB-10", raw[:-1], [public(KEY).hex()], "wire.malformed"),
        "trailing": (
            "A byte too many.",
            "EB-10",
            raw + b"\0",
            [public(KEY).hex()],
            "wire.malformed",
        ),
        "no-collectors": ("Nobody is named.", "EB-11", raw, [], "endorsement.signature"),
    }
    for name, (comment, clause, data, collectors, expect) in others.items():
        case = {
            "comment": comment,
            "clause": clause,
            "bundle": data.hex(),
            "collectors": collectors,
            "expect": expect,
        }
        write(out, name, case)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
