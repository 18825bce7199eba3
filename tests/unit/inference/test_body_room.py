"""Room for unfinished bodies."""

from cloister.inference.body_room import BodyRoom


def test_what_was_given_back_can_be_taken_again() -> None:
    """And no more than there is."""
    room = BodyRoom(10)
    assert room.take(6)
    assert not room.take(5)
    assert room.take(4)
    assert not room.take(1)
    room.give_back(6)
    assert room.take(5)
