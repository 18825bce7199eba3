"""Write the vectors of key-release-v1. Running it again changes nothing.

Uses cbor2, hashlib, hmac and cryptography only: an implementation of its own, from the page.
"""

import base64
import hashlib
import hmac
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
SERVICE = KEY.public_key().public_bytes_raw()
ORIGIN = "example.test/cloister-log"
SECRET = b"\x05" * 32


def canonical(value: object) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def framed(*parts: bytes) -> bytes:
    """Each part after its length in 8 bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def flip(data: bytes) -> bytes:
    """Change the last bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


ENVELOPE = canonical({"media_type": "a/b", "body": b"evidence"})
REQUEST: dict[str, object] = {
    "version": 1,
    "service": SERVICE,
    "nonce": b"n" * 32,
    "policy": b"p" * 32,
    "workload": "train",
    "instance": "run-1",
    "hpke_key": b"h" * 1216,
    "certificate_request": b"csr",
    "measurement": {"code": b"c" * 32, "runtime": b"r" * 32},
    "evidence": ENVELOPE,
}
ENDORSEMENT: dict[str, object] = {"media_type": "a/c", "body": b"vouches"}
CHALLENGE: dict[str, object] = {
    "version": 1,
    "service": SERVICE,
    "nonce": b"n" * 32,
    "lifetime_s": 60,
}
ANCHOR: dict[str, object] = {
    "version": 1,
    "service": SERVICE,
    "nonce": b"n" * 32,
    "volume": b"v" * 16,
    "epoch": 3,
    "operation": "advance",
    "from": {"version": 1, "root": b"1" * 32},
    "to": {"version": 2, "root": b"2" * 32},
}
OWNER: dict[str, object] = {
    "version": 1,
    "service": SERVICE,
    "nonce": b"n" * 32,
    "owner": SERVICE,
    "operation": "volume.key",
    "arguments": canonical({"id": b"v" * 16}),
    "reply_key": b"h" * 1216,
}
ENTRY: dict[str, object] = {
    "version": 1,
    "at": 1800000000,
    "operation": "release",
    "code": "",
    "policy": b"p" * 32,
    "subject": "train",
    "instance": "run-1",
    "evidence": b"e" * 32,
    "requester": b"q" * 32,
}


def messages(out: Path) -> None:
    """Challenges and release requests."""
    cases: dict[str, tuple[str, str, str, bytes, str]] = {
        "challenge-ok": ("A challenge.", "KR-10", "challenge", canonical(CHALLENGE), "ok"),
        "challenge-short-nonce": (
            "31 bytes.",
            "KR-10",
            "challenge",
            canonical(CHALLENGE | {"nonce": b"n" * 31}),
            "message.malformed",
        ),
        "challenge-no-lifetime": (
            "A lifetime of zero.",
            "KR-12",
            "challenge",
            canonical(CHALLENGE | {"lifetime_s": 0}),
            "message.malformed",
        ),
        "request-ok": ("A request.", "KR-14", "release-request", canonical(REQUEST), "ok"),
        "request-endorsements": (
            "With what vouches for the evidence.",
            "KR-14",
            "release-request",
            canonical(REQUEST | {"endorsements": [ENDORSEMENT] * 16}),
            "ok",
        ),
    }
    changes: dict[str, tuple[str, dict[str, object]]] = {
        "request-short-service": ("31 bytes.", {"service": bytes(31)}),
        "request-path-in-name": ("A slash in the instance.", {"instance": "a/b"}),
        "request-empty-workload": ("No workload.", {"workload": ""}),
        "request-short-hpke-key": ("1215 bytes.", {"hpke_key": bytes(1215)}),
        "request-long-csr": ("8193 bytes.", {"certificate_request": bytes(8193)}),
        "request-version": ("Version 2.", {"version": 2}),
        "request-unknown-field": ("One field more.", {"x": 1}),
        "request-no-endorsements": ("An empty list that is there.", {"endorsements": []}),
        "request-many-endorsements": ("One too many.", {"endorsements": [ENDORSEMENT] * 17}),
        "request-empty-endorsement": (
            "An endorsement that says nothing.",
            {"endorsements": [ENDORSEMENT | {"body": b""}]},
        ),
        "request-odd-endorsement": (
            "A field more within.",
            {"endorsements": [ENDORSEMENT | {"source": "x"}]},
        ),
    }
    for name, (comment, change) in changes.items():
        data = canonical(REQUEST | change)
        cases[name] = (comment, "KR-14", "release-request", data, "message.malformed")
    for name, (comment, clause, kind, data, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "kind": kind, "expect": expect}
        write(out, name, case | {"message": data.hex()})


