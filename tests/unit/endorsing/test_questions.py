"""Windows and headers."""

from __future__ import annotations

import pytest

from cloister.endorsing.questions import Answer, Window
from cloister.errors import EndorsementError


@pytest.mark.spec("ES-6")
def test_both_ends_are_in_a_window() -> None:
    """And what two have in common is in both."""
    window = Window(5, 9).within(Window(7, 20))
    assert window == Window(7, 9)
    assert [window.holds(at) for at in (6, 7, 9, 10)] == [False, True, True, False]
    assert not Window(5, 6).within(Window(8, 9)).holds(7)


def test_a_header_has_one_of_its_names() -> None:
    """The first that is there; none is an error."""
    answer = Answer("", 0, (("b", "1"), ("a", "2")), b"")
    assert answer.header("a", "b") == "2"
    assert answer.header("x", "b") == "1"
    with pytest.raises(EndorsementError):
        answer.header("x")
