"""NVIDIA's reference integrity manifests (RIM): the measurements of a driver or a VBIOS, signed.

A manifest is a SWID tag (ISO/IEC 19770-2:2015) with TCG's attributes (TCG RIM Information Model
1.01) and an enveloped XML signature (W3C XML Signature 1.1) of one form: the whole document without
the signature, canonical XML 1.1, SHA-384, ECDSA on P-384. What is read here is what was signed:
the same tree gives the measurements and the digest, and the signature is the last element of it.

Manifests are large, and many verdicts use the same ones: the last few stay read, by all of their
bytes, and so does a signature that held. Whose path it is and when is judged elsewhere, every time.

Spec: nvidia-evidence-v1, clauses NV-20 to NV-26 and NV-30.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloister.crypto.chain import MAX_PATH, Certificate
from cloister.crypto.digest import require_equal
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EndorsementError, MalformedError
from cloister.tee.nvidia.swid_xml import Element, canonical, read_xml

__all__ = ["RIM_MEDIA_TYPE", "Resource", "Rim", "RimContent"]

RIM_MEDIA_TYPE: Final = "application/swid+xml"

_SWID: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_RIM: Final = (
    "https://trustedcomputinggroup.org/resource/"
    "tcg-reference-integrity-manifest-rim-information-model/"
)
_SHA384: Final = "http://www.w3.org/2001/04/xmlenc#sha384"
_DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
_C14N: Final = "http://www.w3.org/2006/12/xml-c14n11"
_ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_ECDSA: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_DIGEST: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"

_HASH_BYTES: Final = 48
_SIGNATURE_BYTES: Final = 96
_MAX_INDEX: Final = 253
_MAX_ALTERNATIVES: Final = 64
# Drivers and VBIOS of several fleets; one read takes 75 KiB, and at most half a MiB.
_REMEMBERED: Final = 16
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_DIGEST_TEXT: Final = re.compile(r"[0-9a-fA-F]{96}")
_VERSION: Final = re.compile(r"[0-9A-Za-z.]{1,64}")
_CHIP: Final = re.compile(r"[0-9A-Z]{1,16}")
_RESOURCE: Final = frozenset({"type", "index", "active", "alternatives", "name", "size"})


@dataclass(frozen=True, slots=True)
class Resource:
    """One reference measurement.

    Attributes:
        index: Its index: that of the report's block less one.
        active: Whether it is to be compared.
        hashes: The values that are good.
    """

    index: int
    active: bool
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RimContent:
    """What a manifest says.

    Attributes:
        chip: Which chip it is for, such as `GH100`.
        version: Of the driver or VBIOS, as reports have it.
        tag_id: The manifest's own name.
        resources: The measurements, each index once.
    """

    chip: str
    version: str
    tag_id: str
    resources: tuple[Resource, ...]

    @property
    def active(self) -> dict[int, tuple[bytes, ...]]:
        """Good values, by the index of those that are to be compared."""
        return {each.index: each.hashes for each in self.resources if each.active}

    def to_xml(self) -> str:
        """Return the canonical document without its signature, for `Rim.assemble`."""
        rows = "".join(
            f'<ns0:Resource active="{each.active}" alternatives="{len(each.hashes)}"'
            f' index="{each.index}" name="Measurement_{each.index}" size="{_HASH_BYTES}"'
            ' type="Measurement"'
            + "".join(
                f' ns2:Hash{n}="{each.hashes[int(n)].hex()}"'
                for n in sorted(str(n) for n in range(len(each.hashes)))
            )
            + "></ns0:Resource>"
            for each in self.resources
        )
        return (
            f'<SoftwareIdentity xmlns="{_SWID}" xmlns:ns0="{_SWID}" xmlns:ns2="{_SHA384}"'
            f' name="{self.chip}" tagId="{self.tag_id}" tagVersion="0" version="1.0">'
            '<ns0:Entity name="NVIDIA Corporation" role="softwareCreator tagCreator"></ns0:Entity>'
            f'<ns0:Meta xmlns:ns1="{_RIM}" PayloadType="direct"'
            f' colloquialVersion="{self.version}" product="{self.chip}"'
            ' ns1:BindingSpec="RIMIM" ns1:BindingSpecVersion="1.01"></ns0:Meta>'
            f"<ns0:Payload>{rows}</ns0:Payload></SoftwareIdentity>"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rim:
    """A manifest and its signature; nobody has checked it yet.

    Attributes:
        content: What it says.
        digest: SHA-384 of its canonical bytes without the signature.
        signed_digest: What the signature says that digest is.
        signed: The canonical bytes that the signature is over.
        signature: r and s.
        path: The signer's certificate first, its root last.
    """

    content: RimContent
    digest: bytes
    signed_digest: bytes
    signed: bytes
    signature: bytes
    path: tuple[Certificate, ...]

    @staticmethod
    def from_xml(data: bytes) -> Rim:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no manifest of this form (`endorsement.malformed`), or hold
                certificates that cannot be read (`certificate.malformed`).
        """
        return _read(data)

    def require_signed(self) -> None:
        """Check that the first certificate's key signed what was read; judge the path elsewhere.

        Raises:
            EndorsementError: It did not (`endorsement.signature`).
        """
        require_equal(self.digest, self.signed_digest, error=_forged())
        _require_signature(self.path[0].public_key, self.signed, self.signature)

    @staticmethod
    def to_be_signed(content: RimContent) -> bytes:
        """Return the canonical bytes that a signer of this content signs."""
        return _signed_info(
            _sha384(content.to_xml().encode("ascii")),
            f' xmlns="{_SWID}" xmlns:ds="{_DSIG}" xmlns:ns0="{_SWID}" xmlns:ns2="{_SHA384}"',
        ).encode("ascii")

    @staticmethod
    def assemble(content: RimContent, signature: bytes, path: Sequence[Certificate]) -> bytes:
        """Return a manifest's bytes from what `to_be_signed` was signed with."""
        document = content.to_xml()
        certificates = "".join(
            "<ds:X509Certificate>"
            + base64.b64encode(each.der).decode("ascii")
            + "</ds:X509Certificate>"
            for each in path
        )
        element = (
            f'<ds:Signature xmlns:ds="{_DSIG}">'
            + _signed_info(_sha384(document.encode("ascii")), "")
            + f"<ds:SignatureValue>{base64.b64encode(signature).decode('ascii')}"
            + f"</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{certificates}"
            + "</ds:X509Data></ds:KeyInfo></ds:Signature>"
        )
        end = "</SoftwareIdentity>"
        return (document.removesuffix(end) + element + end + "\n").encode("ascii")


