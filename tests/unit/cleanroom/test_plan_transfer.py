"""Pieces of a plan, with a server that loses some."""

import pytest

from cloister.cleanroom.exchange_message import NO_WISH, SERVER, ExchangeMessage, Kind
from cloister.cleanroom.plan_transfer import Publishing, Wanting
from cloister.errors import RemoteProtocolError
from rounds_bench import floats


@pytest.mark.spec("TR-36")
def test_pieces_then_parameters_then_nothing() -> None:
    sending = Publishing(b"0123456789", floats(1), piece_bytes=4)
    assert [sending.next() for _ in range(3)] == [(0, b"0123"), (4, b"4567"), (8, b"89")]
    assert sending.next() is None  # all are on their way
    sending.acknowledged(10, begun=False)
    found = sending.next()
    assert not isinstance(found, tuple)
    assert found is not None
    assert found.tolist() == [1.0]
    sending.acknowledged(10, begun=True)
    assert sending.done
    assert sending.next() is None


@pytest.mark.spec("TR-36")
def test_what_is_not_acknowledged_is_sent_again() -> None:
    sending = Publishing(b"01234567", floats(1), piece_bytes=4)
    sending.next()
    sending.next()
    sending.acknowledged(4, begun=False)
    assert [sending.next() for _ in range(5)] == [None] * 4 + [(4, b"4567")]
    sending.acknowledged(8, begun=False)
    assert sending.next() is not None  # the parameters
    assert [sending.next() for _ in range(4)] == [None] * 4
    assert sending.next() is not None  # and again
    sending.again()
    sending.acknowledged(0, begun=False)
    assert sending.next() == (0, b"0123")


@pytest.mark.spec("TR-37")
def test_a_plan_is_put_together() -> None:
    wanting = Wanting()
    assert wanting.wish == NO_WISH
    wanting.wanted = True
    assert wanting.wish == 0

    def piece(offset: int, body: bytes, total: int = 8) -> ExchangeMessage:
        return ExchangeMessage(Kind.PLAN, SERVER, 1, offset=offset, total=total, body=body)

    wanting.take(piece(4, b"4567"))
    assert wanting.wish == 0
    wanting.take(piece(0, b"0123"))
    wanting.take(piece(0, b"0123"))
    assert (wanting.wish, wanting.plan) == (4, None)
    with pytest.raises(RemoteProtocolError):
        wanting.take(piece(4, b"45678", total=9))
    wanting.take(piece(4, b"4567"))
    assert (wanting.wish, wanting.plan) == (NO_WISH, b"01234567")
