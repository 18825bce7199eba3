"""Which nodes are a part."""

import pytest

from cloister.errors import ConfigError
from cloister.partition.graph import Graph, Node, TensorInfo, nodes_between


def info(name: str) -> TensorInfo:
    return TensorInfo(name, "float32", (-1, 2))


#   x -> a -> b -> c (a + b) -> d, and e beside d
NODES = (
    Node("a", "A", ("x",), ("a",), ("wa",)),
    Node("b", "B", ("a",), ("b",), ("wb",)),
    Node("c", "Add", ("a", "b"), ("c",), ()),
    Node("d", "D", ("c",), ("d",), ()),
    Node("e", "E", ("c",), ("e",), ()),
)
GRAPH = Graph(
    "onnx", (info("x"),), (info("d"), info("e")), NODES, {name: info(name) for name in "xabcde"}
)


def names(inputs: str, outputs: str) -> tuple[str, str, str]:
    nodes, read, made = nodes_between(GRAPH, inputs, outputs)
    return "".join(node.name for node in nodes), "".join(read), "".join(made)


def test_a_part_has_exactly_the_nodes_between() -> None:
    assert names("x", "de") == ("abcde", "x", "de")
    assert names("ab", "d") == ("cd", "ab", "d")
    assert names("x", "b") == ("ab", "x", "b")


def test_what_passes_by_a_part_is_not_in_it() -> None:
    """An output that is an input already, and an input that nobody reads."""
    assert names("ab", "ca") == ("c", "ab", "c")
    assert names("xc", "d") == ("d", "c", "d")


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ("b", "c", "needs x"),
        ("xz", "d", "no tensor z"),
        ("x", "z", "no tensor z"),
        ("ab", "ab", "no operator"),
    ],
)
def test_a_part_that_is_none_is_refused(inputs: str, outputs: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        nodes_between(GRAPH, inputs, outputs)
    assert caught.value.code == "config.value"
