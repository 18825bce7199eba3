"""Trees, paths and how texts are shown."""

import pytest

from cloister.keyservice.policy.node import (
    MAX_PROBLEMS,
    IntegerNode,
    ListNode,
    MapNode,
    Node,
    Problems,
    TextNode,
    UnusableNode,
    join,
    node_from_value,
    quote,
)


@pytest.mark.parametrize(
    ("path", "key", "joined"),
    [
        ("", "name", "name"),
        ("volumes", "my-data_1", "volumes.my-data_1"),
        ("volumes", "a.b", "volumes[a.b]"),
        ("workloads.train.volumes", "/data", "workloads.train.volumes[/data]"),
        ("x", "a b", "x['a b']"),
        ("x", "", "x[]"),
        ("x", "é", "x[é]"),
    ],
)
def test_paths_are_unambiguous(path: str, key: str, joined: str) -> None:
    """Keys that are not plain names stand in brackets."""
    assert join(path, key) == joined


def test_texts_are_shown_on_one_line() -> None:
    """Long ones are cut, and what a terminal would obey is replaced."""
    assert quote("a\n\x1b[2J") == "'a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J'"
    assert len(quote("x" * 1000)) == 50


def test_decoded_values_become_trees_without_places() -> None:
    """Every type of the wire has a node; those without a place in a policy are unusable."""
    tree = node_from_value({"a": ["x", 7], "b": None, "c": b"x", "d": True})
    assert isinstance(tree, MapNode)
    assert tree.get("a") == ListNode(0, 0, (TextNode(0, 0, "x"), IntegerNode(0, 0, 7)))
    for key in "bcd":
        assert isinstance(tree.get(key), UnusableNode)
    assert tree.get("e") is None


def test_problems_are_kept_up_to_a_limit() -> None:
    """The first are the ones that matter."""
    problems = Problems()
    for index in range(2 * MAX_PROBLEMS):
        problems.add(Node(index, 1), "", message="x")
    assert len(problems.found) == MAX_PROBLEMS
    assert problems.full