def replies(out: Path) -> None:
    """Signed replies to one request."""
    path, request = "/v1/challenge", b"the request"
    body = canonical({"version": 1, "at": 1800000000, "result": b"x"})
    refusal = {"version": 1, "at": 1800000000, "code": "release.fenced", "message": "over"}

    def signed(content: bytes, key: Ed25519PrivateKey, where: str, asked: bytes) -> bytes:
        inner = framed(where.encode(), hashlib.sha256(asked).digest(), content)
        signature = key.sign(framed(b"cloister/key-release/v1/reply", inner))
        return canonical({"body": content, "signature": signature})

    identity = "identity.keyservice"
    cases = {
        "reply-ok": ("An answer.", signed(body, KEY, path, request), "ok"),
        "reply-refusal": (
            "A refusal, signed.",
            signed(canonical(refusal), KEY, path, request),
            "release.fenced",
        ),
        "reply-other-key": ("Another service.", signed(body, OTHER, path, request), identity),
        "reply-other-path": ("To another path.", signed(body, KEY, "/v1/owner", request), identity),
        "reply-other-request": ("To another request.", signed(body, KEY, path, b"x"), identity),
        "reply-flipped": ("One bit.", flip(signed(body, KEY, path, request)), "message.malformed"),
        "reply-both": (
            "Result and code together.",
            signed(canonical(refusal | {"result": b""}), KEY, path, request),
            "message.malformed",
        ),
    }
    cases["reply-flipped"] = (
        "One bit of the body.",
        signed(body, KEY, path, request).replace(b"result", b"resulu"),
        identity,
    )
    for name, (comment, data, expect) in cases.items():
        case = {"comment": comment, "clause": "KR-3", "kind": "reply", "expect": expect}
        facts = {"path": path, "request": request.hex(), "service": SERVICE.hex()}
        write(out, name, case | facts | {"message": data.hex()})


def anchors(out: Path) -> None:
    """Anchor requests with their codes."""

    def sealed(content: dict[str, object], secret: bytes = SECRET) -> bytes:
        body = canonical(content)
        code = hmac.digest(secret, framed(b"cloister/key-release/v1/anchor", body), "sha256")
        return canonical({"body": body, "mac": code})

    renewal = {key: value for key, value in ANCHOR.items() if key not in {"from", "to"}}
    renewal |= {"operation": "renew"}
    malformed = "message.malformed"

    def under(oldest_key: object) -> bytes:
        return sealed(ANCHOR | {"to": {"version": 2, "root": b"2" * 32, "oldest_key": oldest_key}})

    cases = {
        "anchor-advance": ("A move.", "KR-53", sealed(ANCHOR), "ok"),
        "anchor-renew": ("A renewal.", "KR-45", sealed(renewal), "ok"),
        "anchor-wrong-secret": (
            "Another's code.",
            "KR-50",
            sealed(ANCHOR, b"x" * 32),
            "release.fenced",
        ),
        "anchor-backwards": (
            "To a version that is not larger.",
            "KR-53",
            sealed(ANCHOR | {"to": {"version": 1, "root": b"2" * 32}}),
            malformed,
        ),
        "anchor-renew-with-move": (
            "A move where none belongs.",
            "KR-50",
            sealed(ANCHOR | {"operation": "renew"}),
            malformed,
        ),
        "anchor-reader-writes": (
            "Epoch 0 moves.",
            "KR-51",
            sealed(ANCHOR | {"epoch": 0}),
            malformed,
        ),
        "anchor-unknown": (
            "No such operation.",
            "KR-50",
            sealed(renewal | {"operation": "x"}),
            malformed,
        ),
        "anchor-oldest-key": ("A state under key 2 and newer ones.", "KR-143", under(2), "ok"),
        "anchor-first-key": ("The first key, said aloud.", "KR-143", under(1), malformed),
        "anchor-no-key": ("Key epoch 0.", "KR-143", under(0), malformed),
        "anchor-far-key": ("A key beyond the last.", "KR-143", under(2**24 + 1), malformed),
    }
    for name, (comment, clause, data, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "kind": "anchor", "expect": expect}
        write(out, name, case | {"secret": SECRET.hex(), "message": data.hex()})


