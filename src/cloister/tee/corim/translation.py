"""Reference triples as rules about the claims of a kind of evidence. Pure.

A profile says what measurement keys mean. Without one, a key, or a register's name, is the name of
a claim. What has no claim, or a value that the claim never has, is told and makes no rule.

Spec: reference-values-v1, clauses REF-20 to REF-27.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cloister.attestation.evidence_rules import AtLeast, Field, OneOf, Rule
from cloister.errors import ConfigError
from cloister.tee.corim.comid import Form, ReferenceTriple, Statement
from cloister.tee.corim.document import Corim
from cloister.tee.corim.values import malformed
from cloister.tee.vocabulary import shape_of

__all__ = ["PROFILES", "ReferenceValues", "State", "translate"]

_CCA: Final = "tag:arm.com,2025:cca_realm#1.0.0"
_DEBUG_FLAG: Final = 3

_CCA_KEYS: Final[Mapping[int | str, str]] = {
    "cca.rim": "measurement",
    **{f"cca.rem{number}": f"extensible.{number}" for number in range(4)},
    "cca.rpv": "personalization_value",
}
_SNP_KEYS: Final[Mapping[int | str, str]] = {
    3: "family_id",
    4: "image_id",
    641: "measurement",
    642: "host_data",
    643: "id_key_digest",
    644: "author_key_digest",
    645: "report_id",
    646: "report_id_ma",
    3328: "hardware_id",
}
# Profile to the kind that it is about, and its keys.
PROFILES: Final[Mapping[str, tuple[str, Mapping[int | str, str]]]] = MappingProxyType(
    {
        _CCA: ("cca", _CCA_KEYS),
        "tag:amd.com,2024:snp-corim-profile": ("snp", _SNP_KEYS),
        "tag:amd.com,2025:snp-corim-profile": ("snp", _SNP_KEYS),
    }
)
# Without a profile: what manufacturers call the claims that have another name here.
_NAMES: Final[Mapping[str, Mapping[int | str, str]]] = {
    "sgx": {"mrenclave": "measurement", "mrsigner": "mr_signer"},
    "tdx": {"mrtd": "measurement"},
    "nitro": {"pcr0": "measurement", **{f"pcr{n}": f"pcrs.{n}" for n in range(1, 32)}},
    "cca": {"rim": "measurement", **{f"rem{n}": f"extensible.{n}" for n in range(4)}},
}
_TPM_BANKS: Final = {32: "sha256", 48: "sha384"}
_FORMS: Final[Mapping[Form, str]] = {
    "digests": "bytes",
    "register": "bytes",
    "raw": "bytes",
    "svn": "integer",
    "min-svn": "integer",
    "version": "text",
    "flag": "boolean",
}

State = Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class ReferenceValues:
    """What a CoRIM says of one kind's claims.

    Attributes:
        kind: The kind.
        states: One for each reference triple, with what names its environment.
        unread: What made no rule, each with its place and why.
    """

    kind: str
    states: tuple[tuple[str, State], ...]
    unread: tuple[str, ...]

    def merged(self, numbers: Sequence[int] = ()) -> State:
        """Return the rules of some states together, where that accepts no mixture of them.

        States that say nothing of the same claim are asked for together. Otherwise they are
        alternatives, and since a policy lists values claim by claim, two that differ in two claims
        would also accept the first claim of one with the second claim of the other.

        Args:
            numbers: Which states, from 1; all where none is named.

        Raises:
            ConfigError: There is no such state (`config.value`), none at all (`config.missing`),
                or together they would accept mixtures (`config.value`).
        """
        if not self.states:
            raise ConfigError(
                f"the CoRIM has no reference value for {self.kind} evidence", code="config.missing"
            )
        count = len(self.states)
        if not all(0 < number <= count for number in numbers):
            raise ConfigError(f"the CoRIM has states 1 to {count}", code="config.value")
        states = [self.states[number - 1][1] for number in numbers or range(1, count + 1)]
        named = [path for state in states for path in state]
        paths = list(dict.fromkeys(named))
        if len(named) == len(paths):
            return {path: rule for state in states for path, rule in state.items()}
        differing = [path for path in paths if len({state.get(path) for state in states}) > 1]
        whole = all(path in state for path in differing for state in states)
        lists = all(isinstance(state.get(path), OneOf) for path in differing for state in states)
        if len(differing) > 1 or not whole or not lists:
            raise ConfigError(
                f"the CoRIM has {count} states, which differ in {', '.join(differing)}",
                code="config.value",
                hint="a list for each claim would accept mixtures of them: choose with --state N",
            )
        return {path: _union([state[path] for state in states]) for path in paths}


def translate(corim: Corim, kind: str, table: Sequence[Field]) -> ReferenceValues:
    """Say what reference triples mean for a kind's claims.

    Args:
        corim: One whose signature was judged; nothing here looks at it.
        kind: A root of trust's name.
        table: Its claims.

    Raises:
        MalformedError: Its profile is not known here, or is about another kind; or a triple says
            two things of one claim (`corim.malformed`).
    """
    keys = _keys(corim.profile, kind)
    fields = {field.path: field for field in table}
    unread = list(corim.unread)
    states: list[tuple[str, State]] = []
    for triple in corim.triples:
        unread += triple.unread
        state = _state(triple, kind, keys, fields, unread)
        if state:
            states.append((triple.environment, state))
    return ReferenceValues(kind, tuple(states), tuple(unread))


def _keys(profile: str, kind: str) -> Mapping[int | str, str] | None:
    """Return what a profile's keys mean; None without a profile."""
    if not profile:
        return None
    if profile not in PROFILES:
        raise malformed(f"has a profile that is not known here: {profile}")
    about, keys = PROFILES[profile]
    if about != kind:
        raise malformed(f"has a profile for {about} evidence, and not for {kind}")
    return keys


