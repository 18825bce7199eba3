"""Write the vectors of keyservice-state-v1. Running it again changes nothing.

Uses cbor2, hashlib, hmac and cryptography only: an implementation of its own, from the page.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).parent
KEY = b"\x07" * 32
NONCE = b"\x0b" * 12
PREFIX = b"cloister/keyservice-state/v1/"


def canonical(value: object) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def derive(label: bytes, salt: bytes) -> bytes:
    """HKDF-SHA-256, one block."""
    extracted = hmac.digest(salt or bytes(32), KEY, "sha256")
    return hmac.digest(extracted, PREFIX + label + b"\x01", "sha256")


def salt_of(sequence: int, digest: bytes) -> bytes:
    """Number and digest of a head, framed."""
    return b"".join(
        len(part).to_bytes(8, "big") + part for part in (sequence.to_bytes(8, "big"), digest)
    )


def seal(label: bytes, salt: bytes, plain: bytes, aad: bytes = b"") -> bytes:
    """Seal with a fixed nonce."""
    return NONCE + AESGCM(derive(label, salt)).encrypt(NONCE, plain, aad)


RECORD = canonical(
    {"version": 1, "changes": [["t", b"k", b"v"], ["t", b"gone", None]], "entries": [b"entry"]}
)
SNAPSHOT = canonical(
    {"version": 1, "log_size": 1, "peaks": [b"p" * 32], "tables": {"t": [[b"k", b"v"]]}}
)
ZERO = bytes(32)
FIRST = seal(b"record", salt_of(0, ZERO), RECORD)
HEAD = hashlib.sha256(FIRST).digest()
SECOND = seal(b"record", salt_of(1, HEAD), RECORD)


def record(
    clause: str, comment: str, sequence: int, head: bytes, sealed: bytes
) -> dict[str, object]:
    """A record after a head."""
    return {
        "kind": "record", "clause": clause, "comment": comment, "key": KEY.hex(),
        "sequence": sequence, "head": head.hex(), "sealed": sealed.hex(),
        "expect": "state.tampered",
    }  # fmt: skip


def snapshot(comment: str, sequence: int, sealed: bytes) -> dict[str, object]:
    """A snapshot for a number."""
    return {
        "kind": "snapshot", "clause": "KS-21", "comment": comment, "key": KEY.hex(),
        "sequence": sequence, "sealed": sealed.hex(), "expect": "state.tampered",
    }  # fmt: skip


ROW = {"name": derive(b"name", b""), "statement": b"s" * 32, "at": 1_800_000_000}


def row(comment: str, fields: dict[str, object]) -> dict[str, object]:
    """The row that names the key; None takes a field away."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {
        "kind": "row", "clause": "KS-72", "comment": comment, "row": canonical(given).hex(),
        "expect": "state.tampered",
    }  # fmt: skip


def entry(comment: str, position: int, sealed: bytes) -> dict[str, object]:
    """A log entry at a position."""
    return {
        "kind": "entry", "clause": "KS-24", "comment": comment, "key": KEY.hex(),
        "position": position, "sealed": sealed.hex(), "expect": "state.tampered",
    }  # fmt: skip


GOOD = {"expect": "ok"}
SNAP = HEAD + seal(b"snapshot", salt_of(1, HEAD), SNAPSHOT)
ENTRY = seal(b"entry", b"", b"entry", (4).to_bytes(8, "big"))
ODD = seal(b"record", salt_of(0, ZERO), canonical({"version": 2, "changes": [], "entries": []}))
LONG = seal(b"record", salt_of(0, ZERO), b"\xb9\x00\x00")
CASES = {
    "record-first": record("KS-10", "The first record.", 0, ZERO, FIRST)
    | {"plain": RECORD.hex(), "new_head": HEAD.hex()}
    | GOOD,
    "record-second": record("KS-11", "The next, after the head of the first.", 1, HEAD, SECOND)
    | {"plain": RECORD.hex(), "new_head": hashlib.sha256(SECOND).hexdigest()}
    | GOOD,
    "record-repeated": record("KS-12", "The first record once more.", 1, HEAD, FIRST),
    "record-skipped": record("KS-12", "The second where the first belongs.", 0, ZERO, SECOND),
    "record-other-number": record("KS-12", "Right head, wrong number.", 2, HEAD, SECOND),
    "record-flipped": record(
        "KS-12", "One bit changed.", 0, ZERO, FIRST[:-1] + bytes([FIRST[-1] ^ 1])
    ),
    "record-cut": record("KS-12", "One byte short.", 0, ZERO, FIRST[:-1]),
    "record-empty": record("KS-12", "Nothing.", 0, ZERO, b""),
    "record-version-2": record("KS-14", "Authentic, of another version.", 0, ZERO, ODD),
    "record-not-canonical": record("KS-14", "Authentic, not canonical.", 0, ZERO, LONG),
    "snapshot": snapshot("After the first record.", 1, SNAP) | {"plain": SNAPSHOT.hex()} | GOOD,
    "snapshot-other-number": snapshot("For another number.", 2, SNAP),
    "snapshot-other-head": snapshot("Another head in front.", 1, ZERO + SNAP[32:]),
    "entry": entry("At its position.", 4, ENTRY) | {"plain": b"entry".hex()} | GOOD,
    "entry-moved": entry("At another.", 5, ENTRY),
    "key-name": {
        "kind": "name",
        "clause": "KS-71",
        "comment": "What a key is called.",
        "key": KEY.hex(),
        "name": derive(b"name", b"").hex(),
        "expect": "ok",
    },
    "key-row": row("The newest change.", ROW)
    | GOOD
    | {"name": ROW["name"].hex(), "statement": ROW["statement"].hex(), "at": ROW["at"]},
    "key-row-missing": row("A part is missing.", {**ROW, "at": None}),
    "key-row-more": row("A part too many.", {**ROW, "more": 1}),
    "key-row-short": row("A name too short.", {**ROW, "name": b"n" * 31}),
}


def main(out: Path) -> None:
    """Write every case."""
    for name, case in CASES.items():
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