def owners(out: Path) -> None:
    """Owner requests with their signatures."""

    def signed(content: dict[str, object], key: Ed25519PrivateKey = KEY) -> bytes:
        body = canonical(content)
        signature = key.sign(framed(b"cloister/key-release/v1/owner", body))
        return canonical({"body": body, "signature": signature})

    honest = OWNER | {"owner": OTHER.public_key().public_bytes_raw()}
    cases = {
        "owner-ok": ("Signed by the owner.", signed(OWNER), "ok"),
        "owner-forged": ("Names the owner.", signed(OWNER, OTHER), "release.not-owner"),
        "owner-other": ("Another key, honestly.", signed(honest, OTHER), "release.not-owner"),
        "owner-unknown": (
            "No such operation.",
            signed(OWNER | {"operation": "x"}),
            "message.malformed",
        ),
        "owner-arguments": (
            "Arguments that are no map.",
            signed(OWNER | {"arguments": canonical([1])}),
            "message.malformed",
        ),
    }
    for name, (comment, data, expect) in cases.items():
        case = {"comment": comment, "clause": "KR-70", "kind": "owner", "expect": expect}
        write(out, name, case | {"owner": SERVICE.hex(), "message": data.hex()})


GRANT: dict[str, object] = {
    "name": "data",
    "id": b"v" * 16,
    "key": b"3" * 32,
    "access": "write",
    "version": 7,
    "root": b"r" * 32,
    "epoch": 4,
    "lease": {"epoch": 5, "secret": SECRET, "ttl_s": 15},
}


def grants(out: Path) -> None:
    """Volumes as bundles have them, with keys by epoch."""
    older = [b"1" * 32, b"2" * 32]
    cases: dict[str, tuple[str, dict[str, object], str]] = {
        "grant-first-key": ("Never rotated.", {}, "ok"),
        "grant-three-keys": ("All of three.", {"key_epoch": 3, "older_keys": older}, "ok"),
        "grant-retired": ("The newest of three.", {"key_epoch": 3}, "ok"),
    }
    changes: dict[str, tuple[str, dict[str, object]]] = {
        "grant-epoch-one": ("Key epoch 1, said aloud.", {"key_epoch": 1}),
        "grant-epoch-far": ("A key epoch beyond the last.", {"key_epoch": 2**24 + 1}),
        "grant-no-older": ("No older key, said aloud.", {"key_epoch": 3, "older_keys": []}),
        "grant-older-than-first": (
            "More older keys than epochs.",
            {"key_epoch": 2, "older_keys": older},
        ),
        "grant-older-alone": ("Older keys of a first one.", {"older_keys": older}),
        "grant-many-keys": ("65 keys.", {"key_epoch": 99, "older_keys": [b"1" * 32] * 64}),
        "grant-short-key": ("31 bytes.", {"key_epoch": 2, "older_keys": [b"1" * 31]}),
        "grant-text-key": ("A key that is text.", {"key_epoch": 2, "older_keys": ["1" * 32]}),
    }
    for name, (comment, change) in changes.items():
        cases[name] = (comment, change, "message.malformed")
    for name, (comment, change, expect) in cases.items():
        case = {"comment": comment, "clause": "KR-141", "kind": "grant", "expect": expect}
        write(out, name, case | {"message": canonical(GRANT | change).hex()})


def note(origin: str, size: int, root: bytes, key: Ed25519PrivateKey) -> str:
    """A signed checkpoint."""
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    raw = key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()[:4]
    blob = base64.b64encode(key_id + key.sign(body.encode())).decode()
    return f"{body}\n\u2014 {origin} {blob}\n"


