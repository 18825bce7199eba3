"""What reads private queries, for the fuzzer: both ends' messages, and the gate that decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloister.crypto.kem import XWingKey
from cloister.inference.private.binary_http import read_request, read_response
from cloister.inference.private.envelope import (
    PRIVATE,
    SUITE,
    KeyConfiguration,
    SealedRequest,
    encapsulate,
    open_request,
    read_header,
    seal_request,
)
from cloister.inference.private.gate import QUERY_TARGET
from cloister.inference.private.keys import PrivateKeys, read_keys, verify_keys
from cloister.inference.private.request_auth import SignedRequest
from cloister.inference.service import HTTPRequest
from cloister.testing.certificates import POLICY_HASH, FakeDomain
from cloister.testing.private import NOW, Enclave

__all__ = ["PRIVATE_QUERIES"]

_FOLDER: Final = Path(__file__).parents[2] / "docs/spec/vectors/private-query-v1"
_DOMAIN: Final = FakeDomain("clinic.example", at=NOW)
_ENCLAVE: Final = Enclave(_DOMAIN)
_DOCUMENT: Final = _ENCLAVE.ring.document(at=NOW)
_STATEMENT: Final = read_keys(_DOCUMENT)[0]
_KEYS: Final = PrivateKeys.from_bytes(_STATEMENT)
_KEY: Final = XWingKey(bytes(range(96)))
_PUBLIC_BYTES: Final = {SUITE.kem: XWingKey.public_bytes}


def _vectors(kind: str, **having: str) -> list[bytes]:
    vectors = [json.loads(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.json"))]
    return [
        bytes.fromhex(each["bytes"])
        for each in vectors
        if each["kind"] == kind
        and each["expect"] == "ok"
        and all(each.get(name) == value for name, value in having.items())
    ]


def _configuration(data: bytes) -> object:
    return KeyConfiguration.from_bytes(data, public_bytes=_PUBLIC_BYTES)


def _verify(data: bytes) -> object:
    return verify_keys(
        data,
        ca_pem=_DOMAIN.ca_pem,
        expected=_DOMAIN.identity("serve"),
        policy=POLICY_HASH,
        at=NOW,
    )


def _open(data: bytes) -> object:
    return read_header(data), open_request(data, _KEY, suite=SUITE, purpose=PRIVATE)


def _ring(data: bytes) -> object:
    return _ENCLAVE.ring.open(data, at=NOW)


def _sealed(plaintext: bytes) -> SealedRequest:
    return seal_request(
        plaintext,
        key_id=_KEYS.configuration.key_id,
        suite=SUITE,
        encapsulated=encapsulate(_KEYS.configuration),
        purpose=PRIVATE,
    )


_REQUEST: Final = _sealed(b"question")
_OPENED: Final = _ENCLAVE.ring.open(_REQUEST.data, at=NOW)[0]


def _stranger(data: bytes) -> object:
    """Whatever somebody seals has an answer of one size, and reaches no model."""
    answer = _ENCLAVE.gate.handle(HTTPRequest("POST", QUERY_TARGET, {}, _sealed(data).data))
    if (answer.status, len(answer.body)) != (200, 32 + 4096 + 16) or _ENCLAVE.model.asked:
        raise AssertionError("a stranger was answered")
    return answer


PRIVATE_QUERIES: Final[Sequence[tuple[Callable[[bytes], object], list[bytes]]]] = (
    (read_request, _vectors("bhttp", message="request")),
    (read_response, _vectors("bhttp", message="response")),
    (_configuration, [_KEYS.configuration.to_bytes()]),
    (PrivateKeys.from_bytes, [_STATEMENT]),
    (_verify, [_DOCUMENT]),
    (_open, _vectors("request")),
    (_ring, [_REQUEST.data]),
    (_REQUEST.open_response, [_OPENED.seal_response(b"answer")]),
    (SignedRequest.from_bytes, _vectors("signed")),
    (_stranger, _vectors("signed")),
)
