"""The receipt of a run: what ran, under which policy, from which state to which, and how it ended.

A JSON file without secrets. Its body is signed, as canonical bytes, with the key of the instance's
certificate: only the attested launcher had it. The key service's own receipt of the release is
inside, so that a reader who pins the trust domain needs nobody else.

Spec: receipt-v1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloister.crypto.digest import digest_to_text
from cloister.crypto.instance import certificate_der, sign_as_instance, verify_instance
from cloister.crypto.x509 import read_peer_certificate
from cloister.errors import ConfigError, IdentityError, MalformedError
from cloister.keyservice.log import Receipt as LogReceipt
from cloister.keyservice.log import verify_receipt
from cloister.wire import Fields, Value, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloister.attestation.result import AttestationResult
    from cloister.crypto.signature import VerifyingKey
    from cloister.errors import CloisterError
    from cloister.keyservice.client import Release
    from cloister.launcher.plan import VolumePlan
    from cloister.launcher.volumes import VolumeState

__all__ = [
    "FORMAT",
    "LABEL",
    "MAX_RECEIPT_BYTES",
    "RunFacts",
    "VerifiedReceipt",
    "log_receipt",
    "make_receipt",
    "verify_run_receipt",
    "write_receipt",
]

FORMAT: Final = "cloister/receipt/v1"
LABEL: Final = b"cloister/v1/run-receipt"
MAX_RECEIPT_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 12
_DOCUMENT: Final = frozenset({"format", "body", "certificate", "signature"})
_BODY: Final = frozenset(
    {
        "policy", "workload", "instance", "identity", "attestation", "evidence", "log", "volumes",
        "listeners", "started", "ended", "status", "failure", "logs",
    }
)  # fmt: skip
_OPTIONAL: Final = frozenset({"network", "spent"})


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the launcher saw of one run.

    Attributes:
        started: When the workload was let go, in seconds since the epoch.
        ended: When everything was committed.
        status: The workload's exit status, or None where it never ran or was not seen to end.
        failure: What went wrong beside the workload itself, or None.
        volumes: Each with its state before and after, as far as known.
        addresses: Name of each listener to its host and port.
        logs: Stream to bytes and digest; None where the policy drops them, since a digest of a
            guessable text tells the text.
        network: What passed the relay, and what did not; None for a workload without a network.
        spent: Budget to what this run spent of it; None for a workload that may spend nothing.
    """

    started: int
    ended: int
    status: int | None
    failure: CloisterError | None
    volumes: Sequence[tuple[VolumePlan, VolumeState | None, VolumeState | None]]
    addresses: Mapping[str, tuple[str, int]]
    logs: Mapping[str, tuple[int, bytes]] | None
    network: Mapping[str, Value] | None = None
    spent: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt whose signature, certificate and log entry hold.

    `body` is what the launcher said; `hardware_rooted` is what the certificate says.
    """

    body: Mapping[str, Any]
    identity: str
    hardware_rooted: bool

    @property
    def spent(self) -> Mapping[str, int]:
        """Budget to what the run spent of it; empty for a run that could spend nothing."""
        found: Mapping[str, int] = self.body.get("spent", {})
        return found


def make_receipt(release: Release, facts: RunFacts) -> bytes:
    """Return the signed receipt as JSON (RR-1 to RR-6)."""
    bundle = release.bundle
    receipt = bundle.receipt
    body: dict[str, Value] = {
        "policy": digest_to_text(bundle.policy),
        "workload": bundle.workload,
        "instance": bundle.instance,
        "identity": bundle.identity,
        "attestation": _attestation(release.result),
        "evidence": digest_to_text(release.entry.evidence),
        "log": {
            "entry": receipt.entry.hex(),
            "index": receipt.index,
            "proof": [node.hex() for node in receipt.proof],
            "checkpoint": receipt.checkpoint,
        },
        "volumes": [_volume(*item) for item in facts.volumes],
        "listeners": {name: f"{host}:{port}" for name, (host, port) in facts.addresses.items()},
        "started": facts.started,
        "ended": facts.ended,
        "status": facts.status,
        "failure": None
        if facts.failure is None
        else {"code": facts.failure.code, "message": facts.failure.public},
        "logs": None
        if facts.logs is None
        else {
            name: {"bytes": size, "digest": digest_to_text(digest)}
            for name, (size, digest) in facts.logs.items()
        },
        **({} if facts.network is None else {"network": dict(facts.network)}),
        **({} if facts.spent is None else {"spent": dict(facts.spent)}),
    }
    signature = sign_as_instance(release.tls_key, LABEL, encode(body))
    document = {
        "format": FORMAT,
        "body": body,
        "certificate": bundle.certificate.decode("ascii"),
        "signature": signature.hex(),
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def verify_run_receipt(
    data: bytes, *, ca: bytes, service: VerifyingKey, origin: str
) -> VerifiedReceipt:
    """Establish that an attested instance of the pinned trust domain wrote this receipt. Offline.

    Args:
        data: Untrusted.
        ca: PEM of the trust domain's authority, pinned.
        service: The key service's public key, pinned.
        origin: The name of its log, pinned.

    Raises:
        MalformedError: Not a receipt (`message.malformed`, `wire.too-large`).
        IdentityError: Not signed by the certificate's key, or that not by the authority, or the log
            entry is another's.
        TamperedError: The log entry is not in the log (`log.proof`).

    Spec: RR-10 to RR-15.
    """
    document = _read_document(data)
    facts = document["body"]
    certificate = document["certificate"].encode("ascii", "replace")
    signature = _octets(document["signature"])
    canonical = encode(facts)
    leaf = certificate_der(certificate)
    verify_instance(leaf, LABEL, canonical, signature, error=_not_signed())
    peer = read_peer_certificate(leaf, ca_pem=ca, at=facts["started"])
    _require_log_entry(facts, service=service, origin=origin)
    said = (facts["identity"], facts["policy"])
    if said != (peer.identity.uri, digest_to_text(peer.policy_hash)):
        raise _not_signed()
    return VerifiedReceipt(facts, peer.identity.uri, peer.hardware_rooted)


def write_receipt(path: Path, data: bytes) -> None:
    """Put a receipt in place, whole or not at all.

    Raises:
        ConfigError: The place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as e:
        raise ConfigError(
            f"the receipt {path} cannot be written: {e.strerror}", code="config.file"
        ) from e


