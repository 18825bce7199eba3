"""Write the vectors of secret-export-v1 beside this file; a second run changes nothing.

Uses cbor2, hashlib and cryptography only: an implementation of its own, from the page.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
IMPORTER = KEY.public_key().public_bytes_raw()
LABEL = b"cloister/secret-export/v1/"
RECEIPT = {"entry": b"entry", "index": 0, "proof": [b"h" * 32], "checkpoint": "note"}
BODY: dict[str, Any] = {
    "version": 1,
    "service": b"s" * 32,
    "nonce": b"n" * 32,
    "namespace": "feeds",
    "policy": "source",
    "secret": "key",
    "epoch": 1,
    "part": "",
    "importer": IMPORTER,
    "trust_domain": "near.test",
    "to_namespace": "lab",
    "to_policy": "keeper",
    "hpke_key": b"h" * 1216,
}
GRANT: dict[str, Any] = {"version": 1, "value": b"value", "lifetime_s": 600, "receipt": RECEIPT}
MALFORMED = "message.malformed"

BODIES = [
    # name, comment, changes, expect
    ("part", "a private key", {"part": "private"}, "ok"),
    ("deep", "a namespace of four names", {"namespace": "a/b/c/d"}, "ok"),
    ("last-epoch", "the last epoch", {"epoch": 999_999_999}, "ok"),
    ("version", "another version", {"version": 2}, MALFORMED),
    ("service", "a short identity", {"service": b"s" * 31}, MALFORMED),
    ("nonce", "a long nonce", {"nonce": b"n" * 33}, MALFORMED),
    ("importer", "an importer without a key", {"importer": b""}, MALFORMED),
    ("hpke", "a key of another kind", {"hpke_key": b"h" * 32}, MALFORMED),
    ("epoch-zero", "no epoch", {"epoch": 0}, MALFORMED),
    ("epoch-large", "an epoch that no policy can write", {"epoch": 10**9}, MALFORMED),
    ("epoch-text", "an epoch that is a text", {"epoch": "1"}, MALFORMED),
    ("part-hex", "a spelling", {"part": "hex"}, MALFORMED),
    ("part-chain", "what is renewed", {"part": "chain"}, MALFORMED),
    ("namespace-root", "the root", {"namespace": "/"}, MALFORMED),
    ("to-root", "for the root", {"to_namespace": "/"}, MALFORMED),
    ("secret-slash", "a secret with a slash", {"secret": "a/b"}, MALFORMED),
    ("policy-empty", "a policy without a name", {"policy": ""}, MALFORMED),
    ("domain-upper", "a trust domain in upper case", {"trust_domain": "Near.test"}, MALFORMED),
    ("more", "one field more", {"more": 1}, MALFORMED),
]
GRANTS = [
    ("longest", "as long as a secret can be", {"value": b"v" * 65_536}, "ok"),
    ("year", "the longest lifetime", {"lifetime_s": 31_536_000}, "ok"),
    ("too-long", "one byte more", {"value": b"v" * 65_537}, MALFORMED),
    ("minute", "a lifetime that is too short", {"lifetime_s": 599}, MALFORMED),
    ("for-ever", "one that is too long", {"lifetime_s": 31_536_001}, MALFORMED),
    ("no-receipt", "without a receipt", {"receipt": None}, MALFORMED),
    ("text", "a value that is a text", {"value": "value"}, MALFORMED),
]


def canonical(value: object) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def framed(*parts: bytes) -> bytes:
    """Each part after its length in 8 bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def report_data(body: bytes) -> str:
    """Return what evidence binds."""
    return hashlib.sha512(framed(LABEL + b"evidence", body)).hexdigest()


def request(body: bytes, evidence: bytes, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Return a signed request."""
    signature = key.sign(framed(LABEL + b"request", framed(body, evidence)))
    return {"body": body, "evidence": evidence, "signature": signature}


def write(name: str, clause: str, comment: str, facts: dict[str, Any], expect: str) -> None:
    """Write one vector."""
    record = {"comment": comment, "clause": clause, **facts, "expect": expect}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    prefix = "ok" if expect == "ok" else "bad"
    (HERE / f"{prefix}-{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write every vector."""
    for old in HERE.glob("*.json"):
        old.unlink()
    body = canonical(BODY)
    facts = {"body": body.hex(), "report_data": report_data(body)}
    write("body", "EXP-12", "the worked example", facts, "ok")
    for name, comment, change, expect in BODIES:
        changed = canonical(BODY | change)
        facts = {"body": changed.hex(), "report_data": report_data(changed)}
        write(f"body-{name}", "EXP-11", comment, facts, expect)
    loose = cbor2.dumps(dict(reversed(list(BODY.items()))))
    facts = {"body": loose.hex(), "report_data": report_data(loose)}
    write("body-order", "EXP-11", "keys in another order", facts, "wire.malformed")
    other = {"body": body.hex(), "report_data": report_data(body + b"\x00")}
    write("body-binding", "EXP-12", "evidence of another body", other, "evidence.binding")
    envelope = canonical({"media_type": "a/b", "body": b"evidence"})
    good = request(body, envelope, KEY)
    cases = [
        ("request", "the worked example", good, "ok"),
        ("request-signer", "another signer", request(body, envelope, OTHER), "evidence.signature"),
        ("request-body", "another body", good | {"body": canonical(BODY | {"epoch": 2})},
         "evidence.signature"),
        ("request-evidence", "other evidence",
         good | {"evidence": canonical({"media_type": "a/b", "body": b"other"})},
         "evidence.signature"),
        ("request-swapped", "body and evidence framed the other way round",
         good | {"signature": request(envelope, body, KEY)["signature"]}, "evidence.signature"),
        ("request-unsigned", "no signature", {"body": body, "evidence": envelope}, MALFORMED),
        ("request-envelope", "evidence without its kind", good | {"evidence": b"evidence"},
         "wire.malformed"),
    ]  # fmt: skip
    for name, comment, value, expect in cases:
        write(name, "EXP-13", comment, {"request": canonical(value).hex()}, expect)
    write("grant", "EXP-14", "the worked example", {"grant": canonical(GRANT).hex()}, "ok")
    for name, comment, change, expect in GRANTS:
        changed = canonical(GRANT | change)
        write(f"grant-{name}", "EXP-14", comment, {"grant": changed.hex()}, expect)
    sent = canonical(good)
    context = framed(LABEL + b"value", b"s" * 32, b"n" * 32, hashlib.sha256(sent).digest())
    place = {"service": (b"s" * 32).hex(), "nonce": (b"n" * 32).hex(), "sent": sent.hex()}
    write("info", "EXP-14", "the context of a seal", place | {"info": context.hex()}, "ok")
    for field, value in [("service", b"t" * 32), ("nonce", b"m" * 32), ("sent", sent + b"\x00")]:
        changed = place | {field: value.hex(), "info": context.hex()}
        write(f"info-{field}", "EXP-14", f"another {field}", changed, MALFORMED)


if __name__ == "__main__":
    main()
