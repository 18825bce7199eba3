"""A CoRIM, signed or not, from untrusted bytes. Nothing is trusted by reading.

Spec: reference-values-v1, clauses REF-1 to REF-9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.vendor_keys import Curve, EcdsaKey, Hash
from cloister.errors import EndorsementError
from cloister.tee.corim.comid import Module, ReferenceTriple, read_module
from cloister.tee.corim.values import (
    COMID,
    COSWID,
    COTL,
    OID,
    SIGN1,
    UNSIGNED,
    URI,
    WRAPPER,
    Map,
    Validity,
    identifier,
    malformed,
    read_list,
    read_map,
    read_part,
    shown,
    text,
    validity,
    whole_seconds,
)
from cloister.wire.foreign_cbor import ForeignValue, Tagged, write_foreign

__all__ = ["CONTENT_TYPE", "Corim", "CorimSignature"]

CONTENT_TYPE: Final = "application/rim+cbor"
_MAX_TAGS: Final = 64
_MAX_STATEMENTS: Final = 4096
_MAX_UNREAD: Final = 1024
_PARTS: Final = 4
_SUITES: Final[Mapping[int, tuple[Curve, Hash]]] = {
    -7: ("P-256", "SHA-256"),
    -35: ("P-384", "SHA-384"),
}
# Header parameters (RFC 9052, RFC 9597; the draft's section 4.2.1, hash envelopes).
_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _META, _CLAIMS, _HASHED = 1, 2, 3, 8, 15, 258
_ISSUER, _EXPIRES, _NOT_BEFORE = 1, 4, 5
_MAP_NAMES: Final[Mapping[int | str, str]] = {2: "dependent-rims", 5: "entities"}
_TAG_NAMES: Final = {COSWID: "CoSWID", COTL: "CoTL"}


@dataclass(frozen=True, slots=True)
class CorimSignature:
    """COSE_Sign1 around a CoRIM; nobody has checked it yet.

    Attributes:
        algorithm: -7 for ES256, -35 for ES384.
        signer: Who says to have signed it.
        validity: Of the signature.
        protected: The signed header.
        payload: The signed content.
        signature: r and s.
    """

    algorithm: int
    signer: str
    validity: Validity
    protected: bytes
    payload: bytes
    signature: bytes

    @property
    def curve(self) -> Curve:
        """The curve of the key that its algorithm takes."""
        return _SUITES[self.algorithm][0]


@dataclass(frozen=True, slots=True)
class Corim:
    """A CoRIM that parses.

    Attributes:
        id: Its identifier.
        profile: What its measurement keys mean; empty where it says nothing.
        validity: Of its content.
        triples: The reference values.
        unread: What is in it beside them and is not read here, each with its place.
        signature: What is around it; None for an unsigned one.
    """

    id: str
    profile: str
    validity: Validity
    triples: tuple[ReferenceTriple, ...]
    unread: tuple[str, ...]
    signature: CorimSignature | None

    @classmethod
    def from_bytes(cls, data: bytes) -> Corim:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no CoRIM of the form that is read (`corim.malformed`).
        """
        value = read_part(data, "a CoRIM")
        if isinstance(value, Tagged) and value.tag == WRAPPER:
            value = value.value
        signature = None
        if isinstance(value, Tagged) and value.tag == SIGN1:
            signature = _signature(value.value)
            value = read_part(signature.payload, "the content of a CoRIM")
        if not isinstance(value, Tagged) or value.tag != UNSIGNED:
            raise malformed("has no tag 501")
        return _corim(read_map(value.value, "a corim-map"), signature)

    def require_signed(self, key: EcdsaKey, *, at: int) -> None:
        """Check that a key, chosen by the caller, signed it, and that it counts at an instant.

        Raises:
            EndorsementError: It did not (`corim.signature`), or not then (`corim.validity`).
        """
        wrong = EndorsementError("the key did not sign this CoRIM", code="corim.signature")
        found = self.signature
        if found is None or key.curve != found.curve:
            raise wrong
        signed = write_foreign(["Signature1", found.protected, b"", found.payload])
        key.verify(signed, found.signature, _SUITES[found.algorithm][1], error=wrong)
        found.validity.require(at)
        self.validity.require(at)

    def require_unsigned(self, *, at: int) -> None:
        """Check that nobody signed it, so that no signature is passed over, and that it counts.

        Raises:
            EndorsementError: Somebody did (`corim.signature`), or not then (`corim.validity`).
        """
        if self.signature is not None:
            raise EndorsementError(
                "this CoRIM is signed, and no key was named to judge that by",
                code="corim.signature",
            )
        self.validity.require(at)


