"""What a program writes, as lines that a terminal may show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.training.lines import MAX_LINE_BYTES, Line, LineReader, clean


def whole(*pieces: bytes) -> list[str]:
    """Return the lines that stay."""
    reader = LineReader()
    found = [line for piece in pieces for line in reader.feed(piece)] + reader.end()
    return [line.text for line in found if line.kind == "line"]


def test_lines_come_whole_however_they_are_cut() -> None:
    """A line is shown when its end came, and the last one when the stream ends."""
    assert whole(b"one\ntw", b"o\n", b"\nthree") == ["one", "two", "", "three"]
    assert whole("fünf\n".encode()[:2], "fünf\n".encode()[2:]) == ["fünf"]
    assert whole(b"windows\r", b"\nnext\r\n") == ["windows", "next"]
    assert whole() == []


def test_an_open_line_is_a_part() -> None:
    """For the row of its own on a terminal; said once."""
    reader = LineReader()
    assert reader.feed(b"Epoch 1") == [Line("Epoch 1", "part")]
    assert reader.feed(b"") == []
    assert reader.feed(b"/5\n") == [Line("Epoch 1/5", "line")]


def test_a_progress_bar_is_one_line_in_the_end() -> None:
    """As Keras and tqdm draw them: behind a carriage return, or before one."""
    reader = LineReader()
    assert reader.feed(b"\r1/3") == [Line("1/3", "bar")]
    assert reader.feed(b"\b\b\b\r2/3\r3/3") == [Line("3/3", "bar")]
    assert reader.feed(b"\n") == [Line("3/3", "line")]
    assert reader.feed(b"10%\r") == [Line("10%", "bar")]
    assert reader.feed(b"20%\r\n") == [Line("20%", "line")]
    assert whole(b"a\rb\r", b"c\n") == ["c"]
    assert whole(b"only\r") == ["only"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[1m\x1b[32mgreen\x1b[0m", "green"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bPq#0\x1b\\after", "after"),
        (b"\x1b[2J\x1b[1;1Hscreen", "screen"),
        (b"\x1b(Bset", "set"),
        (b"torn \x1b[3", "torn "),
        (b"torn \x1b", "torn "),
        (b"tab\tstays", "tab\tstays"),
        (b"bell\x07 \x00\x7f", "bell� ��"),
        ("\u202eright to left".encode(), "�right to left"),
        ("\x9b31m".encode(), "�31m"),
        (b"\xff\xfe", "��"),
    ],
)
def test_nothing_moves_the_cursor(written: bytes, shown: str) -> None:
    """Escape sequences go; other control characters are replaced."""
    assert clean(written) == shown


def test_a_line_that_never_ends_is_cut() -> None:
    """Memory is bounded; no character is torn."""
    text = "ü" * MAX_LINE_BYTES
    found = whole(*(text.encode()[n : n + 1000] for n in range(0, 2 * len(text), 1000)))
    assert "".join(line.removesuffix(" …") for line in found) == text
    assert len(found) >= 2
    reader = LineReader()
    for _ in range(100):
        reader.feed(b"\r" + b"x" * 9000)
    assert len(reader._tail) + len(reader._state) <= 2 * MAX_LINE_BYTES
    assert whole(b"\x80" * (2 * MAX_LINE_BYTES))


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_cuts_make_no_difference(pieces: list[bytes]) -> None:
    """The lines that stay depend on the bytes alone, and all are printable."""
    found = whole(*pieces)
    assert found == whole(b"".join(pieces))
    assert all(line.replace("\t", "").isprintable() for line in found)
