"""Linux's `configfs-tsm` report as Veraison wraps it: a provider, what it signed, and certificates.

Only what was signed is taken out; the certificates beside it (`auxblob`) vouch for nothing here.

Spec: evidence-interop-v1, clause INT-16.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from cloister.crypto.jose import from_base64url
from cloister.errors import MalformedError
from cloister.wire.foreign_cbor import read_foreign
from cloister.wire.strict_json import read_json

__all__ = ["TSM_CBOR", "TSM_JSON", "read_tsm_report"]

TSM_JSON: Final = "application/vnd.veraison.configfs-tsm+json"
TSM_CBOR: Final = "application/vnd.veraison.tsm-report+cbor"
_PROVIDERS: Final[Mapping[str, str]] = {
    "sev_guest": "application/vnd.cloister.snp",
    "tdx_guest": "application/vnd.cloister.tdx",
}
_MEMBERS: Final = frozenset({"provider", "outblob", "auxblob", "service"})
_MAX_BYTES: Final = 262144
_MAX_DEPTH: Final = 3


def read_tsm_report(media_type: str, value: bytes) -> tuple[str, bytes]:
    """Return our media type, and what the provider signed.

    Args:
        media_type: `TSM_JSON` or `TSM_CBOR`.
        value: Untrusted.

    Raises:
        MalformedError: It has another form, or a provider that is not read here
            (`evidence.malformed`).
    """
    found = _json(value) if media_type == TSM_JSON else _cbor(value)
    if not isinstance(found, Mapping) or not found.keys() <= _MEMBERS:
        raise _malformed("it is not a map of its members")
    provider, signed = found.get("provider"), found.get("outblob")
    if not isinstance(provider, str):
        raise _malformed("it names no provider")
    ours = _PROVIDERS.get(provider.removesuffix("\n"))  # as Linux's file has it
    if ours is None:
        raise _malformed("its provider is neither sev_guest nor tdx_guest")
    body = _base64(signed) if media_type == TSM_JSON else signed
    if not isinstance(body, bytes) or not body:
        raise _malformed("it holds nothing that was signed")
    return ours, body


def _json(value: bytes) -> object:
    found: object = read_json(
        value,
        what="TSM report",
        max_bytes=_MAX_BYTES,
        max_depth=_MAX_DEPTH,
        code="evidence.malformed",
    )
    return found


def _cbor(value: bytes) -> object:
    return read_foreign(
        value, what="TSM report", max_bytes=_MAX_BYTES, code="evidence.malformed", tags=()
    )


def _base64(text: object) -> bytes:
    """Read base64 with padding or base64url without: writers have both, and one text has one."""
    if not isinstance(text, str):
        raise _malformed("what was signed is a text of base64 in JSON")
    try:
        data = base64.b64decode(text, validate=True)
        if base64.b64encode(data).decode("ascii") == text:
            return data
    except (binascii.Error, ValueError):
        pass
    try:
        return from_base64url(text, what="what was signed")
    except MalformedError as e:
        raise _malformed("what was signed is base64 in its one spelling") from e


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"TSM report: {problem}", code="evidence.malformed")
