"""Plain HTTP listens where nobody else can reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.training.federated.listening import (
    instance_here,
    open_plain,
    parse_address,
    require_private,
)

ANY = "0.0.0.0"  # noqa: S104  # text, given to what refuses it


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("link-0:9092", ("link-0", 9092)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("a:65535", ("a", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    """Names and IPv4 addresses."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "a", ":1", "a:", "a:65536", "a:-1", "a:1x", "[::1]:1", "a b:1", "http://a:1", "a:\uff11"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With our error."""
    with pytest.raises(ConfigError) as found:
        parse_address(text)
    assert found.value.code == "config.value"


@pytest.mark.spec("FED-7")
def test_loopback_is_always_private() -> None:
    """With other networks and without."""
    require_private("127.0.0.1", interfaces=["lo", "eth0"])
    require_private("127.9.9.9", interfaces=["eth0"])


@pytest.mark.spec("FED-7")
def test_a_network_that_is_loopback_only_is_private() -> None:
    """There every address is the workload's own."""
    require_private("10.77.0.1", interfaces=["lo"])
    require_private(ANY, interfaces=["lo"])


@pytest.mark.spec("FED-7")
@pytest.mark.parametrize("address", [ANY, "10.77.0.1", "192.0.2.1"])
def test_other_addresses_are_refused_beside_other_networks(address: str) -> None:
    """Flower's traffic would be there in plain."""
    with pytest.raises(ConfigError) as found:
        require_private(address, interfaces=["lo", "eth0"])
    assert found.value.code == "config.value"


def test_it_listens_at_loopback() -> None:
    """And says so where it cannot."""
    with open_plain("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError):
            open_plain("127.0.0.1", port)


def test_the_instance_is_the_one_whose_address_is_here(tmp_path: Path) -> None:
    """Every address of loopback is here; 192.0.2.0/24 is nobody's."""
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n192.0.2.1 site-0\n127.0.0.7 site-1 # mine\n192.0.2.3 site-2\n"
        "127.0.0.8 website-4 site-x\n# 127.0.0.9 site-5\n\n"
    )
    assert instance_here("site", hosts=hosts) == 1


@pytest.mark.parametrize("text", ["", "192.0.2.1 site-0\n", "127.0.0.7 site-1\n127.0.0.8 site-2\n"])
def test_no_instance_or_several_are_refused(tmp_path: Path, text: str) -> None:
    """A guess would train on another's shard."""
    hosts = tmp_path / "hosts"
    hosts.write_text(text)
    with pytest.raises(ConfigError) as found:
        instance_here("site", hosts=hosts)
    assert found.value.code == "config.missing"
    with pytest.raises(ConfigError):
        instance_here("site", hosts=tmp_path / "missing")