def receipts(out: Path) -> None:
    """Receipts in a log of three entries."""

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    entries = [canonical(ENTRY | {"at": at}) for at in (1, 2, 3)]
    leaves = [sha(b"\x00" + entry) for entry in entries]
    left = sha(b"\x01" + leaves[0] + leaves[1])
    root = sha(b"\x01" + left + leaves[2])
    good: dict[str, object] = {
        "entry": entries[1],
        "index": 1,
        "proof": [leaves[0], leaves[2]],
        "checkpoint": note(ORIGIN, 3, root, KEY),
    }
    identity = "identity.keyservice"
    cases: dict[str, tuple[str, str, dict[str, object], str]] = {
        "receipt-ok": ("The second of three.", "KR-63", {}, "ok"),
        "receipt-other-entry": ("Another entry.", "KR-63", {"entry": entries[0]}, "log.proof"),
        "receipt-other-index": ("Another place.", "KR-63", {"index": 2}, "log.proof"),
        "receipt-short-proof": ("A node missing.", "KR-63", {"proof": [leaves[0]]}, "log.proof"),
        "receipt-other-root": (
            "A checkpoint of another tree.",
            "KR-63",
            {"checkpoint": note(ORIGIN, 3, left, KEY)},
            "log.proof",
        ),
        "receipt-other-service": (
            "Signed by another service.",
            "KR-62",
            {"checkpoint": note(ORIGIN, 3, root, OTHER)},
            identity,
        ),
        "receipt-other-log": (
            "Of another log.",
            "KR-62",
            {"checkpoint": note("other.test/cloister-log", 3, root, KEY)},
            identity,
        ),
        "receipt-leading-zero": (
            "A size with a leading zero.",
            "KR-62",
            {"checkpoint": note(ORIGIN, 3, root, KEY).replace("\n3\n", "\n03\n")},
            "message.malformed",
        ),
    }
    for name, (comment, clause, change, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "kind": "receipt", "expect": expect}
        facts = {"service": SERVICE.hex(), "origin": ORIGIN}
        write(out, name, case | facts | {"message": canonical(good | change).hex()})


NONCE_LABEL = b"cloister/key-release/v1/challenge"
RENEWAL_LABEL = b"cloister/membership/v1/renewal-challenge"
END = 1_800_000_060


def derived(secret: bytes, label: bytes) -> bytes:
    """HKDF-SHA-256 without salt: 32 bytes."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, label + b"\x01", hashlib.sha256)


def nonce(
    *, end: int = END, secret: bytes = SECRET, purpose: bytes = NONCE_LABEL, size: int = 16
) -> bytes:
    """A nonce, with the first `size` bytes of its code."""
    body = end.to_bytes(6, "big") + b"r" * 10
    code = hmac.digest(derived(secret, purpose), framed(NONCE_LABEL, body), hashlib.sha256)
    return body + code[:size]


def nonces(out: Path) -> None:
    """What a service takes for a challenge of its own, and when."""
    good = nonce()
    early, late = nonce(end=END - 1), nonce(end=END + 3600)
    cases: dict[str, tuple[str, bytes, int, bool, str]] = {
        "nonce-ok": ("As it was given out.", good, END - 60, False, "ok"),
        "nonce-ok-last": ("In its last second.", good, END, False, "ok"),
        "nonce-over": ("A second later.", good, END + 1, False, "evidence.expired"),
        "nonce-spent": ("It was spent before.", good, END, True, "evidence.replayed"),
        "nonce-longer": (
            "Another end, with the code of the genuine one.",
            late[:6] + good[6:],
            END + 1,
            False,
            "evidence.expired",
        ),
        "nonce-earlier": (
            "Another end before now, with the code of the genuine one.",
            early[:6] + good[6:],
            END - 60,
            False,
            "evidence.expired",
        ),
        "nonce-random": (
            "Another random part.",
            good[:6] + b"R" + good[7:],
            END,
            False,
            "evidence.expired",
        ),
        "nonce-code": ("A bit of the code.", flip(good), END, False, "evidence.expired"),
        "nonce-other-secret": (
            "Of another service.",
            nonce(secret=b"\x06" * 32),
            END,
            False,
            "evidence.expired",
        ),
        "nonce-other-purpose": (
            "Given out for a renewal.",
            nonce(purpose=RENEWAL_LABEL),
            END,
            False,
            "evidence.expired",
        ),
    }
    for name, (comment, data, at, spent, expect) in cases.items():
        clause = {"nonce-spent": "KR-11", "nonce-over": "KR-12", "nonce-ok-last": "KR-12"}
        case = {
            "comment": comment,
            "clause": clause.get(name, "KR-15"),
            "kind": "nonce",
            "message": data.hex(),
            "secret": SECRET.hex(),
            "at": at,
            "spent": spent,
            "expect": expect,
        }
        write(out, name, case)


def main(out: Path) -> None:
    """Write every case."""
    messages(out)
    nonces(out)
    replies(out)
    anchors(out)
    owners(out)
    grants(out)
    receipts(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
