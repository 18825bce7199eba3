"""The client in Python; processes are in tests/integration/test_proxy.py."""

import time

import numpy as np
import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, IdentityError
from cloister.inference.private import AnyPolicy, Principal, PrivateClient
from cloister.inference.private.client import pins_of
from cloister.testing.certificates import POLICY_HASH, FakeDomain
from cloister.testing.private import NOW, Enclave, served

DOMAIN = FakeDomain("clinic.example", at=NOW)
ID = DOMAIN.identity("serve").uri
POLICY = "sha256:" + POLICY_HASH.hex()


def enclave_of_today() -> Enclave:
    """The client asks this machine's clock, and so does this server."""
    return Enclave(DOMAIN, clock=lambda: int(time.time()))  # noqa: TID251  # as the client does


def test_inputs_are_cut_so_that_answers_fit() -> None:
    """A thousand rows do not fit one answer of 4 KiB."""
    enclave = enclave_of_today()
    rows = np.random.default_rng(1).random((1000, 4), dtype=np.float32)
    with (
        served(enclave.gate) as url,
        PrivateClient(
            url, trust=DOMAIN.ca_pem, identity=ID, policy=POLICY, asker=enclave.alice
        ) as client,
    ):
        assert client.predict(rows).tobytes() == (rows * 2).tobytes()
        assert client.peer.policy_hash == POLICY_HASH
    assert enclave.model.asked > 3


def test_refusals_of_the_server_are_raised() -> None:
    """By their code."""
    enclave = enclave_of_today()
    with (
        served(enclave.gate) as url,
        PrivateClient(
            url,
            trust=DOMAIN.ca_pem,
            identity=ID,
            policy=POLICY,
            asker=Principal("alice", SigningKey.generate()),
        ) as client,
        pytest.raises(IdentityError) as found,
    ):
        client.predict(np.zeros((1, 4), np.float32))
    assert found.value.code == "private.asker"


@pytest.mark.spec("PQ-60")
def test_a_policy_is_pinned_or_a_reason_is_given() -> None:
    """Nothing in between."""
    assert pins_of(trust=b"ca", identity=ID, policy=POLICY).policy == POLICY_HASH
    reason = AnyPolicy("whatever is tested")
    assert pins_of(trust=b"ca", identity=ID, policy=reason).policy is reason
    for policy in ("", "*", POLICY_HASH.hex(), POLICY[:-1]):
        with pytest.raises(ConfigError) as found:
            pins_of(trust=b"ca", identity=ID, policy=policy)
        assert found.value.code == "config.value"
