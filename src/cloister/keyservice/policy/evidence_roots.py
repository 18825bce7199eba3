"""Sections of a policy about genuine evidence: which kinds there may be, and one reader for all.

The claims of a kind are loaded when a policy names it first; a policy that names `sim` alone loads
none of the verifiers.

Spec: release-policy-v1, clauses POL-30 to POL-35.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence_rules import Field, Unchecked
from cloister.errors import LocalProtocolError
from cloister.keyservice.policy.evidence import MANUFACTURER, read_anchors, read_claim_rules
from cloister.keyservice.policy.kinds import UNREADABLE
from cloister.keyservice.policy.model import EvidenceRoot
from cloister.keyservice.policy.node import MapNode, Node, Problems, join, quote
from cloister.tee.registry import ROOTS_OF_TRUST, RootOfTrust, by_name

__all__ = ["POLICY_KINDS", "EvidenceRootKind", "accepted_roots", "root_named", "table_of"]

POLICY_KINDS: Final = tuple(
    root.name for root in ROOTS_OF_TRUST if root.bound_bytes and root.name != "sim"
)
_BOUND: Final = "report_data"
_KEYS: Final = ("anchors", "claims")
# Processors whose evidence binds 64 bytes, and so that of the accelerators beside them.
_WITH_DEVICES: Final = frozenset({"tdx", "snp"})
_DEVICES: Final = ("nvidia",)


def root_named(name: str) -> RootOfTrust:
    """Return the registry's row of a kind that a policy was read to name."""
    root = by_name(name)
    if root is None:
        raise LocalProtocolError(f"there is no kind {name}", code="protocol.local")
    return root


def table_of(name: str) -> tuple[Field, ...]:
    """Return the claims that a policy may judge: all of the kind's but what the protocol binds."""
    return tuple(field for field in root_named(name).fields() if field.path != _BOUND)


def accepted_roots(name: str, root: EvidenceRoot) -> frozenset[bytes]:
    """Return the SHA-256 of every root certificate that a section accepts."""
    named = {
        bytes.fromhex(anchor.removeprefix("sha256:"))
        for anchor in root.anchors
        if anchor != MANUFACTURER
    }
    pinned = root_named(name).manufacturer_roots() if MANUFACTURER in root.anchors else frozenset()
    return pinned | named


@dataclass(frozen=True, slots=True)
class EvidenceRootKind:
    """The section of one kind of genuine evidence: `anchors` and `claims`, perhaps `devices`."""

    name: str

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"a map that describes what {self.name} evidence must say: {', '.join(_KEYS)}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        before = len(problems.found)
        if not isinstance(node, MapNode):
            problems.add(node, path, message=f"expected {self.allowed}")
            return UNREADABLE
        known = (*_KEYS, "devices") if self.name in _WITH_DEVICES else _KEYS
        for key, _ in node.entries:
            if key.text not in known:
                message = f"unknown key; known here: {', '.join(known)}"
                problems.add(key, join(path, key.text), message=message)
        anchors, claims = (self._part(node, name, path, problems) for name in _KEYS)
        if anchors is None or claims is None:
            return UNREADABLE
        accepted = read_anchors(anchors, f"{path}.anchors", problems)
        if isinstance(claims, MapNode):
            claims = _without_bound(claims, f"{path}.claims", problems)
        rules = read_claim_rules(claims, f"{path}.claims", problems, table_of(self.name))
        if rules and all(isinstance(rule, Unchecked) for rule in rules.values()):
            message = "nothing of the evidence would be checked"
            problems.add(claims, f"{path}.claims", message=message)
        listed = node.get("devices") if self.name in _WITH_DEVICES else None
        devices = {} if listed is None else _read_devices(listed, f"{path}.devices", problems)
        if len(problems.found) > before or problems.full:
            return UNREADABLE
        return EvidenceRoot(anchors=accepted, claims=rules, devices=devices)

    def _part(self, node: MapNode, name: str, path: str, problems: Problems) -> Node | None:
        for key, value in node.entries:
            if key.text == name:
                problems.positions[f"{path}.{name}"] = (key.line, key.column)
                return value
        problems.add(node, path, message=f"the key {quote(name)} is missing")
        return None


def _read_devices(node: Node, path: str, problems: Problems) -> dict[str, EvidenceRoot]:
    if not isinstance(node, MapNode) or not node.entries:
        problems.add(node, path, message=f"expected a map of {', '.join(_DEVICES)} to what it says")
        return {}
    found: dict[str, EvidenceRoot] = {}
    for key, value in node.entries:
        place = join(path, key.text)
        problems.positions[place] = (key.line, key.column)
        if key.text not in _DEVICES:
            message = f"unknown key; known here: {', '.join(_DEVICES)}"
            problems.add(key, place, message=message)
            continue
        read = EvidenceRootKind(key.text).read(value, place, problems)
        if isinstance(read, EvidenceRoot):
            found[key.text] = read
    return found


def _without_bound(node: MapNode, path: str, problems: Problems) -> MapNode:
    """Refuse a rule for what the protocol binds to each request by itself."""
    for key, _ in node.entries:
        if key.text == _BOUND:
            message = "the protocol binds it to each request, and no policy can say otherwise"
            problems.add(key, join(path, _BOUND), message=message)
    kept = tuple(entry for entry in node.entries if entry[0].text != _BOUND)
    return MapNode(node.line, node.column, kept)
