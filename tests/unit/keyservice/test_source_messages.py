"""Tokens, names and facts of sources; addresses and the seal's context are driven by vectors."""

from __future__ import annotations

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.source_messages import (
    MAX_TOKEN_BYTES,
    SourceFact,
    Trouble,
    require_source_name,
    require_token,
)


@pytest.mark.spec("EXT-21")
@pytest.mark.parametrize("token", [b"", b"a b", b"a\r\nX: y", b"a\n", b"\xe9", b"\0", b"a" * 1025])
def test_a_token_that_is_no_field_is_refused(token: bytes) -> None:
    """It cannot end a line and begin another field."""
    with pytest.raises(CloisterError) as e:
        require_token(token)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("EXT-21")
def test_a_token_has_up_to_its_limit() -> None:
    """And any visible character."""
    assert require_token(b"~" * MAX_TOKEN_BYTES) == b"~" * MAX_TOKEN_BYTES


@pytest.mark.spec("EXT-20")
@pytest.mark.parametrize("name", ["", "A", ".a", "a/b", "a" * 64, "a\n"])
def test_a_name_that_no_policy_can_write_is_refused(name: str) -> None:
    """`message.malformed`."""
    with pytest.raises(CloisterError) as e:
        require_source_name(name)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("EXT-25")
def test_a_fact_comes_back_as_it_was() -> None:
    """With what is wanted; one with another field is refused."""
    waiting = (Trouble("lab/p/a@1", "source.refused", "the source answered 403"),)
    fact = SourceFact("vault", "vault:8200", b"c" * 32, 5, waiting)
    assert SourceFact.from_value(fact.to_value()) == fact
    with pytest.raises(CloisterError) as e:
        SourceFact.from_value(fact.to_value() | {"token": b"t"})
    assert e.value.code == "message.malformed"