def _state(
    triple: ReferenceTriple,
    kind: str,
    keys: Mapping[int | str, str] | None,
    fields: Mapping[str, Field],
    unread: list[str],
) -> State:
    rules: dict[str, Rule] = {}
    for statement in _by_bank(triple.statements, kind):
        path = _path(statement, kind, keys)
        field = None if path is None else fields.get(path)
        if field is None:
            unread.append(f"{statement.place}: no claim of {kind} evidence has this name")
            continue
        rule = _rule(statement, kind, field)
        if rule is None:
            unread.append(f"{statement.place}: {field.path} never has such a value")
        elif rules.get(field.path, rule) != rule:
            raise malformed(f"says two things of {field.path} in one state")
        else:
            rules[field.path] = rule
    return rules


def _by_bank(statements: Sequence[Statement], kind: str) -> Iterator[Statement]:
    """Take the registers of a TPM apart by the length of their digests: each is another bank's."""
    for statement in statements:
        if kind != "tpm" or statement.form != "register":
            yield statement
            continue
        sizes = {len(value): None for value in statement.values if isinstance(value, bytes)}
        for size in sizes:
            values = (v for v in statement.values if isinstance(v, bytes) and len(v) == size)
            yield dataclasses.replace(statement, values=tuple(values))


def _path(statement: Statement, kind: str, keys: Mapping[int | str, str] | None) -> str | None:
    if keys is not None:
        key = statement.key
        return None if key is None or statement.form in {"register", "flag"} else keys.get(key)
    if statement.form == "flag":
        return "debug" if statement.name == _DEBUG_FLAG else None
    name = statement.name if statement.form == "register" else statement.key
    if statement.form == "register" and isinstance(name, int):
        return _register(kind, name, statement.values)
    if not isinstance(name, str):
        return None
    return _NAMES.get(kind, {}).get(name.lower(), name)


def _register(kind: str, number: int, values: Sequence[object]) -> str | None:
    """Return the claim of a numbered register."""
    if kind == "tdx":
        return f"rtmr{number}"
    if kind == "nitro":
        return f"pcrs.{number}" if number else "measurement"
    sizes = {len(value) for value in values if isinstance(value, bytes)}
    bank = _TPM_BANKS.get(sizes.pop()) if len(sizes) == 1 else None
    return f"pcrs.{bank}.{number}" if kind == "tpm" and bank else None


def _rule(statement: Statement, kind: str, field: Field) -> Rule | None:
    """Return the rule, or None where the claim is of another form or never has such a value."""
    if _FORMS[statement.form] != field.form:
        return None
    if statement.form == "min-svn":
        [least] = statement.values
        return AtLeast(least) if isinstance(least, int) and least > 0 else None
    shape = shape_of(kind, field.path)
    values = tuple(
        value
        for value in statement.values
        if not isinstance(value, bytes) or not shape.sizes or len(value) in shape.sizes
    )
    if shape.words is not None and not set(values) <= shape.words:
        return None
    # Every digest of a list is acceptable; of another algorithm than the claim's, none can be.
    return OneOf(values) if values else None


def _union(rules: Sequence[Rule]) -> Rule:
    values = [value for rule in rules if isinstance(rule, OneOf) for value in rule.values]
    if len(values) < len(rules):  # bounds, which are the same in all
        return rules[0]
    return OneOf(tuple(dict.fromkeys(values)))
