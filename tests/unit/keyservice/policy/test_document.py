"""From text to tree."""

import pytest

from cloister.keyservice.policy.document import read_document
from cloister.keyservice.policy.node import (
    IntegerNode,
    ListNode,
    MapNode,
    Problems,
    TextNode,
    UnusableNode,
)


def read(text: str) -> object:
    problems = Problems()
    tree = read_document(text, problems)
    assert not problems.found
    return tree


@pytest.mark.spec("POL-7")
def test_values_keep_their_places() -> None:
    """A list or map stands where its key does, anything else where it was written."""
    tree = read("a: 5\nb:\n  - x\n  - 'y'\n")
    assert isinstance(tree, MapNode)
    assert tree.get("a") == IntegerNode(1, 4, 5)
    assert tree.get("b") == ListNode(2, 1, (TextNode(3, 5, "x"), TextNode(4, 5, "y")))


@pytest.mark.spec("POL-7")
@pytest.mark.parametrize(
    ("word", "number"), [("0", 0), ("7", 7), ("-7", -7), ("999999999999999999", 10**18 - 1)]
)
def test_decimal_integers_are_numbers(word: str, number: int) -> None:
    """And nothing else is."""
    assert read(word) == IntegerNode(1, 1, number)


def test_numbers_without_end_are_unusable() -> None:
    """A number of ten thousand digits is not computed with."""
    assert isinstance(read("9" * 10_000), UnusableNode)


@pytest.mark.parametrize("style", ["|\n  yes\n", ">\n  yes\n", "'yes'", '"yes"'])
def test_quoted_and_block_scalars_are_texts(style: str) -> None:
    """Quoting is what makes a text a text."""
    tree = read("a: " + style)
    assert isinstance(tree, MapNode)
    found = tree.get("a")
    assert isinstance(found, TextNode)
    assert found.text.strip() == "yes"
