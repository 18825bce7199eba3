"""Signed key configurations."""

import dataclasses
from typing import Any

import pytest

from cloister.crypto.certificate_signature import CertificateKey
from cloister.crypto.kem import XWingKey
from cloister.errors import CloisterError, ConfigError, MalformedError
from cloister.inference.private.envelope import SUITE, KeyConfiguration
from cloister.inference.private.keys import (
    AnyPolicy,
    PrivateKeys,
    Sizes,
    read_keys,
    sign_keys,
    verify_keys,
)
from cloister.testing.certificates import POLICY_HASH, FakeDomain

NOW = 1_800_000_000
DOMAIN = FakeDomain("clinic.example", at=NOW)
CREDENTIAL = DOMAIN.credential("serve")
SIGNER = CertificateKey(CREDENTIAL.certificate_pem, CREDENTIAL.key_pem)
KEYS = PrivateKeys(
    KeyConfiguration(3, SUITE.kem, XWingKey.generate().public, ((SUITE.kdf, SUITE.aead),)),
    NOW,
    NOW + 3600,
    Sizes({"digits": 2048, "large": 65536}, 4096),
    2**20,
    60,
)


def verified(document: bytes, **changes: Any) -> Any:
    given = {
        "ca_pem": DOMAIN.ca_pem,
        "expected": DOMAIN.identity("serve"),
        "policy": POLICY_HASH,
        "at": NOW,
    }
    return verify_keys(document, **(given | changes))


@pytest.mark.spec("PQ-1", "PQ-2")
def test_what_was_signed_comes_back() -> None:
    """With the digest that requests are signed for, and who the server is."""
    document, digest = sign_keys(KEYS, SIGNER)
    found, peer = verified(document)
    assert found == dataclasses.replace(KEYS, digest=digest)
    assert peer.identity.role == "serve"
    assert len(read_keys(document)) == 3
    assert verified(document, policy=AnyPolicy("a test of another thing"))[0] == found


@pytest.mark.spec("PQ-60")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca_pem": FakeDomain("clinic.example", at=NOW).ca_pem}, "identity.tls"),
        ({"expected": DOMAIN.identity("train")}, "identity.peer"),
        ({"policy": b"\7" * 32}, "identity.policy"),
        ({"policy": b""}, "identity.policy"),
        ({"at": NOW + 3601}, "private.keys"),
        ({"at": NOW - 121}, "private.keys"),
        ({"at": NOW + 50000}, "identity.clock"),
    ],
)
def test_what_a_client_refuses(changes: dict[str, Any], code: str) -> None:
    """Each pin by itself."""
    with pytest.raises(CloisterError) as found:
        verified(sign_keys(KEYS, SIGNER)[0], **changes)
    assert found.value.code == code


@pytest.mark.spec("PQ-9")
def test_a_statement_is_not_read_before_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not even parse is refused for its signature."""
    document = sign_keys(KEYS, SIGNER)[0].replace(b"cloister/private-keys/v1", b"x" * 24)
    with pytest.raises(CloisterError) as found:
        verified(document)
    assert found.value.code == "private.keys"


@pytest.mark.spec("PQ-3", "PQ-4")
@pytest.mark.parametrize(
    "changes",
    [
        {"not_after": NOW},
        {"not_after": NOW + 86401},
        {"sizes": Sizes({}, 1023)},
        {"sizes": Sizes({"a": 2**28 + 1}, 1024)},
        {"sizes": Sizes({str(n): 1024 for n in range(257)}, 1024)},
        {"window_s": 0},
        {"window_s": 3601},
        {"request_bytes": 0},
        {"configuration": dataclasses.replace(KEYS.configuration, symmetric=((1, 1),))},
        {"configuration": dataclasses.replace(KEYS.configuration, symmetric=((1, 2), (1, 1)))},
        {"configuration": dataclasses.replace(KEYS.configuration, kem=0x20)},
    ],
)
def test_statements_out_of_bounds_are_malformed(changes: dict[str, Any]) -> None:
    """However well they are signed."""
    document, _ = sign_keys(dataclasses.replace(KEYS, **changes), SIGNER)
    with pytest.raises(MalformedError) as found:
        verified(document)
    assert found.value.code == "message.malformed"


@pytest.mark.spec("PQ-35")
@pytest.mark.parametrize(
    ("target", "size"),
    [
        ("/v2/models/digits/infer", 2048),
        ("/v2/models/digits", 2048),
        ("/v2/models/large/versions/1/infer?x=/models/digits", 65536),
        ("/v1/models/large:predict", 65536),
        ("/v2/models/none/infer", 4096),
        ("/v2/models", 4096),
        ("/v2", 4096),
        ("/", 4096),
    ],
)
def test_a_target_has_a_size(target: str, size: int) -> None:
    """By the model that it names."""
    assert KEYS.sizes.of(target) == size


def test_any_policy_needs_a_reason() -> None:
    """A shrug is none."""
    with pytest.raises(ConfigError) as found:
        AnyPolicy("because")
    assert found.value.code == "config.value"
