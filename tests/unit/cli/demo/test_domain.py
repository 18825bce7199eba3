"""A trust domain cut by role."""

from __future__ import annotations

import pytest

from cloister.cli.demo.domain import found, point_at
from cloister.cli.demo.places import Places
from cloister.errors import ConfigError
from cloister.keyservice.domain import TrustDomain


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """The folders, with a trust domain handed out."""
    places = Places(tmp_path_factory.mktemp("demo"))
    places.make()
    found(places, "demo.test", port=4444)
    return places


def test_the_operator_has_no_owners_key(places: Places) -> None:
    """She keeps it; he has platform and key service; all three know the same service."""
    owners = TrustDomain.load(places.owner / "domain")
    operators = TrustDomain.load(places.domain)
    assert owners.owner_key().public == operators.owner
    with pytest.raises(ConfigError) as caught:
        operators.owner_key()
    assert caught.value.code == "config.missing"
    assert operators.platform().anchor in operators.anchors["sim"]
    assert [path.name for path in places.client.iterdir()] == ["domain.json"]


def test_another_address_changes_nothing_else(places: Places) -> None:
    """Who answers there must still be the pinned service."""
    before = TrustDomain.load(places.domain)
    point_at(places.domain, "http://127.0.0.1:9")
    after = TrustDomain.load(places.domain)
    assert (before.url, after.url) == ("http://127.0.0.1:4444", "http://127.0.0.1:9")
    assert after.identity == before.identity
