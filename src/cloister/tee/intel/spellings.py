"""Intel's collateral as other tools write it, respelled as the one form that is judged here.

Only what has one meaning is respelled: names of members in another case, hexadecimal digits in
upper case, revocation lists as PEM or base64, and the signature inside of what it signs, as Intel's
library gives both. Nothing is trusted for it: what was signed stays byte for byte, and is judged.

Intel, SGX Data Center Attestation Primitives, `sgx_ql_qve_collateral_t`, has the members' names.
Spec: intel-evidence-v1, below clause INTEL-11.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Final

from cloister.errors import MalformedError
from cloister.tee.intel.statement import MAX_STATEMENT_BYTES
from cloister.wire.strict_json import read_json, write_json

__all__ = ["is_collateral", "respelled", "signed_text"]

_NAMES: Final = {
    name.replace("_", ""): name
    for name in (
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
        "pck_certificate_chain",
    )
}
# What Intel's library says about the form alone.
_FORM: Final = frozenset({"version", "majorversion", "minorversion", "teetype"})
_LISTS: Final = ("root_ca_crl", "pck_crl")
_STATEMENTS: Final = {"tcb_info": "tcbInfo", "qe_identity": "enclaveIdentity"}
_HEX: Final = re.compile("(?:[0-9a-fA-F]{2})+")
_PEM_LIST: Final = re.compile(
    r"\s*-----BEGIN X509 CRL-----\n([A-Za-z0-9+/=\n]+)\n-----END X509 CRL-----\s*"
)
_SIGNATURE: Final = re.compile(r'\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*')
_MAX_BYTES: Final = 262144
_MAX_DEPTH: Final = 9


def is_collateral(found: Mapping[str, object]) -> bool:
    """Tell an object with collateral by a member that nothing else has."""
    return any(_plain(name) in {"tcbinfoissuerchain", "pckcrl"} for name in found) or (
        "tcb_info" in found
    )


def respelled(data: bytes) -> bytes:
    """Return collateral in the one form; the same bytes where there is nothing to respell.

    Raises:
        MalformedError: It is not strict JSON, or a member stands twice.
    """
    found = read_json(
        data,
        what="Intel's collateral",
        max_bytes=_MAX_BYTES,
        max_depth=1,
        code="endorsement.malformed",
    )
    members: dict[str, object] = {}
    for name, value in found.items():
        plain = _plain(name)
        if plain in _FORM or (plain == "pckcertificatechain" and value is None):
            continue
        known = _NAMES.get(plain, name)
        if known in members:
            raise _malformed("a member stands twice")
        members[known] = value
    for name in _LISTS:
        members |= _list(name, members.get(name))
    for name, inner in _STATEMENTS.items():
        members |= _statement(name, inner, members)
    return data if members == found else write_json(members)


def signed_text(body: bytes, member: str) -> tuple[str, str]:
    """Return the text that was signed, byte for byte, and the signature in hexadecimal.

    Args:
        body: Untrusted: an object of exactly the member and then `signature`.
        member: The member's name.

    Raises:
        MalformedError: It is no such object (`endorsement.malformed`, `wire.too-large`).
    """
    read_json(
        body,
        what="an answer of Intel's",
        max_bytes=MAX_STATEMENT_BYTES + 1024,
        max_depth=_MAX_DEPTH,
        code="endorsement.malformed",
    )
    text = body.decode()
    head = re.match(rf'\s*\{{\s*"{member}"\s*:\s*(?=\{{)', text)
    if head is None:
        raise _malformed(member)
    # It was read as a whole: here only its end is looked for.
    _, end = json.JSONDecoder().raw_decode(text, head.end())
    tail = _SIGNATURE.fullmatch(text, end)
    if tail is None:
        raise _malformed("signature")
    return text[head.end() : end], tail[1].lower()


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _list(name: str, value: object) -> dict[str, object]:
    """Return a revocation list's member as digits; nothing where it is left as it is."""
    if not isinstance(value, str):
        return {}
    if _HEX.fullmatch(value):
        return {name: value.lower()}
    pem = _PEM_LIST.fullmatch(value.replace("\r\n", "\n"))
    text = value if pem is None else pem[1].replace("\n", "")
    try:
        return {name: base64.b64decode(text, validate=True).hex()}
    except ValueError:  # whoever reads it says why
        return {}


def _statement(name: str, inner: str, members: Mapping[str, object]) -> dict[str, object]:
    """Return a statement and its signature; nothing where they are left as they are."""
    value, signed = members.get(name), f"{name}_signature"
    signature = members.get(signed)
    if signature is None and isinstance(value, str) and value.lstrip().startswith("{"):
        text, digits = signed_text(value.removesuffix("\0").encode(), inner)
        return {name: text, signed: digits}
    if isinstance(signature, str) and _HEX.fullmatch(signature):
        return {signed: signature.lower()}
    return {}


def _malformed(detail: str) -> MalformedError:
    return MalformedError(
        "an answer of Intel's is not a statement and its signature",
        code="endorsement.malformed",
        detail=detail,
    )