def _attestation(result: AttestationResult) -> dict[str, Value]:
    """Return the result as plain values; `policy` and `workload` stand beside it already."""
    record = json.loads(json.dumps(result.as_record()))
    return {name: value for name, value in record.items() if name not in {"policy", "workload"}}


def _volume(
    plan: VolumePlan, before: VolumeState | None, after: VolumeState | None
) -> dict[str, Value]:
    return {
        "mount": plan.target,
        "name": plan.name,
        "id": plan.id.hex(),
        "access": plan.access,
        "before": _state(before),
        "after": _state(after),
    }


def _state(state: VolumeState | None) -> dict[str, Value] | None:
    return None if state is None else {"version": state.version, "root": digest_to_text(state.root)}


def _read_document(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_RECEIPT_BYTES:
        raise MalformedError("the receipt is too large", code="wire.too-large")
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_float=_no_number)
    except (ValueError, RecursionError) as e:
        raise _malformed("not JSON") from e
    _require_plain(value, 0)
    if not isinstance(value, dict) or set(value) != _DOCUMENT or value["format"] != FORMAT:
        raise _malformed("not of this format")
    texts = (value["certificate"], value["signature"])
    if not all(isinstance(text, str) for text in texts):
        raise _malformed("certificate and signature are texts")
    body = value["body"]
    if not isinstance(body, dict) or set(body) - _OPTIONAL != _BODY:
        raise _malformed("the body has other fields")
    for name in ("policy", "workload", "instance", "identity", "evidence"):
        if not isinstance(body[name], str):
            raise _malformed(f"{name} is not a text")
    if type(body["started"]) is not int:
        raise _malformed("the start is not a time")
    spent = body.get("spent", {})
    if not isinstance(spent, dict) or not all(type(each) is int for each in spent.values()):
        raise _malformed("what was spent is no map to numbers")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no integer")


def _require_plain(value: object, depth: int) -> None:
    """Refuse what canonical bytes have no form for, before they are made."""
    if depth > _MAX_DEPTH:
        raise _malformed("nested too deeply")
    if isinstance(value, dict):
        children: list[object] = [*value.values(), *value.keys()]
    else:
        children = list(value) if isinstance(value, list) else []
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise _malformed("a text is not Unicode")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise _malformed("a number is too large")
    for child in children:
        _require_plain(child, depth + 1)


def log_receipt(facts: Mapping[str, Any]) -> LogReceipt:
    """Return the key service's receipt in a run receipt's body, as untrusted as the body is."""
    log = Fields(facts["log"], what="receipt.log")
    receipt = LogReceipt(
        entry=_octets(log.text("entry", max_length=16384)),
        index=log.integer("index"),
        proof=tuple(_octets(node) for node in log.texts("proof", max_items=64, max_length=64)),
        checkpoint=log.text("checkpoint", max_length=8192),
    )
    log.end()
    return receipt


def _require_log_entry(facts: Mapping[str, Any], *, service: VerifyingKey, origin: str) -> None:
    """Require that the log holds the release that this run had."""
    receipt = log_receipt(facts)
    entry = verify_receipt(receipt, service=service, origin=origin)
    logged = (digest_to_text(entry.policy), entry.subject, entry.instance)
    said = (facts["policy"], facts["workload"], facts["instance"])
    if logged != said or not entry.granted or digest_to_text(entry.evidence) != facts["evidence"]:
        raise IdentityError(
            "the log entry in the receipt is of another run", code="identity.keyservice"
        )


def _octets(text: str) -> bytes:
    try:
        octets = bytes.fromhex(text)
    except ValueError as e:
        raise _malformed("not hex") from e
    if octets.hex() != text:
        raise _malformed("not lower-case hex")
    return octets


def _not_signed() -> IdentityError:
    return IdentityError(
        "the receipt was not signed by the instance that it names", code="identity.peer"
    )


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"receipt: {problem}", code="message.malformed")
