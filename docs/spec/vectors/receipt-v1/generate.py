"""Write the vectors of receipt-v1 beside this file; a second run changes nothing.

Certificates, signatures and canonical bytes are made with `cryptography` and `cbor2` alone; the log
entry comes from the package, whose own page has vectors for it. Keys are fixed numbers, and
signatures are deterministic.
"""

import copy
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from cloister.crypto.signature import SigningKey
from cloister.keyservice.log import Checkpoint, LogEntry
from cloister.keyservice.merkle import leaf_hash

HERE = Path(__file__).parent
AT = 1_800_000_000
ORIGIN = "example.test/cloister-log"
IDENTITY = "spiffe://example.test/lab/digits/train/train-1"
POLICY, EVIDENCE = b"p" * 32, b"e" * 32
POLICY_OID = "2.25.273391094283751906240812377641329012477"
CA_KEY = ec.derive_private_key(1001, ec.SECP256R1())
LEAF_KEY = ec.derive_private_key(1002, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(1003, ec.SECP256R1())
SERVICE = SigningKey(b"s" * 32)


def framed(*parts: bytes) -> bytes:
    """Join parts behind their lengths."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def certificate(subject: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey) -> str:
    """Return a leaf of the profile, or with equal keys the authority."""
    is_ca = subject is issuer
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.test workload CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name if is_ca else x509.Name([]))
        .issuer_name(name)
        .public_key(subject.public_key())
        .serial_number(7)
        .not_valid_before(dt.datetime.fromtimestamp(AT - 60, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(AT + 3600, dt.UTC))
        .add_extension(x509.BasicConstraints(is_ca, 0 if is_ca else None), critical=True)
    )
    if not is_ca:
        note = cbor2.dumps({"policy": POLICY, "hardware_rooted": False}, canonical=True)
        uri = x509.UniformResourceIdentifier(IDENTITY)
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=True)
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(POLICY_OID), note)
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(issuer, SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.PEM).decode()


def log_receipt(**changes: Any) -> dict[str, Any]:
    """Return a log of one entry."""
    facts: dict[str, Any] = {
        "at": AT,
        "operation": "release",
        "code": "",
        "policy": POLICY,
        "subject": "train",
        "instance": "train-1",
        "evidence": EVIDENCE,
        "requester": b"r" * 32,
    }
    entry = LogEntry(**(facts | changes)).to_bytes()
    checkpoint = Checkpoint(ORIGIN, 1, leaf_hash(entry)).to_note(SERVICE)
    return {"entry": entry.hex(), "index": 0, "proof": [], "checkpoint": checkpoint}


def body() -> dict[str, Any]:
    """Return the body of a training run."""
    root = {"version": 1, "root": "sha256:" + "1" * 64}
    volume = {"mount": "/model", "name": "model", "id": "2" * 32, "access": "write"}
    return {
        "policy": "sha256:" + POLICY.hex(),
        "workload": "train",
        "instance": "train-1",
        "identity": IDENTITY,
        "attestation": {"root_of_trust": "sim", "hardware_rooted": False},
        "evidence": "sha256:" + EVIDENCE.hex(),
        "log": log_receipt(),
        "volumes": [volume | {"before": root, "after": root | {"version": 2}}],
        "listeners": {},
        "started": AT,
        "ended": AT + 9,
        "status": 0,
        "failure": None,
        "logs": None,
    }


def signed(facts: dict[str, Any], key: ec.EllipticCurvePrivateKey = LEAF_KEY) -> dict[str, Any]:
    """Return a receipt over a body."""
    message = framed(b"cloister/v1/run-receipt", cbor2.dumps(facts, canonical=True))
    signature = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    return {
        "format": "cloister/receipt/v1",
        "body": facts,
        "certificate": certificate(LEAF_KEY, CA_KEY),
        "signature": signature.hex(),
    }


def vector(name: str, clause: str, comment: str, receipt: str, expect: str) -> None:
    """Write one case."""
    case = {
        "comment": comment,
        "clause": clause,
        "ca": certificate(CA_KEY, CA_KEY),
        "service": SERVICE.public.text,
        "origin": ORIGIN,
        "receipt": receipt,
        "expect": expect,
    }
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=2) + "\n", "utf-8")


def changed(change: Callable[[dict[str, Any]], None]) -> str:
    """Return a receipt that was changed after signing."""
    receipt = copy.deepcopy(signed(body()))
    change(receipt)
    return json.dumps(receipt)


def resigned(**changes: Any) -> str:
    """Return a receipt whose body says something else, signed by the instance itself."""
    return json.dumps(signed(body() | changes))


GOOD = json.dumps(signed(body()), indent=2)
OTHER_CA = certificate(LEAF_KEY, OTHER_KEY)
BAD, PEER, LOG = "message.malformed", "identity.peer", "identity.keyservice"

vector("ok", "RR-5", "a run that holds", GOOD, "ok")
vector(
    "ok-spelling",
    "RR-5",
    "layout and key order do not count",
    json.dumps(signed(body()), sort_keys=True),
    "ok",
)
vector("ok-spent", "RR-8", "a run that spent", resigned(spent={"exposure": 15}), "ok")
vector("spent-text", "RR-8", "an amount that is a text", resigned(spent={"exposure": "15"}), BAD)
vector("spent-list", "RR-8", "spent, and no map", resigned(spent=[15]), BAD)
vector("not-json", "RR-10", "cut in the middle", GOOD[: len(GOOD) // 2], BAD)
vector(
    "twice",
    "RR-2",
    "a key stands twice",
    GOOD.replace('"status": 0', '"status": 0, "status": 1'),
    BAD,
)
vector(
    "fraction",
    "RR-2",
    "a number with a fraction",
    GOOD.replace('"status": 0', '"status": 0.5'),
    BAD,
)
vector("deep", "RR-2", "nested too deeply", resigned(volumes=json.loads("[" * 13 + "]" * 13)), BAD)
vector(
    "more",
    "RR-3",
    "a field that the page does not have",
    changed(lambda r: r["body"].update(x=1)),
    BAD,
)
vector("less", "RR-3", "a field is missing", changed(lambda r: r["body"].pop("ended")), BAD)
vector(
    "format",
    "RR-1",
    "another format",
    changed(lambda r: r.update(format="cloister/receipt/v2")),
    BAD,
)
vector(
    "status", "RR-11", "the status was changed", changed(lambda r: r["body"].update(status=1)), PEER
)
vector("key", "RR-11", "signed by another key", json.dumps(signed(body(), OTHER_KEY)), PEER)
vector(
    "authority",
    "RR-12",
    "a certificate of another authority",
    changed(lambda r: r.update(certificate=OTHER_CA)),
    "identity.tls",
)
vector(
    "late",
    "RR-12",
    "started after the certificate's end",
    resigned(started=AT + 7200),
    "identity.clock",
)
vector(
    "refused",
    "RR-14",
    "the log holds a refusal",
    resigned(log=log_receipt(code="appraisal.code")),
    LOG,
)
vector(
    "other-run",
    "RR-14",
    "the log entry of another instance",
    resigned(log=log_receipt(instance="train-2")),
    LOG,
)
vector(
    "log",
    "RR-13",
    "the entry is not in the log",
    resigned(log=log_receipt() | {"entry": log_receipt(at=AT + 1)["entry"]}),
    "log.proof",
)
vector("name", "RR-15", "the body names another identity", resigned(identity=IDENTITY + "0"), PEER)
