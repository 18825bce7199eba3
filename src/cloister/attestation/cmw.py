"""CMW (RFC 9999): conceptual messages of RATS in the wrapper that others use. Pure.

A record is a type, bytes, and perhaps bits that say what the bytes are; a tag is a record whose
type is a CoAP content format, folded into a CBOR tag; a collection holds either under labels.
A wrapper protects nothing: what is in it stays as untrusted as it was.

Example::

    serialisation, cmw = read_cmw(data)
    evidence = evidence_in(cmw, root.media_types)     # untrusted, to be verified like any other

Spec: evidence-interop-v1, clauses INT-1 to INT-16.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence
from cloister.attestation.media_types import our_media_type
from cloister.attestation.tsm_report import TSM_CBOR, TSM_JSON, read_tsm_report
from cloister.crypto.jose import from_base64url, to_base64url
from cloister.errors import EvidenceError, MalformedError
from cloister.wire.foreign_cbor import ForeignValue, Tagged, read_foreign, write_foreign
from cloister.wire.strict_json import read_json, write_json

__all__ = [
    "EVIDENCE",
    "MAX_CMW_BYTES",
    "Cmw",
    "CmwCollection",
    "CmwRecord",
    "CmwTag",
    "CmwTunnel",
    "Serialisation",
    "content_format_of",
    "evidence_in",
    "evidence_of",
    "items_in",
    "read_cmw",
    "tag_of",
    "write_cbor_cmw",
    "write_json_cmw",
]

Serialisation = Literal["cbor", "json"]

MAX_CMW_BYTES: Final = 524288
EVIDENCE: Final = 4  # bit 2 of the indicator
_MAX_ITEMS: Final = 64
_MAX_ALL_ITEMS: Final = 256
_MAX_DEPTH: Final = 4  # collections within each other, tunnels included
_MAX_TYPE: Final = 512
_MAX_NAME: Final = 255
_MAX_INDICATOR: Final = 2**32 - 1
_MAX_CONTENT_FORMAT: Final = 65024  # RFC 9277: larger ones have no tag
_MAX_UINT16: Final = 65535
_LABEL_MIN, _LABEL_MAX = -(2**63), 2**63 - 1
# RFC 9277, appendix B: 255 numbers, a gap of one, and so on.
_FIRST_TAG: Final = 1668546817
_LAST_TAG: Final = 1668612095
_RUN: Final = 255
_TAGS: Final = range(_FIRST_TAG, _LAST_TAG + 1)
_KIND_KEY: Final = "__cmwc_t"
_TO_JSON: Final = "#cmw-c2j-tunnel"
_TO_CBOR: Final = "#cmw-j2c-tunnel"
_RECORD_PARTS: Final = (2, 3)
_CBOR_STARTS: Final = frozenset({0x82, 0x83, *range(0xA0, 0xBC), *range(0xC0, 0xDC)})
_JSON_STARTS: Final = frozenset(b"[{")
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_WORD: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_CONTENT_TYPE: Final = re.compile(
    rf"{_NAME}/{_NAME}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|{_QUOTED}))*"
)
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_Item = TypeVar("_Item")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"CMW: {problem}", code="cmw.malformed")


@dataclass(frozen=True, slots=True)
class CmwRecord:
    """A conceptual message with its type.

    Attributes:
        type: A content type, or the number of a CoAP content format, in CBOR only.
        value: Untrusted.
        indicator: Bits of what the value is, unknown ones included; None where it does not say.
    """

    type: str | int
    value: bytes
    indicator: int | None

    def __post_init__(self) -> None:
        """Refuse what no reader would take."""
        if isinstance(self.type, bool) or (
            isinstance(self.type, int) and not 0 <= self.type <= _MAX_UINT16
        ):
            raise _malformed("a content format is a number from 0 to 65535")
        if isinstance(self.type, str) and (
            len(self.type) > _MAX_TYPE or not _CONTENT_TYPE.fullmatch(self.type)
        ):
            raise _malformed("a record's type is not a content type")
        _require_value(self.value)
        if self.indicator is not None and not 0 < self.indicator <= _MAX_INDICATOR:
            raise _malformed("an indicator has 1 to 32 bits, of which one is set")


@dataclass(frozen=True, slots=True)
class CmwTag:
    """A conceptual message under a CBOR tag that stands for its content format; CBOR only."""

    content_format: int
    value: bytes

    def __post_init__(self) -> None:
        """Refuse what has no tag."""
        tag_of(self.content_format)
        _require_value(self.value)


@dataclass(frozen=True, slots=True)
class CmwTunnel:
    """A CMW in a collection of the other serialisation.

    Attributes:
        serialisation: Its own, which its collection has not.
        inner: What is in it.
    """

    serialisation: Serialisation
    inner: Cmw


@dataclass(frozen=True, slots=True)
class CmwCollection:
    """CMWs under labels, in their order, which means nothing.

    Attributes:
        kind: A URI or an object identifier that says what it is; None where it does not.
        items: At least one; labels are texts, or integers in CBOR.
    """

    kind: str | None
    items: tuple[tuple[int | str, CmwItem], ...]

    def __post_init__(self) -> None:
        """Refuse what no reader would take."""
        if not 0 < len(self.items) <= _MAX_ITEMS:
            raise _malformed(f"a collection has 1 to {_MAX_ITEMS} items")
        labels = [label for label, _ in self.items]
        if len(set(labels)) != len(labels) or not all(_is_label(label) for label in labels):
            raise _malformed("a label is a text that is not blank, or an integer, and stands once")
        if self.kind is not None and (
            len(self.kind) > _MAX_NAME
            or not (_OID.fullmatch(self.kind) or _URI.fullmatch(self.kind))
        ):
            raise _malformed("the type of a collection is an absolute URI or object identifier")


Cmw = CmwRecord | CmwTag | CmwCollection
CmwItem = Cmw | CmwTunnel


def tag_of(content_format: int) -> int:
    """Return the CBOR tag of a CoAP content format (RFC 9277, TN).

    Raises:
        MalformedError: It has none (`cmw.malformed`).
    """
    if not 0 <= content_format <= _MAX_CONTENT_FORMAT:
        raise _malformed("that content format has no tag")
    run, place = divmod(content_format, _RUN)
    return _FIRST_TAG + run * (_RUN + 1) + place


def content_format_of(tag: int) -> int:
    """Return the CoAP content format of a CBOR tag.

    Raises:
        MalformedError: It stands for none (`cmw.malformed`).
    """
    run, place = divmod(tag - _FIRST_TAG, _RUN + 1)
    if tag not in _TAGS or place == _RUN:
        raise _malformed("a tag that stands for no content format")
    return run * _RUN + place


def read_cmw(data: bytes) -> tuple[Serialisation, Cmw]:
    """Read a CMW from untrusted bytes that hold nothing else; the first byte says which form.

    Raises:
        MalformedError: It is none, in CBOR or JSON with one reading (`cmw.malformed`), or a limit
            is exceeded (`cmw.malformed`, `wire.too-large`).

    Spec: evidence-interop-v1, clauses INT-1 to INT-12.
    """
    if len(data) > MAX_CMW_BYTES:
        raise MalformedError(
            f"a CMW is longer than the {MAX_CMW_BYTES} bytes allowed here", code="wire.too-large"
        )
    if data[:1] and data[0] in _CBOR_STARTS:
        return "cbor", _whole(_Reader().cbor(data, depth=0))
    if data[:1] and data[0] in _JSON_STARTS:
        return "json", _whole(_Reader().json(data, depth=0))
    raise _malformed("its first byte is that of none of its forms")


def write_cbor_cmw(cmw: Cmw) -> bytes:
    """Write a CMW in CBOR.

    Raises:
        MalformedError: It would be no CMW that is read here (`cmw.malformed`, `wire.too-large`).
    """
    return _reread(write_foreign(_to_cbor(cmw)))


def write_json_cmw(cmw: Cmw) -> bytes:
    """Write a CMW in JSON.

    Raises:
        MalformedError: Something in it has no form there, such as a tag, or it would be no CMW
            that is read here (`cmw.malformed`, `wire.too-large`).
    """
    return _reread(write_json(_to_json(cmw)))


def evidence_in(cmw: Cmw, media_types: Collection[str]) -> Evidence:
    """Return the one piece of evidence of these kinds that a CMW holds.

    Args:
        cmw: Untrusted.
        media_types: Of the root of trust that is asked for, by our names.

    Raises:
        EvidenceError: None or several are of these kinds, or what is says of itself that it is no
            evidence (`evidence.kind`).
        MalformedError: It is longer than evidence is.
    """
    fitting = [found for found in _named(cmw) if found[1].media_type in media_types]
    if len(fitting) != 1:
        raise EvidenceError(
            f"the CMW holds {len(fitting) or 'no'} pieces of evidence of that kind",
            code="evidence.kind",
            hint="`cloister evidence convert --item LABEL` takes one out of a collection",
        )
    record, evidence = fitting[0]
    if record.indicator is not None and not record.indicator & EVIDENCE:
        raise EvidenceError(
            "the CMW says of what it holds that it is no evidence", code="evidence.kind"
        )
    if len(evidence.body) > MAX_EVIDENCE_BYTES:
        raise _malformed(f"evidence has at most {MAX_EVIDENCE_BYTES} bytes")
    return evidence


def items_in(cmw: Cmw) -> Iterator[tuple[tuple[int | str, ...], CmwRecord | CmwTag]]:
    """Give every record and tag with its path of labels, tunnels opened."""
    if not isinstance(cmw, CmwCollection):
        yield (), cmw
        return
    for label, item in cmw.items:
        inner = item.inner if isinstance(item, CmwTunnel) else item
        for path, found in items_in(inner):
            yield (label, *path), found


def evidence_of(record: CmwRecord) -> Evidence:
    """Return what a record with a content type holds, by our name for it, of whatever kind.

    Raises:
        MalformedError: It is a report around evidence, of another form (`evidence.malformed`).
    """
    media_type = our_media_type(str(record.type))
    if media_type in {TSM_JSON, TSM_CBOR}:
        return Evidence(*read_tsm_report(media_type, record.value))
    return Evidence(media_type, record.value)


def _named(cmw: Cmw) -> Iterator[tuple[CmwRecord, Evidence]]:
    """Give the records with what they hold, by our names; numbers have none."""
    for _, item in items_in(cmw):
        if isinstance(item, CmwRecord) and isinstance(item.type, str):
            yield item, evidence_of(item)


class _Reader:
    """Reads one CMW, tunnels included, and counts what is in it."""

    def __init__(self) -> None:
        self._left = _MAX_ALL_ITEMS

    def cbor(self, data: bytes, *, depth: int) -> CmwItem:
        value = read_foreign(
            data, what="CMW", max_bytes=MAX_CMW_BYTES, code="cmw.malformed", tags=_TAGS
        )
        return self._cbor(value, depth)

    def json(self, data: bytes, *, depth: int) -> CmwItem:
        value = read_json(
            data,
            what="CMW",
            max_bytes=MAX_CMW_BYTES,
            max_depth=_MAX_DEPTH + 1,
            code="cmw.malformed",
        )
        return self._json(value, depth)

    def _cbor(self, value: ForeignValue, depth: int) -> CmwItem:
        self._count()
        if isinstance(value, Tagged):
            return CmwTag(content_format_of(value.tag), _octets(value.value))
        if isinstance(value, Mapping):
            kind, items = _parts(value, depth)
            return CmwCollection(
                kind, tuple((label, self._cbor(item, depth + 1)) for label, item in items)
            )
        if isinstance(value, Sequence) and not isinstance(value, bytes | str):
            if len(value) == len((_TO_CBOR, b"")) and value[0] == _TO_CBOR:
                inner = self.json(_octets(value[1]), depth=_deeper(depth))
                return CmwTunnel("json", _whole(inner))
            kind_of, content, indicator = _record(value)
            if not isinstance(kind_of, int | str):
                raise _malformed("a record's type is a text or a number")
            return CmwRecord(kind_of, _octets(content), indicator)
        raise _malformed("an item of no form")

    def _json(self, value: object, depth: int) -> CmwItem:
        self._count()
        if isinstance(value, dict):
            kind, items = _parts(value, depth)
            return CmwCollection(
                kind, tuple((label, self._json(item, depth + 1)) for label, item in items)
            )
        if isinstance(value, list):
            if len(value) == len((_TO_JSON, "")) and value[0] == _TO_JSON:
                inner = self.cbor(_base64url(value[1]), depth=_deeper(depth))
                return CmwTunnel("cbor", _whole(inner))
            kind_of, content, indicator = _record(value)
            if not isinstance(kind_of, str):
                raise _malformed("a record's type is a text in JSON")
            return CmwRecord(kind_of, _base64url(content), indicator)
        raise _malformed("an item of no form")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _malformed(f"more than {_MAX_ALL_ITEMS} items")


def _parts(
    value: Mapping[int | str, _Item], depth: int
) -> tuple[str | None, list[tuple[int | str, _Item]]]:
    """Take a collection apart; its items are not looked at."""
    _deeper(depth)
    kind = value.get(_KIND_KEY)
    if _KIND_KEY in value and not isinstance(kind, str):
        raise _malformed("the type of a collection is a text")
    items = [(label, item) for label, item in value.items() if label != _KIND_KEY]
    if not 0 < len(items) <= _MAX_ITEMS:
        raise _malformed(f"a collection has 1 to {_MAX_ITEMS} items")
    return kind if isinstance(kind, str) else None, items


def _deeper(depth: int) -> int:
    if depth >= _MAX_DEPTH:
        raise _malformed("collections and tunnels are nested too deeply")
    return depth + 1


def _record(value: Sequence[object]) -> tuple[object, object, int | None]:
    if len(value) not in _RECORD_PARTS:
        raise _malformed("a record has two or three parts")
    indicator = value[2] if len(value) == _RECORD_PARTS[1] else None
    if len(value) == _RECORD_PARTS[1] and (
        isinstance(indicator, bool) or not isinstance(indicator, int)
    ):
        raise _malformed("an indicator is a number")
    return value[0], value[1], indicator if isinstance(indicator, int) else None


def _octets(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _malformed("a value is a byte string in CBOR")
    return value


def _base64url(value: object) -> bytes:
    if not isinstance(value, str):
        raise _malformed("a value is a text of base64url in JSON")
    try:
        return from_base64url(value, what="a value")
    except MalformedError as e:
        raise _malformed("a value is base64url without padding, in its one spelling") from e


def _require_value(value: bytes) -> None:
    if not value:
        raise _malformed("a value is empty")


def _is_label(label: int | str) -> bool:
    if isinstance(label, str):
        return 0 < len(label) <= _MAX_NAME and bool(label.strip()) and label != _KIND_KEY
    return not isinstance(label, bool) and _LABEL_MIN <= label <= _LABEL_MAX


def _whole(item: CmwItem) -> Cmw:
    if isinstance(item, CmwTunnel):
        raise _malformed("a tunnel stands in a collection, and nowhere else")
    return item


def _to_cbor(item: CmwItem) -> ForeignValue:
    if isinstance(item, CmwTag):
        return Tagged(tag_of(item.content_format), item.value)
    if isinstance(item, CmwRecord):
        last = () if item.indicator is None else (item.indicator,)
        return [item.type, item.value, *last]
    if isinstance(item, CmwTunnel):
        if item.serialisation != "json":
            raise _malformed("a tunnel in CBOR holds JSON")
        return [_TO_CBOR, write_json(_to_json(item.inner))]
    kind: dict[int | str, ForeignValue] = {} if item.kind is None else {_KIND_KEY: item.kind}
    return kind | {label: _to_cbor(each) for label, each in item.items}


def _to_json(item: CmwItem) -> object:
    if isinstance(item, CmwTag) or (isinstance(item, CmwRecord) and isinstance(item.type, int)):
        raise _malformed("content formats and tags have no form in JSON")
    if isinstance(item, CmwRecord):
        last = () if item.indicator is None else (item.indicator,)
        return [item.type, to_base64url(item.value), *last]
    if isinstance(item, CmwTunnel):
        if item.serialisation != "cbor":
            raise _malformed("a tunnel in JSON holds CBOR")
        return [_TO_JSON, to_base64url(write_foreign(_to_cbor(item.inner)))]
    if not all(isinstance(label, str) for label, _ in item.items):
        raise _malformed("labels are texts in JSON")
    kind: dict[str, object] = {} if item.kind is None else {_KIND_KEY: item.kind}
    return kind | {str(label): _to_json(each) for label, each in item.items}


def _reread(data: bytes) -> bytes:
    """What a reader would refuse is not written."""
    read_cmw(data)
    return data
