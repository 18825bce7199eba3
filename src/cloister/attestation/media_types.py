"""What others call the evidence that we read: media types of theirs, and ours.

Only names change here, never bytes: a type stands in the table where its body is byte for byte
what ours is.

Spec: evidence-interop-v1, clauses INT-13 and INT-14.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["THEIR_MEDIA_TYPES", "our_media_type", "their_media_type"]

_CCA: Final = 'application/eat-collection; profile="http://arm.com/CCA-SSD/1.0.0"'

# Theirs to ours. The first that stands for one of ours is the one that is written.
THEIR_MEDIA_TYPES: Final[Mapping[str, str]] = {
    # draft-deeglaze-amd-sev-snp-corim-profile: the report of 1184 bytes
    "application/vnd.amd.sev-snp.attestation-report": "application/vnd.cloister.snp",
    # Veraison's AWS Nitro scheme: the COSE document
    "application/aws-nitro-document": "application/vnd.cloister.nitro",
    # Veraison's Arm CCA scheme: the token of platform and realm
    _CCA: "application/vnd.cloister.cca",
}
# Read, and never written: nobody has registered it.
_ONLY_READ: Final[Mapping[str, str]] = {
    # Examples and tests of CMW: a quote
    "application/vnd.intel.sgx": "application/vnd.cloister.sgx",
}


def our_media_type(media_type: str) -> str:
    """Return our name of a media type; itself where we have none."""
    return _BY_NORMAL.get(_normal(media_type), media_type)


def their_media_type(media_type: str) -> str:
    """Return the name that others read; our own where they have none."""
    for theirs, ours in THEIR_MEDIA_TYPES.items():
        if ours == media_type:
            return theirs
    return media_type


def _normal(media_type: str) -> str:
    """One spelling of a media type: names in lower case, no spaces and no quotes around values."""
    name, *parameters = media_type.split(";")
    parts = [name.strip().lower()]
    for parameter in parameters:
        key, _, value = parameter.strip().partition("=")
        parts.append(key.lower() + "=" + value.removeprefix('"').removesuffix('"'))
    return ";".join(parts)


_BY_NORMAL: Final[Mapping[str, str]] = {
    _normal(theirs): ours for theirs, ours in {**THEIR_MEDIA_TYPES, **_ONLY_READ}.items()
}
