"""CoMID: what an environment's state should be, as reference triples. Everything else is named.

Spec: reference-values-v1, clauses REF-10 to REF-16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister.tee.corim.values import (
    OID,
    UUID,
    Map,
    identifier,
    malformed,
    read_list,
    read_map,
    read_part,
    shown,
    text,
)
from cloister.wire.foreign_cbor import ForeignValue, Tagged

__all__ = ["Module", "ReferenceTriple", "Statement", "read_module"]

_MAX_TRIPLES: Final = 256
_BYTES, _SVN, _MIN_SVN = 560, 552, 553
_SUPPLEMENTS, _REPLACES = 0, 1
# IANA, Named Information Hash Algorithm Registry: number, and the name as texts have it.
_SIZES: Final[Mapping[int | str, int]] = {
    1: 32, 7: 48, 8: 64, 10: 32, 11: 48, 12: 64,
    "sha-256": 32, "sha-384": 48, "sha-512": 64,
    "sha3-256": 32, "sha3-384": 48, "sha3-512": 64,
}  # fmt: skip
_TRIPLES: Final = {
    1: "endorsed-triples", 2: "identity-triples", 3: "attest-key-triples",
    4: "dependency-triples", 5: "membership-triples", 6: "coswid-triples",
    8: "conditional-endorsement-series-triples", 10: "conditional-endorsement-triples",
}  # fmt: skip
_VALUES: Final = {
    5: "raw-value-mask", 6: "mac-addr", 7: "ip-addr", 8: "serial-number",
    9: "ueid", 10: "uuid", 11: "name", 13: "cryptokeys", 15: "int-range",
}  # fmt: skip

Form = Literal["digests", "raw", "svn", "min-svn", "version", "register", "flag"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One value that a reference triple gives for one measured element.

    Attributes:
        place: Where it stands, for people.
        key: The measurement's key; None where it has none.
        form: What kind of value it is.
        name: The register or flag; None for the other forms.
        values: Digests, each acceptable; or the one value.
    """

    place: str
    key: int | str | None
    form: Form
    name: int | str | None
    values: tuple[bytes | int | str, ...]


