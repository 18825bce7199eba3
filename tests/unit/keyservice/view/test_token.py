"""View tokens; their vectors are in spec/test_keyservice_vectors.py."""

from __future__ import annotations

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, IdentityError
from cloister.keyservice.view.token import MAX_HOURS, ViewToken

OWNER = SigningKey(b"o" * 32)
SERVICE = SigningKey(b"s" * 32).public
AT = 1_800_000_000


@pytest.mark.spec("KH-20", "KH-21", "KH-24")
def test_a_token_is_good_for_its_hours() -> None:
    """Until the second at which it is over."""
    text = ViewToken.make(SERVICE, scope="view", hours=2, at=AT).signed(OWNER)
    for at in (AT, AT + 7199):
        assert ViewToken.from_text(text, service=SERVICE, owner=OWNER.public, at=at).scope == "view"
    with pytest.raises(IdentityError) as e:
        ViewToken.from_text(text, service=SERVICE, owner=OWNER.public, at=AT + 7200)
    assert e.value.code == "identity.viewer"


@pytest.mark.spec("KH-21")
@pytest.mark.parametrize("hours", [-1, 0, MAX_HOURS + 1])
def test_lives_have_bounds(hours: int) -> None:
    """A token that lives for ever cannot be made."""
    with pytest.raises(ConfigError) as e:
        ViewToken.make(SERVICE, scope="view", hours=hours, at=AT)
    assert e.value.code == "config.value"


def test_an_unknown_scope_cannot_be_made() -> None:
    """The scopes are two."""
    with pytest.raises(ConfigError) as e:
        ViewToken.make(SERVICE, scope="owner", hours=1, at=AT)
    assert e.value.code == "config.value"


@pytest.mark.spec("KH-23", "KH-24")
def test_every_changed_character_is_refused_in_the_same_words() -> None:
    """Which part was wrong is not told."""
    text = ViewToken.make(SERVICE, scope="view", hours=2, at=AT).signed(OWNER)
    said = set()
    for place in range(0, len(text), 3):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(IdentityError) as e:
            ViewToken.from_text(changed, service=SERVICE, owner=OWNER.public, at=AT)
        said.add(str(e.value))
    assert len(said) == 1


@pytest.mark.spec("KH-25")
def test_a_token_has_no_repr() -> None:
    """It cannot slip into a log by accident."""
    assert SERVICE.raw.hex() not in repr(ViewToken.make(SERVICE, scope="view", hours=1, at=AT))
