"""Shares of the state key, each sealed to its holder, or to a platform that recovers. Pure.

Spec: keyservice-recovery-v1, clauses BR-22 to BR-24 and BR-27 to BR-29.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from cloister.crypto.aead import KEY_BYTES
from cloister.crypto.digest import DIGEST_BYTES, framed
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.shamir import combine_shares, split_secret, threshold_of
from cloister.crypto.signature import PUBLIC_BYTES, VerifyingKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.recovery_plan import MAX_HOLDERS, RecoveryPlan
from cloister.keyservice.recovery_request import RecoveringPlatform, RecoveryRequest
from cloister.keyservice.state.record import StateKey
from cloister.wire import Fields, Value, encode

__all__ = ["MAX_SHARE_BYTES", "SealedShare", "ShareFacts", "combine", "give", "split"]

SHARE_LABEL: Final = b"cloister/keyservice-recovery/v1/share"
MAX_SHARE_BYTES: Final = 8192
_VERSION: Final = 1
_SET_BYTES: Final = 16
_PURPOSES: Final = ("kept", "given")

Purpose = Literal["kept", "given"]


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """What is public of a share.

    Attributes:
        service: The key service.
        plan: Hash of the plan by which the key was split.
        set_id: Of this splitting; shares of two never go together.
        index: Its place among the plan's holders, from 0.
        purpose: `kept` by a holder, or `given` to a platform.
        reader: SHA-256 of the holder's public key, or the digest of the platform's request.
    """

    service: VerifyingKey
    plan: bytes
    set_id: bytes
    index: int
    purpose: Purpose
    reader: bytes

    def tree(self) -> dict[str, Value]:
        """Return its fields, which what is sealed is bound to."""
        return {
            "version": _VERSION,
            "service": self.service.raw,
            "plan": self.plan,
            "set": self.set_id,
            "index": self.index,
            "purpose": self.purpose,
            "reader": self.reader,
        }


@dataclass(frozen=True, slots=True)
class SealedShare:
    """A share that one reader can open."""

    facts: ShareFacts
    sealed: bytes

    @classmethod
    def seal(cls, share: str, facts: ShareFacts, key: HPKEPublicKey) -> SealedShare:
        """Seal a share to its reader's key."""
        return cls(facts, key.seal(share.encode(), info=_info(facts)))

    def open(self, key: HPKEPrivateKey) -> str:
        """Open it.

        Raises:
            ReleaseDeniedError: It is somebody else's, or was changed (`recovery.share`).
        """
        error = _refused("a share is somebody else's, or was changed")
        plain = key.open(self.sealed, info=_info(self.facts), error=error)
        return plain.decode("ascii", "replace")

    def to_bytes(self) -> bytes:
        """Return the file."""
        return encode({**self.facts.tree(), "sealed": self.sealed})

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedShare:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="recovery share", max_bytes=MAX_SHARE_BYTES)
        fields.constant("version", _VERSION)
        facts = ShareFacts(
            VerifyingKey(fields.octets("service", length=PUBLIC_BYTES)),
            fields.octets("plan", length=DIGEST_BYTES),
            fields.octets("set", length=_SET_BYTES),
            fields.integer("index", maximum=MAX_HOLDERS - 1),
            _purpose(fields.text("purpose", max_length=8)),
            fields.octets("reader", length=DIGEST_BYTES),
        )
        share = cls(facts, fields.octets("sealed", max_length=MAX_SHARE_BYTES))
        fields.end()
        return share


def split(
    key: StateKey, plan: RecoveryPlan, holders: Sequence[HPKEPublicKey]
) -> tuple[SealedShare, ...]:
    """Split the state key by a plan, each share sealed to its holder.

    Raises:
        ConfigError: These are not the plan's holders (`config.value`).
    """
    plan.require_keys(holders)
    set_id = random_bytes(_SET_BYTES)
    shares = split_secret(key.to_secret(), threshold=plan.threshold, count=len(holders))
    return tuple(
        SealedShare.seal(
            share,
            ShareFacts(plan.service, plan.subject.hash, set_id, index, "kept", holder.identity),
            holder,
        )
        for index, (share, holder) in enumerate(zip(shares, holders, strict=True))
    )


def give(share: SealedShare, key: HPKEPrivateKey, platform: RecoveringPlatform) -> SealedShare:
    """Open a holder's share, and seal it to a platform that recovers.

    Args:
        share: The holder's own.
        key: The holder's.
        platform: Has proved what it runs.

    Raises:
        ReleaseDeniedError: The share is of another service or holder, or was changed
            (`recovery.share`).
    """
    if share.facts.purpose != "kept" or share.facts.service != platform.service:
        raise _refused("the share is of another key service")
    facts = replace(share.facts, purpose="given", reader=platform.request)
    return SealedShare.seal(share.open(key), facts, platform.hpke)


def combine(
    shares: Sequence[SealedShare], request: RecoveryRequest, key: HPKEPrivateKey
) -> StateKey:
    """Return the state key that shares give back.

    Args:
        shares: Untrusted.
        request: What they must have been given to.
        key: Its private half.

    Raises:
        ReleaseDeniedError: Too few (`recovery.too-few`); one that was given to another request, is
            of another set, repeated, or changed (`recovery.share`).
    """
    sets = {(each.facts.plan, each.facts.set_id) for each in shares}
    places = {each.facts.index for each in shares}
    if len(sets) > 1 or len(places) != len(shares):
        raise _refused("the shares are of different sets, or one stands twice")
    for each in shares:
        expected = replace(
            each.facts, service=request.service, purpose="given", reader=request.digest
        )
        if each.facts != expected:
            raise _refused("a share was given to another recovery")
    opened = [each.open(key) for each in shares]
    error = _refused("the shares do not give a key: one was changed, or is of another set")
    needed = max((threshold_of(share, error=error) for share in opened), default=2)
    if len(opened) < needed:
        raise ReleaseDeniedError(
            f"{len(opened)} shares are here, and {needed} are needed",
            code="recovery.too-few",
            hint="let another holder give hers: cloister keyservice recovery give",
        )
    secret = combine_shares(opened[:needed], error=error)
    if len(secret) != KEY_BYTES:
        raise error
    return StateKey(secret)


def _info(facts: ShareFacts) -> bytes:
    return framed(SHARE_LABEL, encode(facts.tree()))


def _purpose(text: str) -> Purpose:
    for purpose in _PURPOSES:
        if text == purpose:
            return purpose
    raise MalformedError("not a purpose of a share", code="message.malformed")


def _refused(sentence: str) -> ReleaseDeniedError:
    return ReleaseDeniedError(sentence, code="recovery.share")
