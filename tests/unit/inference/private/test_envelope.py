"""Encapsulation, against the example of RFC 9458 and by ourselves."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.hpke_context import AES_128_GCM, HKDF_SHA256, Suite
from cloister.crypto.kem import X25519, X25519Key, XWingKey
from cloister.errors import MalformedError, TamperedError
from cloister.inference.private.envelope import (
    BHTTP,
    PRIVATE,
    SUITE,
    KeyConfiguration,
    encapsulate,
    open_request,
    read_header,
    seal_request,
)

ROOT = Path(__file__).parents[4]
SHARED = Path(os.environ.get("CLOISTER_SHARED", ROOT.parent / "shared"))
EXAMPLE = SHARED / "vectors" / "ohttp" / "rfc9458-example.json"
KEY = XWingKey(bytes(range(96)))
CONFIGURATION = KeyConfiguration(7, SUITE.kem, KEY.public, ((SUITE.kdf, SUITE.aead),))


def sealed(text: bytes = b"question", purpose: Any = PRIVATE) -> Any:
    return seal_request(
        text,
        key_id=7,
        suite=SUITE,
        encapsulated=encapsulate(CONFIGURATION),
        purpose=purpose,
    )


def opened(data: bytes) -> Any:
    return open_request(data, KEY, suite=SUITE, purpose=PRIVATE)


@pytest.mark.skipif(not EXAMPLE.exists(), reason=f"no {EXAMPLE.name}; set CLOISTER_SHARED")
@pytest.mark.spec("PQ-10", "PQ-12", "PQ-13")
def test_the_example_of_the_rfc() -> None:
    """Both directions of RFC 9458, appendix A, byte for byte."""
    said = {
        name: bytes.fromhex(text)
        for name, text in json.loads(EXAMPLE.read_text("utf-8")).items()
        if isinstance(text, str) and "type" not in name and "label" not in name
    }
    suite = Suite(X25519, HKDF_SHA256, AES_128_GCM)
    key = X25519Key(said["gateway_secret_key"])
    configuration = KeyConfiguration.from_bytes(
        said["key_configuration"], public_bytes={X25519: 32}
    )
    assert configuration.public == key.public
    assert configuration.symmetric == ((1, 1), (1, 3))
    assert configuration.to_bytes() == said["key_configuration"]
    request = seal_request(
        said["binary_http_request"],
        key_id=configuration.key_id,
        suite=suite,
        encapsulated=X25519Key.encapsulate(
            key.public, ephemeral=said["client_ephemeral_secret_key"]
        ),
        purpose=BHTTP,
    )
    assert request.data == said["encapsulated_request"]
    found = open_request(said["encapsulated_request"], key, suite=suite, purpose=BHTTP)
    assert found.plaintext == said["binary_http_request"]
    response = said["encapsulated_response"]
    assert found.seal_response(said["binary_http_response"], nonce=response[:16]) == response
    assert request.open_response(response) == said["binary_http_response"]


@pytest.mark.spec("PQ-11")
def test_a_request_and_its_answer() -> None:
    """There and back; the header says which key."""
    request = sealed()
    assert read_header(request.data) == (7, SUITE)
    assert len(request.data) == 7 + 1120 + len(b"question") + 16
    found = opened(request.data)
    assert found.plaintext == b"question"
    assert request.open_response(found.seal_response(b"answer")) == b"answer"


@pytest.mark.spec("PQ-14")
@pytest.mark.parametrize("place", [0, 1, 3, 5, 7, 1000, 1120, 1127, -1])
def test_a_changed_bit_does_not_open(place: int) -> None:
    """Wherever it is: number, algorithms, encapsulated key, ciphertext."""
    data = bytearray(sealed().data)
    data[place] ^= 1
    with pytest.raises(MalformedError) as found:
        opened(bytes(data))
    assert found.value.code == "message.malformed"


@pytest.mark.spec("PQ-14")
@pytest.mark.parametrize("size", [0, 6, 7, 1126, 1127, 1140])
def test_a_cut_request_does_not_open(size: int) -> None:
    """Too short for one of its parts."""
    data = sealed().data[:size]
    with pytest.raises(MalformedError):
        opened(data)
    if size < 7:
        with pytest.raises(MalformedError):
            read_header(data)


@pytest.mark.spec("PQ-10")
def test_another_purpose_does_not_open() -> None:
    """What is sealed as HTTP is not taken for a private query."""
    with pytest.raises(MalformedError):
        opened(sealed(purpose=BHTTP).data)


@pytest.mark.spec("PQ-15")
def test_an_answer_to_another_request_does_not_open() -> None:
    """Two requests with the same text have different answers' keys."""
    first, second = sealed(), sealed()
    answer = opened(second.data).seal_response(b"answer")
    for wrong in (answer, answer[:47], b"", answer[:-1] + bytes([answer[-1] ^ 1])):
        with pytest.raises(TamperedError) as found:
            first.open_response(wrong)
        assert found.value.code == "private.answer"
    assert second.open_response(answer) == b"answer"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        CONFIGURATION.to_bytes()[:-1],
        CONFIGURATION.to_bytes() + b"\0",
        b"\7\0\x20" + bytes(40),
        CONFIGURATION.to_bytes()[:-6] + b"\0\0",
        CONFIGURATION.to_bytes()[:-6] + b"\0\3\0\1\0",
    ],
)
def test_configurations_are_read_strictly(data: bytes) -> None:
    """Cut off, with something behind, of another KEM, without algorithms, with half of one."""
    with pytest.raises(MalformedError):
        KeyConfiguration.from_bytes(data, public_bytes={SUITE.kem: len(KEY.public)})