@dataclass(frozen=True, slots=True)
class ReferenceTriple:
    """One state that an environment may be in.

    Attributes:
        environment: What names the environment, for people.
        statements: What its state is.
        unread: What is said of it and is not read here: with it, the state is not the whole one.
    """

    environment: str
    statements: tuple[Statement, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """A CoMID that parses.

    Attributes:
        place: Where it stands.
        id: Its identifier.
        replaces: Identifiers of those whose place it takes.
        triples: Its reference values.
        unread: What is in it beside them.
    """

    place: str
    id: str
    replaces: tuple[str, ...]
    triples: tuple[ReferenceTriple, ...]
    unread: tuple[str, ...]


def read_module(data: bytes, place: str) -> Module:
    """Read the content of a tag 506.

    Raises:
        MalformedError: It is no CoMID of the form that is read (`corim.malformed`).
    """
    body = read_map(read_part(data, "a CoMID"), "a CoMID")
    triples = read_map(body.get(4), "triples")
    unread = [
        f"{place}: {_TRIPLES.get(name, f'triples {name}') if isinstance(name, int) else name}"
        for name in triples
        if name != 0
    ]
    unread += [f"{place}: concise-mid-tag {name}" for name in body if name not in {0, 1, 2, 3, 4}]
    records = read_list(triples[0], "reference triples", most=_MAX_TRIPLES) if 0 in triples else []
    found = [_triple(record, f"{place}.triples[{n}]") for n, record in enumerate(records)]
    identity = read_map(body.get(1), "a tag identity")
    return Module(
        place=place,
        id=identifier(identity.get(0)),
        replaces=tuple(_replaced(body.get(3))),
        triples=tuple(found),
        unread=tuple(shown(line) for line in unread),
    )


def _replaced(links: ForeignValue) -> Iterator[str]:
    if links is None:
        return
    for link in read_list(links, "linked tags", most=_MAX_TRIPLES):
        parts = read_map(link, "a linked tag")
        relation = parts.get(1)
        if relation not in {_SUPPLEMENTS, _REPLACES} or isinstance(relation, bool):
            raise malformed("has a link of another kind")
        target = identifier(parts.get(0))
        if relation == _REPLACES:
            yield target


def _triple(record: ForeignValue, place: str) -> ReferenceTriple:
    environment, measurements = read_list(record, "a reference triple", most=2, exactly=2)
    statements: list[Statement] = []
    unread: list[str] = []
    listed = read_list(measurements, "measurements", most=_MAX_TRIPLES)
    for number, measurement in enumerate(listed):
        body = read_map(measurement, "a measurement")
        key = _key(body.get(0))
        named = f"{place}[{number}] {'without a key' if key is None else f'{key!r}'}"
        unread += [f"{named}: measurement-map {name}" for name in body if name not in {0, 1}]
        for name, value in read_map(body.get(1), "measurement values").items():
            statements += _statements(name, value, named, key, unread)
    return ReferenceTriple(
        shown(_environment(environment)), tuple(statements), tuple(shown(line) for line in unread)
    )


def _statements(
    name: int | str, value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    reader = _READERS.get(name)
    if reader is None:
        what = _VALUES.get(name) if isinstance(name, int) else None
        unread.append(f"{place}: {what or f'value {name}'}")
    else:
        yield from reader(value, place, key, unread)


def _read_digests(
    value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    found = _digests(value, place, unread)
    if found:
        yield Statement(place, key, "digests", None, found)


def _read_registers(
    value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    for register, digests in read_map(value, "integrity registers").items():
        each = f"{place} register {register!r}"
        found = _digests(digests, each, unread)
        if found:
            yield Statement(each, key, "register", register, found)


def _read_flags(
    value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    del unread
    for flag, bit in read_map(value, "flags").items():
        if not isinstance(bit, bool):
            raise malformed("has a flag that is no bit")
        yield Statement(f"{place} flag {flag}", key, "flag", flag, (bit,))


def _read_version(
    value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    del unread
    yield Statement(place, key, "version", None, (text(read_map(value, "a version").get(0)),))


def _read_security_version(
    value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    del unread
    least = isinstance(value, Tagged) and value.tag == _MIN_SVN
    tagged = isinstance(value, Tagged) and value.tag in {_SVN, _MIN_SVN}
    number = value.value if isinstance(value, Tagged) and tagged else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise malformed("has a security version that is no number")
    yield Statement(place, key, "min-svn" if least else "svn", None, (number,))


def _read_raw(
    value: ForeignValue, place: str, key: int | str | None, unread: list[str]
) -> Iterator[Statement]:
    if not isinstance(value, Tagged) or value.tag != _BYTES:
        unread.append(f"{place}: raw-value of another form, such as a masked one")
    elif isinstance(value.value, bytes):
        yield Statement(place, key, "raw", None, (value.value,))
    else:
        raise malformed("has a raw value that is no byte string")


_Reader = Callable[[ForeignValue, str, int | str | None, list[str]], Iterator[Statement]]
_READERS: Final[Mapping[int | str, _Reader]] = {
    0: _read_version,
    1: _read_security_version,
    2: _read_digests,
    3: _read_flags,
    4: _read_raw,
    14: _read_registers,
}


def _digests(value: ForeignValue, place: str, unread: list[str]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for each in read_list(value, "digests", most=_MAX_TRIPLES):
        algorithm, digest = read_list(each, "a digest", most=2, exactly=2)
        if not isinstance(algorithm, int | str) or isinstance(algorithm, bool):
            raise malformed("has a digest without an algorithm")
        if not isinstance(digest, bytes):
            raise malformed("has a digest that is no byte string")
        size = _SIZES.get(algorithm)
        if size is None:
            unread.append(f"{place}: digest of algorithm {algorithm!r}")
        elif len(digest) != size:
            raise malformed("has a digest of another length than its algorithm's")
        elif digest not in found:
            found.append(digest)
    return tuple(found)


def _key(value: ForeignValue) -> int | str | None:
    """Return a measurement's key: a number or text as it is, tagged ones with their tag."""
    if isinstance(value, Tagged) and value.tag in {OID, UUID} and isinstance(value.value, bytes):
        return f"{'oid' if value.tag == OID else 'uuid'}:{value.value.hex()}"
    if isinstance(value, Tagged):
        return f"tag:{value.tag}"
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return text(value)


def _environment(value: ForeignValue) -> str:
    names: Mapping[int | str, str] = {0: "class", 1: "instance", 2: "group"}
    parts: Map = read_map(value, "an environment")
    return ", ".join(
        f"{names.get(name, str(name))}: {_shown(each)}" for name, each in parts.items()
    )


def _shown(value: ForeignValue) -> str:
    if isinstance(value, Tagged):
        return _shown(value.value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return " ".join(_shown(each) for each in value.values())
    if isinstance(value, list | tuple):
        return " ".join(_shown(each) for each in value)
    return str(value)
