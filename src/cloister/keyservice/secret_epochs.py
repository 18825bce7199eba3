"""What a policy update makes of its secrets: which values are made, and which are erased. Pure.

Invariants:
    1. An epoch of a secret names one value, for ever: it never goes back, and never names another
       value after it was erased.
    2. What is neither current nor readable is erased.

Spec: secret-release-v1, clauses SEC-30 to SEC-34.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass

from cloister.crypto.digest import sha256
from cloister.errors import MalformedError
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.secret_rules import COMES_LATER, SecretRule
from cloister.keyservice.secret_records import EpochMark
from cloister.wire import Value, encode

__all__ = ["EpochPlan", "form_digest", "plan_epochs"]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """What to do in the update's transaction.

    Attributes:
        make: Secrets whose current epoch needs a value; authorities first.
        erase: (name, epoch) of values that go.
        marks: The newest epochs, for the secrets whose mark changes.
    """

    make: tuple[str, ...]
    erase: tuple[tuple[str, int], ...]
    marks: Mapping[str, EpochMark]


def form_digest(rule: SecretRule) -> bytes:
    """Return the digest of a secret's kind and form, which hold for a whole epoch."""
    form: dict[str, Value] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(rule.form).items()
        if value is not None
    }
    return sha256(encode({rule.kind: form}))


def plan_epochs(
    policy: Policy, *, marks: Mapping[str, EpochMark], held: Set[tuple[str, int]]
) -> EpochPlan:
    """Decide what an update makes of its secrets.

    Args:
        policy: The update, or the first policy of its name; sound.
        marks: The newest epoch of every secret that a policy of this name ever had.
        held: (name, epoch) of every value that there is.

    Raises:
        MalformedError: An epoch goes back, names another form than before, or names a value that
            there is not (`policy.epoch`).
    """
    secrets = policy.secrets or {}
    fresh: dict[str, EpochMark] = {}
    for name, rule in secrets.items():
        mark, now = marks.get(name), EpochMark(rule.current, form_digest(rule))
        if mark is not None and mark != now and now.epoch <= mark.epoch:
            raise _epoch(
                f"secret {name} had epoch {mark.epoch} already, with another form or before it was "
                "removed",
                hint=f"write epoch: {mark.epoch + 1}",
            )
        lost = [epoch for epoch in rule.readable or () if (name, epoch) not in held]
        if lost:
            raise _epoch(
                f"epoch {lost[0]} of secret {name} has no value any more",
                hint="leave it out of readable",
            )
        if mark != now:
            fresh[name] = now
    for name, mark in marks.items():
        if name not in secrets and mark.form:
            fresh[name] = EpochMark(mark.epoch, b"")
    missing = [
        name
        for name, rule in secrets.items()
        if rule.kind not in COMES_LATER and (name, rule.current) not in held
    ]
    kept = {(name, epoch) for name, rule in secrets.items() for epoch in rule.epochs}
    return EpochPlan(
        make=tuple(sorted(missing, key=lambda name: secrets[name].kind != "authority")),
        erase=tuple(sorted(held - kept)),
        marks=fresh,
    )


def _epoch(sentence: str, *, hint: str) -> MalformedError:
    return MalformedError(sentence, code="policy.epoch", hint=hint)
