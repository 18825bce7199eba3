"""Which states of a server can follow which."""

import pytest

from cloister.cleanroom.server_standing import Standing
from cloister.errors import TamperedError

A, B = b"A" * 16, b"B" * 16
NOTHING = Standing(0, bytes(16), 0, 0)
SEEN = Standing(epoch=2, life=A, version=9, durable=6)


@pytest.mark.spec("TR-30", "TR-31", "TR-32")
@pytest.mark.parametrize(
    "later",
    [
        SEEN,
        Standing(2, A, 9, 9),
        Standing(2, A, 12, 6),
        Standing(3, B, 6, 6),  # it fell back to what it had kept, and no further
        Standing(7, B, 8, 7),
    ],
)
def test_what_may_follow(later: Standing) -> None:
    assert SEEN.followed_by(later) == later
    assert NOTHING.followed_by(later) == later
    later.require_of(SEEN)


@pytest.mark.spec("TR-31", "TR-32", "TR-33", "TR-34")
@pytest.mark.parametrize(
    ("later", "code"),
    [
        (Standing(1, A, 20, 20), "state.rolled-back"),
        (Standing(1, B, 9, 6), "state.rolled-back"),
        (Standing(2, B, 9, 6), "state.forked"),
        (Standing(2, B, 12, 12), "state.forked"),
        (Standing(2, A, 8, 6), "state.rolled-back"),
        (Standing(2, A, 9, 5), "state.rolled-back"),
        (Standing(3, B, 5, 5), "state.rolled-back"),
        (Standing(3, B, 9, 5), "state.rolled-back"),
    ],
)
def test_what_may_not(later: Standing, code: str) -> None:
    """Neither side goes on: not the trainer with that server, nor that server with the trainer."""
    with pytest.raises(TamperedError) as caught:
        SEEN.followed_by(later)
    assert caught.value.code == code
    with pytest.raises(TamperedError) as caught:
        later.require_of(SEEN)
    assert caught.value.code == code


@pytest.mark.spec("TR-30")
def test_a_server_that_contradicts_itself() -> None:
    for later in (Standing(0, A, 0, 0), Standing(1, A, 3, 4)):
        with pytest.raises(TamperedError):
            NOTHING.followed_by(later)


def test_who_has_seen_nothing_fits_every_server() -> None:
    Standing(1, A, 0, 0).require_of(NOTHING)
