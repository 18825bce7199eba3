"""Whom is asked: the manufacturers, or who was named for one of them."""

from __future__ import annotations

import pytest

from cloister.endorsing.services import ADDRESSES, Services
from cloister.errors import ConfigError


@pytest.mark.spec("ES-4")
def test_the_manufacturers_own_unless_another_is_named() -> None:
    """One of them at a time."""
    found = Services.of(["intel=https://pccs.example:8081"]).found
    assert set(found) == set(ADDRESSES)
    assert found["intel"].url("/sgx/x") == "https://pccs.example:8081/sgx/x"
    assert found["nvidia-rim"].url("/a") == "https://rim.attestation.nvidia.com/v1/rim/a"
    assert found["intel-root-crl"].url("") == ADDRESSES["intel-root-crl"]


@pytest.mark.parametrize(
    "given",
    [
        ["other=https://a.example"],
        ["https://a.example"],
        ["intel="],
        ["intel=http://a.example"],
        ["intel=https://a.example", "intel=https://b.example"],
        ["intel=https://a.example/?x=y"],
        ["intel=https://a.example\n"],
    ],
)
def test_what_cannot_be_meant_is_refused(given: list[str]) -> None:
    """A name, an address, or one too many."""
    with pytest.raises(ConfigError):
        Services.of(given)
