"""Which keys may carry out which operation of owners, and where. Pure; asked in one place.

An operation without a rule may be carried out by nobody. A refusal says the same of what is not
there and of what is somebody else's.

Spec: key-release-v1, clauses KR-80 to KR-84.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.governance import Governance

__all__ = ["RULES", "About", "Rule", "Target", "Who", "may_hold", "may_read", "require_authority"]


class Who(Enum):
    """Whose keys an operation takes."""

    APPROVER = "an approver of the governing charter"
    SUBMITTER = "an approver of the governing charter, or of what is to be replaced"
    READER = "a submitter, or a reader whom charter or policy names"
    HOLDER = (
        "whoever registered the volume and still is an approver; with threshold 1, any approver"
    )
    KNOWN = "anybody known; the answer holds what the signer may see"


class About(Enum):
    """What an operation's arguments name."""

    POLICY_BYTES = "a policy's canonical bytes"
    POLICY_HASH = "a policy by its hash"
    POLICY_NAME = "a policy by namespace and name"
    POLICY_OF_SECRETS = "a policy by namespace and name, which is called policy there"
    CHARTER_BYTES = "a charter's canonical bytes"
    NAMESPACE = "a namespace; the root where none is named"
    VOLUME = "a volume by its identity"
    ROOT = "the trust domain as a whole"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do an operation, what it is about, and how everybody else is refused."""

    who: Who
    about: About
    refusal: str = "release.not-owner"


RULES: Final[Mapping[str, Rule]] = {
    "policy.apply": Rule(Who.SUBMITTER, About.POLICY_BYTES),
    "policy.read": Rule(Who.READER, About.POLICY_HASH, "release.policy-unknown"),
    "policy.pending": Rule(Who.KNOWN, About.ROOT),
    "policy.history": Rule(Who.READER, About.POLICY_NAME, "release.policy-unknown"),
    "secret.put": Rule(Who.APPROVER, About.NAMESPACE),
    "secret.list": Rule(Who.READER, About.POLICY_OF_SECRETS, "release.policy-unknown"),
    "source.put": Rule(Who.APPROVER, About.NAMESPACE),
    "source.pin": Rule(Who.APPROVER, About.NAMESPACE),
    "source.list": Rule(Who.READER, About.NAMESPACE),
    "source.remove": Rule(Who.APPROVER, About.NAMESPACE),
    "release.refusals": Rule(Who.READER, About.POLICY_NAME, "release.policy-unknown"),
    "job.status": Rule(Who.READER, About.POLICY_NAME, "release.policy-unknown"),
    "member.list": Rule(Who.READER, About.POLICY_NAME, "release.policy-unknown"),
    "budget.list": Rule(Who.READER, About.POLICY_NAME, "release.policy-unknown"),
    "member.expel": Rule(Who.SUBMITTER, About.POLICY_NAME, "release.policy-unknown"),
    "volume.register": Rule(Who.APPROVER, About.NAMESPACE),
    "volume.key": Rule(Who.HOLDER, About.VOLUME, "release.volume-unknown"),
    "volume.rotate": Rule(Who.HOLDER, About.VOLUME, "release.volume-unknown"),
    "volume.retire": Rule(Who.HOLDER, About.VOLUME, "release.volume-unknown"),
    "lease.take": Rule(Who.HOLDER, About.VOLUME, "release.volume-unknown"),
    "lease.break": Rule(Who.HOLDER, About.VOLUME, "release.volume-unknown"),
    "client.enroll": Rule(Who.APPROVER, About.NAMESPACE),
    "status": Rule(Who.KNOWN, About.ROOT),
    "log.read": Rule(Who.READER, About.ROOT),
    "log.own": Rule(Who.READER, About.NAMESPACE),
    "view.issue": Rule(Who.READER, About.NAMESPACE),
    "view.list": Rule(Who.READER, About.NAMESPACE),
    "view.revoke": Rule(Who.READER, About.NAMESPACE),
    "namespace.apply": Rule(Who.SUBMITTER, About.CHARTER_BYTES),
    "namespace.read": Rule(Who.READER, About.NAMESPACE),
    "namespace.list": Rule(Who.KNOWN, About.ROOT),
}

_SENTENCES: Final = {
    "release.not-owner": "this key may not do that in this namespace",
    "release.policy-unknown": "the key service does not know this policy",
    "release.volume-unknown": "the key service has no key for this volume",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What an operation is about, as far as it matters for who may do it.

    Attributes:
        governance: Who governs where it takes effect.
        submitters: Approvers of what is to be replaced, where those are others.
        readers: Keys that a policy itself names.
        registrant: Public key of whoever registered the volume; empty if there is none.
    """

    governance: Governance
    submitters: frozenset[bytes] = frozenset()
    readers: frozenset[bytes] = frozenset()
    registrant: bytes = b""


def may_read(key: bytes, target: Target) -> bool:
    """Tell whether a key may read what `target` is."""
    return key in _allowed(Who.READER, target)


def may_hold(key: bytes, target: Target) -> bool:
    """Tell whether a key may have the key and the lease of the volume that `target` is."""
    return key in _allowed(Who.HOLDER, target)


def require_authority(operation: str, key: bytes, target: Target | None) -> None:
    """Raise unless the holder of `key` may carry out `operation`.

    Args:
        operation: Its name.
        key: The signer's public key; the signature has been checked, and that the key is known.
        target: What the arguments name; None where nothing of that name is here.

    Raises:
        ReleaseDeniedError: By the rule's code.
    """
    rule = RULES.get(operation)
    if rule is None:
        raise ReleaseDeniedError("nobody may do that", code="release.not-owner")
    if rule.who is Who.KNOWN:
        return
    if target is None or key not in _allowed(rule.who, target):
        raise ReleaseDeniedError(_SENTENCES[rule.refusal], code=rule.refusal)


def _allowed(who: Who, target: Target) -> frozenset[bytes]:
    approvers = target.governance.approvers
    if who is Who.APPROVER:
        return approvers
    if who is Who.HOLDER:
        alone = target.governance.board.threshold == 1
        return approvers if alone else approvers & {target.registrant}
    if who is Who.SUBMITTER:
        return approvers | target.submitters
    return approvers | target.submitters | target.governance.readers | target.readers
