"""Who decides about a room: both owners, and who may end it alone.

A room's policy comes into force, and is replaced, by the approvals of both owners. The policy that
ends it is known beforehand. An owner who lets the other end the room alone approves exactly that
policy when he accepts; the other adds his own approval when he wants to.

Spec: cleanroom-terms-v1, clauses CT-34, CT-35 and CT-55 to CT-58.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from cloister.cleanroom.agreement import SignedTerms
from cloister.cleanroom.room_policy import closing_policy_of, shard_name
from cloister.cleanroom.terms import PARTIES, Party, Terms
from cloister.crypto.digest import digest_from_text
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import ConfigError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval, Subject, require_approval
from cloister.keyservice.owner_replies import OwnerLease
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.submissions import VALIDITY_S, NamespaceFacts, policy_subject

__all__ = [
    "BOTH",
    "CLOSING_VALIDITY_S",
    "Holding",
    "approve_closing",
    "closing_approvals",
    "closing_bytes",
    "closing_subject",
    "other_party",
    "own_volumes",
    "party_of",
    "require_charter",
    "require_own_volumes",
    "require_service",
]

BOTH: Final = 2
CLOSING_VALIDITY_S: Final = 10 * 365 * 86400


class Holding(Protocol):
    """What is asked of a key service; its client for owners is one."""

    def volume_key(self, volume: bytes) -> OwnerLease:
        """Return a volume as its owner holds it."""
        ...


def party_of(terms: Terms, key: VerifyingKey) -> Party:
    """Return which owner has a key.

    Raises:
        ConfigError: Neither (`config.value`).
    """
    for party in PARTIES:
        if terms.parties.key(party) == key:
            return party
    raise ConfigError(f"{key.text} is neither owner's key in these terms", code="config.value")


def other_party(party: Party) -> Party:
    """Return the other owner."""
    return PARTIES[1 - PARTIES.index(party)]


def require_service(terms: Terms, service: bytes) -> None:
    """Raise unless the terms are for this key service.

    Raises:
        ConfigError: They name another (`config.value`).
    """
    if VerifyingKey.from_text(terms.service).raw != service:
        raise ConfigError(
            "the terms are for another key service than this trust domain's",
            code="config.value",
            hint="name its folder with --domain",
        )


def require_charter(facts: NamespaceFacts, terms: Terms) -> None:
    """Raise unless the governing charter asks for both owners and nobody else.

    Args:
        facts: What the key service says of the terms' namespace.
        terms: The terms.

    Raises:
        ConfigError: It does not (`config.value`): somebody else would decide about the room, or one
            owner could change it, or read the other's volumes.
    """
    owners = {terms.parties.key(party).raw for party in PARTIES}
    if (
        not facts.canonical
        or set(facts.approvers) != owners
        or len(facts.approvers) != BOTH
        or facts.threshold != BOTH
    ):
        raise ConfigError(
            f"the charter of {terms.namespace} does not ask for exactly these two owners",
            code="config.value",
            hint=f"cloister namespace draft {terms.namespace} -k 2, with both owners' keys",
        )


def own_volumes(terms: Terms, party: Party) -> Mapping[str, tuple[bytes, bytes | None]]:
    """Return what an owner should have registered: name, to identity and state where one is exact.

    The names are those of the policy.
    """
    if party == "data_owner":
        shards = {
            shard_name(index): (bytes.fromhex(shard.id), digest_from_text(shard.root))
            for index, shard in enumerate(terms.data.shards)
        }
        return {**shards, "report-data-owner": (bytes.fromhex(terms.reports.data_owner), None)}
    recipe = (bytes.fromhex(terms.recipe.id), digest_from_text(terms.recipe.root))
    return {
        "recipe": recipe,
        "model": (bytes.fromhex(terms.model.id), None),
        "report-model-owner": (bytes.fromhex(terms.reports.model_owner), None),
    }


def require_own_volumes(terms: Terms, party: Party, service: Holding) -> None:
    """Raise unless an owner holds each volume that the terms call that owner's.

    Otherwise the other owner could have put a volume of his own in its place, and read what both
    think goes to this one, or have others trained on.

    Args:
        terms: The terms.
        party: Who asks.
        service: The key service, asked with that owner's key.

    Raises:
        ConfigError: One is not this owner's, or in another state (`config.value`).
        UnavailableError: The key service cannot be reached.
    """
    for name, (volume, root) in own_volumes(terms, party).items():
        try:
            held = service.volume_key(volume)
        except ReleaseDeniedError as e:
            raise ConfigError(
                f"the terms call {name} yours, and you have not registered that volume",
                code="config.value",
                hint="have the terms name yours: cloister volume observe",
            ) from e
        if root is not None and held.state.root != root:
            raise ConfigError(f"{name} is in another state than the terms say", code="config.value")


def closing_bytes(agreement: SignedTerms) -> bytes:
    """Return the canonical bytes of the policy that ends the room."""
    text = closing_policy_of(agreement)
    return canonical_bytes(parse_policy(text.encode(), source="the closing policy"))


def closing_subject(agreement: SignedTerms) -> Subject:
    """Return what somebody who approves the room's end signs."""
    service = VerifyingKey.from_text(agreement.terms.service).raw
    return policy_subject(closing_bytes(agreement), service=service)


def approve_closing(agreement: SignedTerms, key: SigningKey, *, at: int) -> Approval | None:
    """Return an owner's approval of the room's end, where the terms let the other end it alone.

    It says yes to a policy that grants nothing, after the room's and after no other, so it can do
    no more than end this room, whoever hands it in.
    """
    party = party_of(agreement.terms, key.public)
    if not agreement.terms.close.alone(other_party(party)):
        return None
    subject = closing_subject(agreement)
    return Approval.make(subject, key=key, expires_at=at + CLOSING_VALIDITY_S)


def closing_approvals(
    agreement: SignedTerms, key: SigningKey, carried: tuple[Approval, ...], *, at: int
) -> tuple[Approval, ...]:
    """Return an owner's approval of the room's end, with the other's where that was carried here.

    Args:
        agreement: The room's.
        key: Of the owner who ends it.
        carried: Untrusted; the owner's own is made anew.
        at: Now.

    Raises:
        ConfigError: The key is neither owner's (`config.value`).
        ReleaseDeniedError: One that was carried does not count, by its code.
    """
    other = agreement.terms.parties.key(other_party(party_of(agreement.terms, key.public))).raw
    subject = closing_subject(agreement)
    found = [Approval.make(subject, key=key, expires_at=at + VALIDITY_S)]
    for approval in carried:
        if approval.approver != key.public.raw:
            require_approval(approval, subject, approvers=(other,), at=at)
            found.append(approval)
    return tuple(found)