@lru_cache(maxsize=_REMEMBERED)
def _read(data: bytes) -> Rim:
    root = read_xml(data)
    _require(root, _SWID, "SoftwareIdentity")
    parts = root.elements
    if [part.name for part in parts] != ["Entity", "Meta", "Payload", "Signature"]:
        raise _malformed("does not have the parts of a manifest")
    _, meta, payload, signature = parts
    for part in parts[:3]:
        _require(part, _SWID, part.name)
    signed_info, value, key_info = _named(
        signature, "Signature", ("SignedInfo", "SignatureValue", "KeyInfo")
    )
    scope = root.namespaces | signature.namespaces
    return Rim(
        content=_content(root, meta, payload),
        digest=_sha384(canonical(root, inherited={}, without=signature)),
        signed_digest=_signed_digest(signed_info),
        signed=canonical(signed_info, inherited=scope, without=None),
        signature=_base64(value.text, _SIGNATURE_BYTES),
        path=_certificates(key_info),
    )


@lru_cache(maxsize=_REMEMBERED)
def _require_signature(public_key: bytes, signed: bytes, signature: bytes) -> None:
    """Check the signature over exactly these bytes; what held is remembered by all of them."""
    key = EcdsaKey.from_spki(public_key, "P-384")
    key.verify(signed, signature, "SHA-384", error=_forged())


def _forged() -> EndorsementError:
    return EndorsementError(
        "a reference integrity manifest was changed, or not signed by its signer",
        code="endorsement.signature",
    )


def _content(root: Element, meta: Element, payload: Element) -> RimContent:
    chip, version = _attribute(meta, "product"), _attribute(meta, "colloquialVersion")
    if not _CHIP.fullmatch(chip) or not _VERSION.fullmatch(version):
        raise _malformed("names no chip or version")
    if _attribute(root, "name") != chip or _attribute(meta, "PayloadType") != "direct":
        raise _malformed("is for another chip than it says, or points elsewhere")
    resources = tuple(_resource(each) for each in payload.elements)
    if not resources or len({each.index for each in resources}) != len(resources):
        raise _malformed("has no measurements, or one twice")
    if not any(each.active for each in resources):
        raise _malformed("compares nothing")
    return RimContent(chip, version, _attribute(root, "tagId"), resources)


