"""Write the vectors of policy-approval-v1 beside this file; a second run changes nothing.

Uses PyYAML, cbor2 and cryptography alone, nothing of the package: bytes, hashes and signatures are
made here from the page, and so check the package independently.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import cbor2
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
CHARTER_LABEL = b"cloister/namespace/v1"
APPROVAL_LABEL = b"cloister/policy-approval/v1"
ANN, BEN, EVE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
AT = 1_800_000_000


def framed(*parts: bytes) -> bytes:
    """Frame a label and parts as the page says."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def canonical(value: Any) -> bytes:
    """Return canonical CBOR."""
    return cbor2.dumps(value, canonical=True)


def public(key: Ed25519PrivateKey) -> bytes:
    """Return the public bytes."""
    return key.public_key().public_bytes_raw()


def write(name: str, **facts: Any) -> None:
    """Write one vector."""
    text = json.dumps(facts, indent=2, ensure_ascii=True) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")


A, B = (f"ed25519:{public(key).hex()}" for key in (ANN, BEN))
BASE = f"""\
charter: cloister/namespace/v1
namespace: clinic/imaging
predecessor: none
approvers: ["{A}", "{B}"]
threshold: 2
timeout: 604800
readers: []
quotas: {{policies: 20, volumes: 200, secrets: 50, members: 50, requests_per_minute: 600}}
"""
CHARTERS = [
    ("ok", "PA-12", "the worked example", None, "ok"),
    ("ok-root", "PA-1", "a charter of the root", ("clinic/imaging", "/"), "ok"),
    ("ok-reader", "PA-10", "a reader", ("readers: []", f'readers: ["{B}"]'), "ok"),
    ("ok-comment", "PA-12", "a comment leaves the hash alone", ("timeout", "# c\ntimeout"), "ok"),
    ("no-readers", "PA-10", "a key is missing", ("readers: []\n", ""), "charter.invalid"),
    ("unknown", "PA-10", "an unknown key", ("readers", "owners: []\nreaders"), "charter.invalid"),
    ("zero", "PA-10", "nobody must approve", ("threshold: 2", "threshold: 0"), "charter.invalid"),
    (
        "too-many",
        "PA-10",
        "more than there are",
        ("threshold: 2", "threshold: 3"),
        "charter.invalid",
    ),
    ("twice", "PA-10", "one approver twice", (B, A), "charter.invalid"),
    ("deep", "PA-1", "five names", ("clinic/imaging", "a/b/c/d/e"), "charter.invalid"),
    ("empty-name", "PA-1", "an empty name", ("clinic/imaging", "clinic//x"), "charter.invalid"),
    ("quota", "PA-10", "a quota is missing", (" members: 50,", ""), "charter.invalid"),
    ("brief", "PA-10", "a timeout under a minute", ("604800", "59"), "charter.invalid"),
    ("alias", "PA-11", "an alias", ("timeout: 604800", "timeout: *t"), "charter.malformed"),
    ("repeated", "PA-11", "a key twice", ("timeout", "namespace: a\ntimeout"), "charter.malformed"),
]
for name, clause, comment, change, expect in CHARTERS:
    text = BASE if change is None else BASE.replace(change[0], change[1], 1)
    if change is not None and change[0] not in BASE:
        raise SystemExit(name)
    facts = {"comment": comment, "clause": clause, "text": text}
    if expect == "ok":
        form = canonical(yaml.safe_load(text))
        facts["canonical"] = form.hex()
        facts["hash"] = hashlib.sha256(framed(CHARTER_LABEL, form)).hexdigest()
    write(f"charter-{name}", **facts, expect=expect)

SUBJECT = {
    "service": b"s" * 32,
    "kind": "policy",
    "namespace": "clinic/imaging",
    "subject": b"h" * 32,
    "predecessor": bytes(32),
}


def body(key: Ed25519PrivateKey, **changes: Any) -> bytes:
    """Return the signed part of an approval."""
    said = {"version": 1, **SUBJECT, "approver": public(key), "expires_at": AT, **changes}
    return canonical({name: value for name, value in said.items() if value is not None})


def approval(data: bytes, key: Ed25519PrivateKey, *, label: bytes = APPROVAL_LABEL) -> bytes:
    """Return an approval."""
    return canonical({"body": data, "signature": key.sign(framed(label, data))})


def text_of(data: bytes, width: int = 64) -> str:
    """Return the file that a person carries."""
    coded = base64.b64encode(data).decode()
    lines = [coded[place : place + width] for place in range(0, len(coded), width)]
    head, tail = "-----BEGIN CLOISTER APPROVAL-----", "-----END CLOISTER APPROVAL-----"
    return "\n".join((head, *lines, tail, ""))


GOOD = approval(body(ANN), ANN)
BAD, INVALID = "approval.malformed", "approval.invalid"
APPROVALS = [
    ("ok", "PA-21", "in its last second", text_of(GOOD), AT, "ok"),
    ("ok-crlf", "PA-22", "lines of another system", text_of(GOOD).replace("\n", "\r\n"), AT, "ok"),
    ("expired", "PA-25", "a second later", text_of(GOOD), AT + 1, "approval.expired"),
    ("wide", "PA-22", "longer lines", text_of(GOOD, 76), AT, BAD),
    ("cut", "PA-22", "a line is missing", "\n".join(text_of(GOOD).split("\n")[:-2]), AT, BAD),
    ("long", "PA-20", "too long", text_of(canonical({"body": bytes(1024)})), AT, BAD),
    ("stranger", "PA-24", "who is not asked", text_of(approval(body(EVE), EVE)), AT,
     "approval.not-approver"),
    ("forged", "PA-23", "by another key", text_of(approval(body(ANN), EVE)), AT, INVALID),
    ("label", "PA-21", "another label", text_of(approval(body(ANN), ANN, label=CHARTER_LABEL)), AT,
     INVALID),
]  # fmt: skip
for name, changes, expect in [
    ("service", {"service": b"t" * 32}, INVALID),
    ("kind", {"kind": "charter"}, INVALID),
    ("namespace", {"namespace": "clinic"}, INVALID),
    ("subject", {"subject": b"i" * 32}, INVALID),
    ("predecessor", {"predecessor": b"p" * 32}, INVALID),
    ("unknown-kind", {"kind": "lease"}, BAD),
    ("version", {"version": 2}, BAD),
    ("unknown-field", {"more": 1}, BAD),
    ("missing-field", {"kind": None}, BAD),
    ("never", {"expires_at": 0}, BAD),
]:
    text = text_of(approval(body(ANN, **changes), ANN))
    clause = "PA-23" if expect == INVALID else "PA-20"
    APPROVALS.append((f"other-{name}", clause, f"another {name}", text, AT, expect))
for name, clause, comment, text, at, expect in APPROVALS:
    write(
        f"approval-{name}",
        comment=comment,
        clause=clause,
        text=text,
        at=at,
        change={k: v.hex() if isinstance(v, bytes) else v for k, v in SUBJECT.items()},
        approvers=[public(key).hex() for key in (ANN, BEN)],
        expect=expect,
    )
