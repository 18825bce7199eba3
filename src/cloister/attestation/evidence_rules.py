"""What an evidence policy says of one claim, and whether the claim satisfies it. Pure.

Each root of trust has a table of `Field`s: the claims that may be judged, which of them a policy
must speak about, and what is asked where nobody wrote a policy. There is no optional check: a rule
is a value, a bound, or `Unchecked` with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.claims import Claims
from cloister.attestation.result import NotChecked
from cloister.errors import MalformedError
from cloister.wire import Value

__all__ = [
    "AtLeast",
    "Field",
    "Form",
    "Judged",
    "OneOf",
    "Rule",
    "Unchecked",
    "Within",
    "as_text",
    "claim",
    "judge",
    "wanted",
]

Form = Literal["bytes", "text", "integer", "boolean", "texts", "versions"]
_MAX_SHOWN: Final = 8
_COMMON: Final = frozenset(
    {
        "measurement",
        "report_data",
        "debug",
        "security_version",
        "status",
        "advisories",
        "hardware_id",
    }
)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The claim is one of these values; none of them refuses everything."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The claim, or each named part of it, is no smaller; parts that are missing refuse."""

    minimum: int | Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Within:
    """Everything in the claim, which is a list, is among these; an empty list is."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Nobody looks; the reason stands in every result."""

    reason: str

    def __post_init__(self) -> None:
        """Refuse an empty reason."""
        if not self.reason.strip():
            raise MalformedError("what is unchecked has a reason", code="policy.invalid")


Rule = OneOf | AtLeast | Within | Unchecked


@dataclass(frozen=True, slots=True)
class Field:
    """One claim that a policy may judge.

    Attributes:
        path: Its name: a common one of `Claims`, or dotted into the vendor's fields.
        form: What it is. `versions` is a map of name to number.
        required: Whether a policy must have a rule for it.
        default: The rule where no policy was given: the strictest that needs no reference value.
        about: What it tells, in a few words.
    """

    path: str
    form: Form
    required: bool
    default: Rule
    about: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule applied to one claim.

    Attributes:
        path: The claim's.
        holds: Whether the rule does.
        expected: What it wants, for people.
        found: What there is, for people.
    """

    path: str
    holds: bool
    expected: str
    found: str


def claim(claims: Claims, path: str) -> Value:
    """Return what the claims say at a path, None where they say nothing."""
    if path in _COMMON:
        value: Value = getattr(claims, path)
        return list(value) if isinstance(value, tuple) else value
    found: Value = dict(claims.vendor)
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def judge(field: Field, rule: Rule, claims: Claims) -> Judged | NotChecked:
    """Apply one rule; a claim that is not there satisfies none but `Unchecked`."""
    if isinstance(rule, Unchecked):
        return NotChecked(field.path, rule.reason)
    found = claim(claims, field.path)
    if isinstance(rule, OneOf):
        holds = any(_same(found, value) for value in rule.values)
    elif isinstance(rule, Within):
        holds = isinstance(found, list) and set(found) <= set(rule.values)
    else:
        holds = _reaches(found, rule.minimum)
    return Judged(field.path, holds, wanted(rule), as_text(found))


def wanted(rule: OneOf | AtLeast | Within) -> str:
    """Return what a rule wants, for people."""
    if isinstance(rule, OneOf):
        return " or ".join(as_text(value) for value in rule.values[:_MAX_SHOWN]) or "nothing"
    if isinstance(rule, Within):
        return "only " + (", ".join(rule.values[:_MAX_SHOWN]) or "an empty list")
    return f"at least {as_text(_plain(rule.minimum))}"


def as_text(value: Value) -> str:
    """Show a claim: bytes as hex, nothing as `absent`."""
    if value is None:
        return "absent"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(as_text(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {as_text(each)}" for name, each in value.items()) + "}"
    return str(value)


def _same(found: Value, value: Value) -> bool:
    """Compare without taking 1 for true."""
    return type(found) is type(value) and found == value


def _reaches(found: Value, minimum: int | Mapping[str, int]) -> bool:
    if isinstance(minimum, int):
        return type(found) is int and found >= minimum
    return isinstance(found, dict) and all(
        _reaches(found.get(name), least) for name, least in minimum.items()
    )


def _plain(minimum: int | Mapping[str, int]) -> Value:
    return minimum if isinstance(minimum, int) else dict(minimum)