def _resource(element: Element) -> Resource:
    _require(element, _SWID, "Resource")
    if element.children or {key[1] for key in element.attributes if not key[0]} != _RESOURCE:
        raise _malformed("has a resource that is not understood")
    if _attribute(element, "type") != "Measurement" or _attribute(element, "size") != "48":
        raise _malformed("has a resource that is no SHA-384 measurement")
    hashes = {key[1]: value for key, value in element.attributes.items() if key[0] == _SHA384}
    count = _number(element, "alternatives", _MAX_ALTERNATIVES)
    names = [f"Hash{n}" for n in range(count)]
    if not count or set(hashes) != set(names) or len(element.attributes) != count + len(_RESOURCE):
        raise _malformed("does not have the values that it says")
    if not all(_DIGEST_TEXT.fullmatch(value) for value in hashes.values()):
        raise _malformed("has a value that is no SHA-384 digest")
    active = _attribute(element, "active")
    if active not in ("True", "False"):
        raise _malformed("does not say whether a measurement counts")
    return Resource(
        index=_number(element, "index", _MAX_INDEX),
        active=active == "True",
        hashes=tuple(bytes.fromhex(hashes[name]) for name in names),
    )


def _signed_digest(signed_info: Element) -> bytes:
    """Read SignedInfo, of which exactly one form is accepted, and return the digest in it."""
    method, signing, reference = _named(
        signed_info, "SignedInfo", ("CanonicalizationMethod", "SignatureMethod", "Reference")
    )
    _algorithm(method, _C14N)
    _algorithm(signing, _ECDSA)
    transforms, digest, value = _named(
        reference, "Reference", ("Transforms", "DigestMethod", "DigestValue"), {("", "URI"): ""}
    )
    enveloped, canonical_form = _named(transforms, "Transforms", ("Transform", "Transform"))
    _algorithm(enveloped, _ENVELOPED)
    _algorithm(canonical_form, _C14N)
    _algorithm(digest, _DIGEST)
    return _base64(value.text, _HASH_BYTES)


def _signed_info(digest: bytes, namespaces: str) -> str:
    def method(name: str, algorithm: str) -> str:
        return f'<ds:{name} Algorithm="{algorithm}"></ds:{name}>'

    return (
        f"<ds:SignedInfo{namespaces}>"
        + method("CanonicalizationMethod", _C14N)
        + method("SignatureMethod", _ECDSA)
        + '<ds:Reference URI=""><ds:Transforms>'
        + method("Transform", _ENVELOPED)
        + method("Transform", _C14N)
        + "</ds:Transforms>"
        + method("DigestMethod", _DIGEST)
        + f"<ds:DigestValue>{base64.b64encode(digest).decode('ascii')}</ds:DigestValue>"
        + "</ds:Reference></ds:SignedInfo>"
    )


def _certificates(key_info: Element) -> tuple[Certificate, ...]:
    (data,) = _named(key_info, "KeyInfo", ("X509Data",))
    found = data.elements
    if not 0 < len(found) <= MAX_PATH:
        raise _malformed("has no chain of certificates")
    _named(data, "X509Data", ("X509Certificate",) * len(found))
    return tuple(Certificate.from_der(_base64(each.text, None)) for each in found)


def _named(
    element: Element,
    name: str,
    children: tuple[str, ...],
    attributes: Mapping[tuple[str, str], str] | None = None,
) -> list[Element]:
    """Return an element's children, which are exactly these, in this order."""
    _require(element, _DSIG, name)
    found = element.elements
    if [each.name for each in found] != list(children) or element.attributes != (attributes or {}):
        raise _malformed(f"has another {name} than the one form that is read")
    for each in found:
        _require(each, _DSIG, each.name)
    return found


def _algorithm(element: Element, wanted: str) -> None:
    if element.children or element.attributes != {("", "Algorithm"): wanted}:
        raise _malformed(f"has another {element.name} than the one that is read")


def _require(element: Element, uri: str, name: str) -> None:
    if (element.uri, element.name) != (uri, name):
        raise _malformed(f"has {element.name} in the place of {name}")


def _attribute(element: Element, name: str) -> str:
    value = element.attributes.get(("", name))
    if value is None:
        raise _malformed(f"has no {name}")
    return value


def _number(element: Element, name: str, maximum: int) -> int:
    text = _attribute(element, name)
    if not _NUMBER.fullmatch(text) or int(text) > maximum:
        raise _malformed(f"has no number as {name}")
    return int(text)


def _base64(text: str, length: int | None) -> bytes:
    """Read base64, which may be broken into lines."""
    joined = text.replace("\n", "").replace(" ", "")
    try:
        data = base64.b64decode(joined, validate=True)
    except ValueError as e:
        raise _malformed("has base64 that is wrong") from e
    if base64.b64encode(data).decode("ascii") != joined or length not in (None, len(data)):
        raise _malformed("has base64 that is wrong")
    return data


def _sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"a reference integrity manifest {problem}", code="endorsement.malformed")
