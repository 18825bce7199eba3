"""Write the vectors of keyservice-http-v1. Running it again changes nothing."""

import base64
import json
import struct
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
AT = 1_800_000_000
OWNER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"x" * 32)
SERVICE = Ed25519PrivateKey.from_private_bytes(b"s" * 32).public_key().public_bytes_raw()
LABEL = b"cloister/keyservice-http/v1/view-token"


def framed(label: bytes, *parts: bytes) -> bytes:
    """Frame as report-data-binding-v1 does."""
    return b"".join(struct.pack(">Q", len(part)) + part for part in (label, *parts))


def body(**changes: object) -> bytes:
    """A good statement, with changes."""
    said = {"version": 1, "service": SERVICE, "scope": "view", "expires": AT + 3600} | changes
    return cbor2.dumps(said, canonical=True)


def token(data: bytes, *, key: Ed25519PrivateKey = OWNER, label: bytes = LABEL) -> str:
    """A signed statement as text."""
    whole = {"body": data, "signature": key.sign(framed(label, data))}
    return base64.urlsafe_b64encode(cbor2.dumps(whole, canonical=True)).decode().rstrip("=")


def respelled(text: str) -> str:
    """Change a bit that no byte has."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


GOOD = token(body())
CASES = {
    "ok": ("KH-20", "ok", GOOD, "view", "As the owner makes it."),
    "ok-metrics": ("KH-11", "ok", token(body(scope="metrics")), "metrics", "For metrics alone."),
    "ok-view-for-metrics": ("KH-11", "ok", GOOD, "metrics", "Who may see all may see metrics."),
    "metrics-for-view": (
        "KH-11",
        "identity.scope",
        token(body(scope="metrics")),
        "view",
        "For metrics alone.",
    ),
    "empty": ("KH-22", "identity.viewer", "", "view", "None at all."),
    "padded": ("KH-22", "identity.viewer", GOOD + "=" * (-len(GOOD) % 4 or 4), "view", "Padding."),
    "respelled": ("KH-22", "identity.viewer", respelled(GOOD), "view", "Another spelling."),
    "standard-alphabet": ("KH-22", "identity.viewer", "+/" + GOOD[2:], "view", "Not base64url."),
    "long": ("KH-22", "identity.viewer", GOOD + "A" * 400, "view", "Too long."),
    "trailing": ("KH-22", "identity.viewer", GOOD + "AAAA", "view", "Bytes behind it."),
    "unknown-scope": (
        "KH-22",
        "identity.viewer",
        token(body(scope="owner")),
        "view",
        "No such scope.",
    ),
    "unknown-field": (
        "KH-22",
        "identity.viewer",
        token(body(more=1)),
        "view",
        "A field that is none.",
    ),
    "version": ("KH-22", "identity.viewer", token(body(version=2)), "view", "Another version."),
    "other-signer": (
        "KH-23",
        "identity.viewer",
        token(body(), key=OTHER),
        "view",
        "Not the owner's.",
    ),
    "other-label": (
        "KH-23",
        "identity.viewer",
        token(body(), label=b"cloister/key-release/v1/owner"),
        "view",
        "Signed for something else.",
    ),
    "other-service": (
        "KH-23",
        "identity.viewer",
        token(body(service=b"z" * 32)),
        "view",
        "For another service.",
    ),
    "over": ("KH-24", "identity.viewer", token(body(expires=AT)), "view", "Over this second."),
    "too-far": (
        "KH-24",
        "identity.viewer",
        token(body(expires=AT + 721 * 3600 + 1)),
        "view",
        "Good for longer than a token may be.",
    ),
}


ID = bytes(range(16))
ISSUER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
RAW = ISSUER.public_key().public_bytes_raw()
GRANT = {"id": ID, "issuer": RAW, "namespace": "lab", "scope": "view", "expires": AT + 3600}


def issued(*, key: Ed25519PrivateKey = ISSUER, label: bytes = LABEL, **changes: object) -> str:
    """An issued token as text, with changes."""
    said = {"version": 2, "service": SERVICE, **GRANT} | changes
    return token(cbor2.dumps(said, canonical=True), key=key, label=label)


# What the service knows of the token beside it; None where it was never issued, or is revoked.
ISSUED = {
    "issued-ok": ("KH-41", "ok", issued(), GRANT, "As its issuer makes it."),
    "issued-revoked": ("KH-43", "identity.viewer", issued(), None, "The service knows none."),
    "issued-other-id": ("KH-43", "identity.viewer", issued(id=ID[::-1]), GRANT, "Not that one."),
    "issued-other-issuer": (
        "KH-43",
        "identity.viewer",
        issued(issuer=OTHER.public_key().public_bytes_raw(), key=OTHER),
        GRANT,
        "Somebody else's statement under a known identity.",
    ),
    "issued-wider": ("KH-43", "identity.viewer", issued(namespace="/"), GRANT, "For more."),
    "issued-other-scope": ("KH-43", "identity.viewer", issued(scope="metrics"), GRANT, "Another."),
    "issued-longer": ("KH-43", "identity.viewer", issued(expires=AT + 7200), GRANT, "Longer."),
    "issued-other-signer": ("KH-42", "identity.viewer", issued(key=OTHER), GRANT, "Not signed."),
    "issued-owner-signs": ("KH-42", "identity.viewer", issued(key=OWNER), GRANT, "Not by him."),
    "issued-other-label": (
        "KH-42",
        "identity.viewer",
        issued(label=b"cloister/key-release/v1/owner"),
        GRANT,
        "Signed for something else.",
    ),
    "issued-other-service": (
        "KH-42",
        "identity.viewer",
        issued(service=b"z" * 32),
        GRANT,
        "For another service.",
    ),
    "issued-unknown-field": ("KH-42", "identity.viewer", issued(more=1), GRANT, "A field more."),
    "issued-version": ("KH-42", "identity.viewer", issued(version=3), GRANT, "Another version."),
    "issued-over": (
        "KH-43",
        "identity.viewer",
        issued(expires=AT),
        GRANT | {"expires": AT},
        "Over this second.",
    ),
}


def main(out: Path) -> None:
    """Write every vector."""
    for name, (clause, expect, text, scope, comment) in CASES.items():
        case = {
            "comment": comment,
            "clause": clause,
            "expect": expect,
            "token": text,
            "scope": scope,
            "service": SERVICE.hex(),
            "owner": OWNER.public_key().public_bytes_raw().hex(),
            "at": AT,
        }
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")
    for name, (clause, expect, text, grant, comment) in ISSUED.items():
        known = {k: v.hex() if isinstance(v, bytes) else v for k, v in (grant or {}).items()}
        case = {
            "comment": comment,
            "clause": clause,
            "expect": expect,
            "token": text,
            "grant": known,
            "service": SERVICE.hex(),
            "at": AT,
        }
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
