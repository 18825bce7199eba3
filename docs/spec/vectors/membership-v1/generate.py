"""Write the vectors of membership-v1. Running it again changes nothing.

Uses cbor2, hashlib, hmac and cryptography only: an implementation of its own, from the page.
"""

import hashlib
import hmac
import json
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).parent
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
SERVICE = KEY.public_key().public_bytes_raw()
SERVICE_SECRET = b"\x07" * 32
ROSTER = b"cloister/membership/v1/roster"
REQUEST = b"cloister/membership/v1/request"
SECRET = b"cloister/membership/v1/secret"
SPEND = b"cloister/membership/v1/spend"
SPENT = b"cloister/membership/v1/spent"
NONCE = b"n" * 32
NOW = 1_800_000_100
POLICY = b"p" * 32

EXPECTED: dict[str, object] = {
    "service": SERVICE.hex(),
    "domain": "example.test",
    "namespace": "lab",
    "name": "digits",
    "of": "",
    "epoch": 4,
    "now": NOW,
    "max_age_s": 300,
}


def canonical(value: object) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def framed(*parts: bytes) -> bytes:
    """Each part after its length in 8 bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def member(role: str, instance: str, **changes: object) -> dict[str, object]:
    """A member of the worked example."""
    return {
        "role": role,
        "instance": instance,
        "identity": f"spiffe://example.test/lab/digits/{role}/{instance}",
        "evidence": b"e" * 32,
        "result": b"r" * 32,
        "key": b"k" * 32,
        "since": NOW - 100,
        "renewed": NOW - 50,
        "expires": NOW + 3550,
    } | changes


def roster(**changes: object) -> dict[str, object]:
    """A roster of the worked example."""
    return {
        "version": 1,
        "domain": "example.test",
        "namespace": "lab",
        "name": "digits",
        "policy": POLICY,
        "of": "",
        "epoch": 4,
        "at": NOW,
        "members": [member("serve", "run-7"), member("train", "run-1")],
    } | changes


def signed(body: bytes, *, key: Ed25519PrivateKey = KEY, label: bytes = ROSTER) -> bytes:
    """A signed roster."""
    return canonical({"body": body, "signature": key.sign(framed(label, body))})


def secret(instance: str = "run-1", policy: bytes = POLICY, key: bytes = b"k" * 32) -> bytes:
    """MEM-24, as RFC 5869 has it for one block."""
    salt = framed(b"lab", b"digits", b"train", instance.encode(), policy, key)
    extracted = hmac.digest(salt, SERVICE_SECRET, hashlib.sha256)
    return hmac.digest(extracted, SECRET + b"\x01", hashlib.sha256)


def request(**changes: object) -> dict[str, object]:
    """A request of the worked example; None takes a field away."""
    fields: dict[str, object] = {
        "version": 1,
        "service": SERVICE,
        "nonce": b"n" * 32,
        "namespace": "lab",
        "name": "digits",
        "role": "train",
        "instance": "run-1",
        "operation": "roster",
        "of": "",
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def sealed(body: bytes, *, by: bytes, label: bytes = REQUEST) -> bytes:
    """A request with its code."""
    return canonical({"body": body, "mac": hmac.digest(by, framed(label, body), hashlib.sha256)})


def rosters() -> dict[str, dict[str, object]]:
    """Signed rosters, and what a reader knows."""
    good = canonical(roster())
    serve, train = member("serve", "run-7"), member("train", "run-1")
    tail = good[:-1] + bytes([good[-1] ^ 1])
    cases: dict[str, tuple[str, str, bytes, dict[str, object], str]] = {
        "ok": ("Two members.", "MEM-31", signed(good), {}, "ok"),
        "ok-nobody": ("An empty job.", "MEM-31", signed(canonical(roster(members=[]))), {}, "ok"),
        "ok-newer": ("A later epoch than was seen.", "MEM-37", signed(good), {"epoch": 3}, "ok"),
        "ok-of-role": (
            "One role only.",
            "MEM-32",
            signed(canonical(roster(of="train", members=[train]))),
            {"of": "train"},
            "ok",
        ),
        "other-key": (
            "Another signer.",
            "MEM-35",
            signed(good, key=OTHER),
            {},
            "identity.keyservice",
        ),
        "other-label": (
            "Signed for another purpose.",
            "MEM-30",
            signed(good, label=b"cloister/key-release/v1/reply"),
            {},
            "identity.keyservice",
        ),
        "flipped": (
            "One bit.",
            "MEM-35",
            canonical({"body": tail, "signature": KEY.sign(framed(ROSTER, good))}),
            {},
            "identity.keyservice",
        ),
        "old-epoch": ("An epoch before.", "MEM-37", signed(good), {"epoch": 5}, "roster.stale"),
        "too-old": ("Made 301 s ago.", "MEM-38", signed(good), {"now": NOW + 301}, "roster.stale"),
        "to-come": (
            "Made in 301 s.",
            "MEM-38",
            signed(good),
            {"now": NOW - 301},
            "roster.stale",
        ),
        "other-domain": (
            "Of another trust domain.",
            "MEM-36",
            signed(good),
            {"domain": "other.test"},
            "roster.foreign",
        ),
        "other-namespace": (
            "Of another tenant's job.",
            "MEM-36",
            signed(good),
            {"namespace": "ward"},
            "roster.foreign",
        ),
        "other-job": (
            "Of another job.",
            "MEM-36",
            signed(good),
            {"name": "letters"},
            "roster.foreign",
        ),
        "part-for-whole": (
            "One role, where all are meant.",
            "MEM-36",
            signed(canonical(roster(of="train", members=[train]))),
            {},
            "roster.foreign",
        ),
    }
    wrong: dict[str, tuple[str, dict[str, object]]] = {
        "unsorted": ("Members out of order.", {"members": [train, serve]}),
        "twice": ("A member twice.", {"members": [train, train]}),
        "lapsed": (
            "A member whose time is over.",
            {"members": [member("train", "run-1", expires=NOW)]},
        ),
        "borrowed-identity": (
            "Another member's SPIFFE ID.",
            {"members": [member("train", "run-1", identity=serve["identity"])]},
        ),
        "role-not-asked": ("A role that is not shown.", {"of": "train", "members": [serve, train]}),
        "short-key": ("31 bytes.", {"members": [member("train", "run-1", key=b"k" * 31)]}),
        "unknown-field": ("A field more.", {"more": 1}),
        "version-2": ("Another version.", {"version": 2}),
        "slash": ("A slash in a name.", {"name": "a/b"}),
    }
    for name, (comment, changes) in wrong.items():
        expected = {"of": "train"} if name == "role-not-asked" else {}
        body = canonical(roster(**changes))
        cases[name] = (comment, "MEM-32", signed(body), expected, "message.malformed")
    return {
        f"roster-{name}": {
            "comment": comment,
            "clause": clause,
            "kind": "roster",
            "message": message.hex(),
            "expected": EXPECTED | changes,
            "expect": expect,
        }
        for name, (comment, clause, message, changes, expect) in cases.items()
    }


def requests() -> dict[str, dict[str, object]]:
    """Sealed requests, and the secret that they must have been sealed with."""
    body = canonical(request())
    leave = canonical(request(operation="leave", of=None))
    demand = {"audience": "https://rp.example", "answers": b"a" * 16, "result": b"r" * 100}
    token = canonical(request(operation="token", of=None, token=demand))
    refusals = canonical(request(operation="refusals", of=None, since=NOW))
    spend = canonical(request(operation="spend", of=None, demand=b"d" * 540))
    malformed = "message.malformed"
    cases: dict[str, tuple[str, str, bytes, str]] = {
        "ok-roster": ("For the roster.", "MEM-20", sealed(body, by=secret()), "ok"),
        "ok-leave": ("For leaving.", "MEM-20", sealed(leave, by=secret()), "ok"),
        "ok-token": ("For a token.", "MEM-50", sealed(token, by=secret()), "ok"),
        "ok-refusals": ("For refusals.", "MEM-25", sealed(refusals, by=secret()), "ok"),
        "ok-spend": ("For spending.", "MEM-70", sealed(spend, by=secret()), "ok"),
        "other-secret": (
            "Another member's secret.",
            "MEM-22",
            sealed(body, by=secret("run-2")),
            "release.not-member",
        ),
        "older-policy": (
            "The secret from before the policy was replaced.",
            "MEM-24",
            sealed(body, by=secret(policy=b"o" * 32)),
            "release.not-member",
        ),
        "other-label": (
            "A code for another purpose.",
            "MEM-22",
            sealed(body, by=secret(), label=b"cloister/key-release/v1/anchor"),
            "release.not-member",
        ),
        "other-body": (
            "A code over another body.",
            "MEM-22",
            canonical({"body": leave, "mac": cbor2.loads(sealed(body, by=secret()))["mac"]}),
            "release.not-member",
        ),
    }
    wrong: dict[str, tuple[str, dict[str, object]]] = {
        "leave-of-role": ("Leaving with a role.", {"operation": "leave"}),
        "roster-of-nothing": ("A roster without a role.", {"of": None}),
        "operation": ("An operation that is none.", {"operation": "expel"}),
        "short-nonce": ("31 bytes.", {"nonce": b"n" * 31}),
        "short-service": ("31 bytes.", {"service": b"s" * 31}),
        "slash": ("A slash in the instance.", {"instance": "a/b"}),
        "dots": ("A name that begins with a dot.", {"of": ".."}),
        "unknown-field": ("A field more.", {"more": 1}),
        "version-2": ("Another version.", {"version": 2}),
        "token-of-nothing": ("A token for nobody.", {"operation": "token", "of": None}),
        "token-short-nonce": (
            "Seven bytes of the relying party.",
            {"operation": "token", "of": None, "token": demand | {"answers": b"a" * 7}},
        ),
        "token-no-audience": (
            "An empty audience.",
            {"operation": "token", "of": None, "token": demand | {"audience": ""}},
        ),
        "refusals-of-role": (
            "Refusals with a roster's part.",
            {"operation": "refusals", "since": NOW},
        ),
        "refusals-of-no-time": (
            "Refusals since nobody knows when.",
            {"operation": "refusals", "of": None},
        ),
        "refusals-before-all": (
            "A time below zero.",
            {"operation": "refusals", "of": None, "since": -1},
        ),
        "spend-nothing": ("Spending without a demand.", {"operation": "spend", "of": None}),
        "spend-short": (
            "A demand of 539 bytes.",
            {"operation": "spend", "of": None, "demand": b"d" * 539},
        ),
        "spend-of-role": (
            "Spending with a roster's part.",
            {"operation": "spend", "demand": b"d" * 540},
        ),
        "roster-with-demand": ("A roster with a demand.", {"demand": b"d" * 540}),
        "roster-since": ("A roster with the part of refusals.", {"since": NOW}),
        "roster-with-token": ("A roster with a token's part.", {"token": demand}),
    }
    for name, (comment, changes) in wrong.items():
        message = sealed(canonical(request(**changes)), by=secret())
        cases[name] = (comment, "MEM-20", message, malformed)
    return {
        f"request-{name}": {
            "comment": comment,
            "clause": clause,
            "kind": "request",
            "message": message.hex(),
            "secret": secret().hex(),
            "expect": expect,
        }
        for name, (comment, clause, message, expect) in cases.items()
    }


def secrets() -> dict[str, dict[str, object]]:
    """A member's secret from the service's."""
    return {
        "secret-ok": {
            "comment": "The secret of train/run-1.",
            "clause": "MEM-24",
            "kind": "secret",
            "service_secret": SERVICE_SECRET.hex(),
            "namespace": "lab",
            "name": "digits",
            "role": "train",
            "instance": "run-1",
            "policy": POLICY.hex(),
            "key": (b"k" * 32).hex(),
            "secret": secret().hex(),
            "expect": "ok",
        }
    }


def filled(data: bytes, size: int) -> bytes:
    """Its length in 2 bytes, itself, and zeros."""
    return (len(data).to_bytes(2, "big") + data).ljust(size, b"\0")


def encrypted(plain: bytes, label: bytes, *, nonce: bytes = NONCE, by: bytes = b"") -> bytes:
    """MEM-70, with a fixed nonce of the cipher."""
    extracted = hmac.digest(nonce, by or secret(), hashlib.sha256)
    key = hmac.digest(extracted, label + b"\x01", hashlib.sha256)
    return b"v" * 12 + AESGCM(key).encrypt(b"v" * 12, plain, label)


def demand(**changes: object) -> bytes:
    """A demand of the worked example; None takes a field away."""
    fields: dict[str, object] = {
        "number": 1,
        "budget": "queries",
        "principal": "alice",
        "amount": 1,
    } | changes
    return canonical({name: value for name, value in fields.items() if value is not None})


def question(**changes: object) -> bytes:
    """A question of the worked example."""
    fields: dict[str, object] = {
        "version": 1,
        "budget": "queries",
        "principal": "alice",
        "amount": 1,
    } | changes
    return canonical(fields)


def answer(**changes: object) -> bytes:
    """An answer of the worked example."""
    return canonical({"version": 1, "left": 999, "code": "", "message": ""} | changes)


WRONG: dict[str, tuple[str, dict[str, object]]] = {
    "principal-space": ("A space in the name.", {"principal": "alice b"}),
    "principal-empty": ("In nobody's name.", {"principal": ""}),
    "principal-long": ("256 characters.", {"principal": "a" * 256}),
    "principal-octets": ("Bytes for a text.", {"principal": b"alice"}),
    "budget-slash": ("A slash in the budget.", {"budget": "a/b"}),
    "amount-below": ("Less than nothing.", {"amount": -1}),
    "amount-above": ("More than 10^15.", {"amount": 10**15 + 1}),
    "unknown-field": ("A field more.", {"more": 1}),
}


def spending() -> dict[str, dict[str, object]]:
    """Demands and outcomes as they are sealed, and frames of the desk."""
    malformed = "message.malformed"
    good = filled(demand(), 512)
    widest = demand(number=2**53, budget="q" * 64, principal="a" * 255, amount=10**15)
    outcome = canonical({"left": 999, "code": ""})
    cases: dict[str, tuple[str, str, bytes, str]] = {
        "demand-ok": ("For one query.", "MEM-70", encrypted(good, SPEND), "ok"),
        "demand-ok-nothing": (
            "An amount of nothing.",
            "MEM-71",
            encrypted(filled(demand(amount=0), 512), SPEND),
            "ok",
        ),
        "demand-ok-widest": (
            "The longest that there is.",
            "MEM-71",
            encrypted(filled(widest, 512), SPEND),
            "ok",
        ),
        "demand-number-zero": (
            "Numbers begin with 1.",
            "MEM-71",
            encrypted(filled(demand(number=0), 512), SPEND),
            malformed,
        ),
        "demand-no-amount": (
            "A field less.",
            "MEM-71",
            encrypted(filled(demand(amount=None), 512), SPEND),
            malformed,
        ),
        "demand-not-zeros": (
            "Other than zeros at the end.",
            "MEM-70",
            encrypted(good[:-1] + b"\x01", SPEND),
            malformed,
        ),
        "demand-too-long-a-length": (
            "A length beyond the end.",
            "MEM-70",
            encrypted(b"\xff\xff" + good[2:], SPEND),
            malformed,
        ),
        "demand-size": (
            "Filled up to another size.",
            "MEM-70",
            encrypted(filled(demand(), 256), SPEND),
            malformed,
        ),
        "demand-other-label": (
            "Sealed for another direction.",
            "MEM-70",
            encrypted(good, SPENT),
            malformed,
        ),
        "demand-other-request": (
            "Of another request.",
            "MEM-70",
            encrypted(good, SPEND, nonce=b"m" * 32),
            malformed,
        ),
        "demand-other-member": (
            "Another member's.",
            "MEM-70",
            encrypted(good, SPEND, by=secret("run-2")),
            malformed,
        ),
        "outcome-ok": ("Spent.", "MEM-72", encrypted(filled(outcome, 128), SPENT), "ok"),
        "outcome-ok-refused": (
            "Not so much is left.",
            "MEM-73",
            encrypted(filled(canonical({"left": 3, "code": "budget.spent"}), 128), SPENT),
            "ok",
        ),
        "outcome-other-label": (
            "A demand for an outcome.",
            "MEM-72",
            encrypted(filled(outcome, 128), SPEND),
            malformed,
        ),
        "outcome-no-code": (
            "A field less.",
            "MEM-72",
            encrypted(filled(canonical({"left": 3}), 128), SPENT),
            malformed,
        ),
        "outcome-below": (
            "Less than nothing is left.",
            "MEM-72",
            encrypted(filled(canonical({"left": -1, "code": ""}), 128), SPENT),
            malformed,
        ),
        "frame-ok-question": ("A question.", "MEM-91", filled(question(), 512), "ok"),
        "frame-version": ("Version 2.", "MEM-91", filled(question(version=2), 512), malformed),
        "frame-not-zeros": (
            "Other than zeros at the end.",
            "MEM-91",
            filled(question(), 512)[:-1] + b"\x01",
            malformed,
        ),
        "frame-short": ("511 bytes.", "MEM-91", filled(question(), 511), malformed),
        "frame-answer": ("An answer for a question.", "MEM-91", filled(answer(), 512), malformed),
    }
    for name, (comment, changes) in WRONG.items():
        sealed_demand = encrypted(filled(demand(**changes), 512), SPEND)
        cases[f"demand-{name}"] = (comment, "MEM-71", sealed_demand, malformed)
        cases[f"frame-{name}"] = (comment, "MEM-91", filled(question(**changes), 512), malformed)
    return {
        name: {
            "comment": comment,
            "clause": clause,
            "kind": name.partition("-")[0],
            "message": message.hex(),
            "secret": secret().hex(),
            "nonce": NONCE.hex(),
            "expect": expect,
        }
        for name, (comment, clause, message, expect) in cases.items()
    }


def main(out: Path = HERE) -> None:
    """Write every vector."""
    for name, case in (rosters() | requests() | secrets() | spending()).items():
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
