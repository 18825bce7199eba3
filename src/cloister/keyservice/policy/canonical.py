"""The one spelling of a policy that is hashed, signed and stored.

Canonical CBOR of the same tree as the text, with the same keys. `location` hints are left out:
moving a volume's store changes no decision, so it changes no hash either.

Spec: release-policy-v1, clauses POL-40 to POL-43.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Final

from cloister.crypto.digest import framed, sha256
from cloister.errors import MalformedError
from cloister.keyservice.policy.evidence import claims_tree
from cloister.keyservice.policy.model import EvidenceRoot, Policy, RootsOfTrust, VolumeRule
from cloister.keyservice.policy.node import Problems, node_from_value
from cloister.keyservice.policy.schema import read_policy
from cloister.wire import Value, decode, encode

__all__ = [
    "HASH_LABEL",
    "MAX_CANONICAL_BYTES",
    "canonical_bytes",
    "policy_from_canonical",
    "policy_hash",
    "tree_value",
]

MAX_CANONICAL_BYTES: Final = 393_216
HASH_LABEL: Final = b"cloister/v1 release policy"


def canonical_bytes(policy: Policy) -> bytes:
    """Return the canonical bytes, without `location` hints.

    Raises:
        MalformedError: `policy.invalid`: somebody built a policy by hand that no reader accepts.
    """
    data = encode(tree_value(policy))
    _read(data)
    return data


def policy_hash(policy: Policy) -> bytes:
    """Return the 32 bytes that name this policy: SHA-256 over its framed canonical bytes."""
    return sha256(framed(HASH_LABEL, canonical_bytes(policy)))


def policy_from_canonical(data: bytes) -> Policy:
    """Read a policy from untrusted canonical bytes.

    Raises:
        MalformedError: `policy.too-large`, `policy.malformed` (not canonical, or with a
            `location`) or `policy.invalid`.
    """
    policy = _read(data)
    if encode(tree_value(policy)) != data:
        raise MalformedError(
            "a policy's canonical bytes have no location hints", code="policy.malformed"
        )
    return policy


def _read(data: bytes) -> Policy:
    if len(data) > MAX_CANONICAL_BYTES:
        raise MalformedError(
            f"a policy has at most {MAX_CANONICAL_BYTES} canonical bytes, this one {len(data)}",
            code="policy.too-large",
        )
    try:
        value = decode(data, max_bytes=MAX_CANONICAL_BYTES)
    except MalformedError as e:
        raise MalformedError(
            "the bytes are not a canonical policy", code="policy.malformed", offset=e.offset
        ) from e
    problems = Problems()
    policy = read_policy(node_from_value(value), problems)
    if policy is None:
        raise MalformedError(
            f"not a policy: {problems.found[0]}",
            code="policy.invalid",
            detail="\n".join(str(problem) for problem in problems.found),
        )
    return policy


def tree_value(item: object) -> Value:
    """Return a policy, or a part of one, as a tree of plain values; absent keys stay absent."""
    if isinstance(item, str | int):
        return item
    if isinstance(item, tuple):
        return [tree_value(part) for part in item]
    if isinstance(item, Mapping):
        return {str(key): tree_value(part) for key, part in item.items()}
    if isinstance(item, EvidenceRoot):
        tree: dict[str, Value] = {
            "anchors": list(item.anchors),
            "claims": dict(claims_tree(item.claims)),
        }
        return tree | ({"devices": tree_value(item.devices)} if item.devices else {})
    if isinstance(item, RootsOfTrust):
        sim = {} if item.sim is None else {"sim": tree_value(item.sim)}
        return sim | {name: tree_value(root) for name, root in item.genuine.items()}
    if is_dataclass(item):
        present = {field.name: getattr(item, field.name) for field in fields(item)}
        if isinstance(item, VolumeRule):
            present.pop("location")
        return {name: tree_value(part) for name, part in present.items() if part is not None}
    raise MalformedError("a policy has no such value", code="policy.invalid")
