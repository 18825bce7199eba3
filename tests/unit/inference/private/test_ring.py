"""Keys of a server in time."""

import pytest

from cloister.crypto.certificate_signature import CertificateKey
from cloister.errors import MalformedError, UnavailableError
from cloister.inference.private.envelope import PRIVATE, SUITE, encapsulate, seal_request
from cloister.inference.private.keys import PrivateKeys, Sizes, read_keys
from cloister.inference.private.ring import KeyRing, Terms
from cloister.testing.certificates import FakeDomain

NOW = 1_800_000_000
DOMAIN = FakeDomain("clinic.example", at=NOW)
TERMS = Terms(Sizes({"a": 1024}, 1024), 2**20, lifetime_s=1000)


def ring(lifetime_s: int = 40000) -> KeyRing:
    credential = DOMAIN.credential("serve", lifetime_s=lifetime_s)
    return KeyRing(TERMS, lambda: CertificateKey(credential.certificate_pem, credential.key_pem))


def keys_of(found: KeyRing, at: int) -> PrivateKeys:
    return PrivateKeys.from_bytes(read_keys(found.document(at=at))[0])


def sealed_to(keys: PrivateKeys) -> bytes:
    return seal_request(
        b"question",
        key_id=keys.configuration.key_id,
        suite=SUITE,
        encapsulated=encapsulate(keys.configuration),
        purpose=PRIVATE,
    ).data


@pytest.mark.spec("PQ-6", "PQ-8")
def test_keys_follow_one_another() -> None:
    """A new one at half of the life; the old one opens until its end, and not after."""
    here = ring()
    first = keys_of(here, NOW)
    assert keys_of(here, NOW + 499) == first
    second = keys_of(here, NOW + 500)
    assert second.configuration.public != first.configuration.public
    assert second.configuration.key_id != first.configuration.key_id
    for keys in (first, second):
        opened, found, digest = here.open(sealed_to(keys), at=NOW + 1000)
        assert opened.plaintext == b"question"
        assert digest == keys.digest
        assert found.configuration == keys.configuration
    with pytest.raises(MalformedError):
        here.open(sealed_to(first), at=NOW + 1001)


@pytest.mark.spec("PQ-6")
def test_in_a_certificates_last_second_a_key_is_kept_too() -> None:
    """Whoever asks for keys, however often, makes one key in a second."""
    here = ring(lifetime_s=300)
    for at in (NOW + 297, NOW + 298, NOW + 299):
        shown = {here.document(at=at) for _ in range(5)}
        assert len(shown) == 1
        opened, _, _ = here.open(sealed_to(keys_of(here, at)), at=NOW + 300)
        assert opened.plaintext == b"question"


@pytest.mark.spec("PQ-6")
def test_keys_whose_time_is_over_are_forgotten_unasked() -> None:
    """Nobody opens with them, though the clock went back; those that are good stay."""
    here = ring()
    keys = keys_of(here, NOW)
    here.tidy(at=NOW + 1000)
    here.open(sealed_to(keys), at=NOW + 1000)
    here.tidy(at=NOW + 1001)
    with pytest.raises(MalformedError):
        here.open(sealed_to(keys), at=NOW + 1000)


@pytest.mark.spec("PQ-5")
def test_each_start_has_its_own_key() -> None:
    """Under one certificate: a request to one ring does not open at another."""
    first, second = ring(), ring()
    keys = keys_of(first, NOW)
    second.document(at=NOW)
    with pytest.raises(MalformedError) as found:
        second.open(sealed_to(keys), at=NOW)
    assert found.value.code == "message.malformed"


@pytest.mark.spec("PQ-7")
def test_no_key_outlives_its_certificate() -> None:
    """And without a certificate that is good there is no key."""
    here = ring(lifetime_s=300)
    assert keys_of(here, NOW).not_after == NOW + 300
    with pytest.raises(UnavailableError) as found:
        ring(lifetime_s=300).document(at=NOW + 300)
    assert found.value.code == "server.unreachable"