def _signature(value: ForeignValue) -> CorimSignature:
    parts = read_list(value, "COSE_Sign1", most=_PARTS, exactly=_PARTS)
    protected, unprotected, payload, signature = parts
    if not (isinstance(protected, bytes) and isinstance(signature, bytes)):
        raise malformed("has no signed header or no signature")
    if not isinstance(unprotected, Mapping) or not isinstance(payload, bytes):
        raise malformed("is signed apart from its content, which is not read here")
    header = read_map(read_part(protected, "a signed header"), "a signed header")
    algorithm = header.get(_ALGORITHM)
    if not isinstance(algorithm, int) or algorithm not in _SUITES:
        raise malformed("is signed with another algorithm than ES256 and ES384")
    if header.get(_CONTENT_TYPE) != CONTENT_TYPE or _CRITICAL in header or _HASHED in header:
        raise malformed("has another content type, or header parameters that must be understood")
    signer, limits = _signer(header)
    return CorimSignature(algorithm, signer, limits, protected, payload, signature)


def _signer(header: Map) -> tuple[str, Validity]:
    """Read who signed and for how long: from corim-meta, CWT claims, or both where they agree."""
    found: list[tuple[str, Validity]] = []
    if _META in header:
        body = header[_META]
        if not isinstance(body, bytes):
            raise malformed("has a corim-meta that is no byte string")
        meta = read_map(read_part(body, "a corim-meta"), "a corim-meta")
        signer = read_map(meta.get(0), "a signer")
        found.append((text(signer.get(0)), validity(meta.get(1))))
    if _CLAIMS in header:
        claims = read_map(header[_CLAIMS], "CWT claims")
        limits = (whole_seconds(claims.get(_NOT_BEFORE)), whole_seconds(claims.get(_EXPIRES)))
        found.append((text(claims.get(_ISSUER)), Validity(*limits)))
    if not found or any(each != found[0] for each in found):
        raise malformed("does not say who signed it, or says it twice and differently")
    return found[0]


def _corim(body: Map, signature: CorimSignature | None) -> Corim:
    unread = [
        _MAP_NAMES.get(name, f"corim-map {name}") for name in body if name not in {0, 1, 3, 4}
    ]
    modules: list[Module] = []
    for number, tag in enumerate(read_list(body.get(1), "tags", most=_MAX_TAGS)):
        place = f"tags[{number}]"
        if not isinstance(tag, Tagged) or not isinstance(tag.value, bytes):
            raise malformed("has a tag of another form")
        if tag.tag == COMID:
            modules.append(read_module(tag.value, place))
        else:
            unread.append(f"{place}: {_TAG_NAMES.get(tag.tag, f'tag {tag.tag}')}")
    gone = {each for module in modules for each in module.replaces}
    triples: list[ReferenceTriple] = []
    for module in modules:
        unread += module.unread
        if module.id in gone:
            unread.append(f"{module.place}: replaced by another tag of this file")
        else:
            triples += module.triples
    if sum(len(each.statements) for each in triples) > _MAX_STATEMENTS:
        raise malformed("has too many values")
    if len(unread) + sum(len(each.unread) for each in triples) > _MAX_UNREAD:
        raise malformed("has too much that is not read here")
    return Corim(
        id=identifier(body.get(0)),
        profile=_profile(body.get(3)),
        validity=validity(body.get(4)),
        triples=tuple(triples),
        unread=tuple(shown(line) for line in unread),
        signature=signature,
    )


def _profile(value: ForeignValue) -> str:
    if value is None:
        return ""
    if isinstance(value, Tagged) and value.tag == OID and isinstance(value.value, bytes):
        return f"oid:{value.value.hex()}"
    return text(value.value if isinstance(value, Tagged) and value.tag == URI else value)
