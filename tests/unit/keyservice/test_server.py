"""The process's settings and socket. The process itself is driven by integration tests."""

from pathlib import Path

import pytest

from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.server import ServerSettings, serve


@pytest.mark.parametrize("listen", ["localhost", "localhost:", ":x", "localhost:65536"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, listen: str) -> None:
    """Before anything is served, and the state is let go again."""
    domain = TrustDomain.create(tmp_path / "domain", "example.test", moment=read_clock())
    settings = ServerSettings(domain.directory, listen, idle_exit_s=0, lease_ttl_s=15)
    for _ in range(2):
        with pytest.raises(ConfigError) as e:
            serve(settings, ready=lambda facts: pytest.fail(str(facts)), get=None)
        assert e.value.code == "config.value"


@pytest.mark.parametrize("source", ["vault", "https://vault:8200", "vault:0"])
@pytest.mark.spec("EXT-35")
def test_a_source_that_is_no_address_is_refused(tmp_path: Path, source: str) -> None:
    """Before anything is opened."""
    settings = ServerSettings(tmp_path, "", idle_exit_s=0, lease_ttl_s=15, sources=(source,))
    with pytest.raises(MalformedError) as e:
        serve(settings, ready=lambda facts: pytest.fail(str(facts)), get=None)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("EXT-35")
def test_a_process_without_a_way_out_takes_no_source(tmp_path: Path) -> None:
    """The embedded service reaches nobody."""
    settings = ServerSettings(tmp_path, "", idle_exit_s=0, lease_ttl_s=15, sources=("vault:8200",))
    with pytest.raises(ConfigError) as e:
        serve(settings, ready=lambda facts: pytest.fail(str(facts)), get=None)
    assert e.value.code == "config.value"
