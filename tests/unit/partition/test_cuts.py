"""Every position, with all that crosses it."""

from dataclasses import replace

import pytest

from cloister.errors import ConfigError, RefusedError
from cloister.partition import cuts
from cloister.partition.cuts import all_cuts, cut_at, no_place, without_examples
from cloister.partition.graph import Cut, Graph, Node, TensorInfo, nodes_between
from unit.partition.test_graph import GRAPH, info


def test_what_crosses_each_position() -> None:
    """Inside the block both ways cross; an output that is made early crosses what follows."""
    crossing = ["".join(cut.tensors) for cut in all_cuts(GRAPH)]
    assert crossing == ["x", "a", "ab", "c", "cd", "de"]
    assert [cut.position for cut in all_cuts(GRAPH)] == [0, 1, 2, 3, 4, 5]


def test_both_sides_of_each_cut_are_the_whole() -> None:
    """No node is lost, none is in both."""
    for cut in all_cuts(GRAPH)[1:-1]:
        front, _, _ = nodes_between(GRAPH, "x", cut.tensors)
        back, _, _ = nodes_between(GRAPH, cut.tensors, "de")
        assert (*front, *back) == GRAPH.nodes


def test_an_input_that_nobody_reads_does_not_cross() -> None:
    graph = replace(GRAPH, inputs=(info("x"), info("y")), tensors={**GRAPH.tensors, "y": info("y")})
    assert all_cuts(graph)[0] == Cut(0, ("x",))


def test_outputs_that_depend_on_no_input_leave_nothing_to_cut() -> None:
    graph = replace(GRAPH, inputs=(), nodes=(), outputs=())
    with pytest.raises(ConfigError, match="do not depend") as caught:
        all_cuts(graph)
    assert caught.value.code == "config.value"


def test_a_position_by_its_number() -> None:
    assert cut_at(GRAPH, 2) == Cut(2, ("a", "b"))
    for position in (-1, 6):
        with pytest.raises(ConfigError, match="0 to 5"):
            cut_at(GRAPH, position)


def shaping() -> Graph:
    """Return a graph that brings a batch to a shape computed from its size: a, s, n, b."""
    nodes = (
        Node("a", "Conv", ("x",), ("a",), ("w",)),
        Node("s", "Shape", ("a",), ("s",), ()),
        Node("n", "Concat", ("s",), ("n",), ("c",)),
        Node("b", "Reshape", ("a", "n"), ("b",), ()),
        Node("y", "Gemm", ("b",), ("y",), ()),
    )
    tensors = {name: info(name) for name in "xaby"}
    tensors |= {name: TensorInfo(name, "int64", (2,)) for name in "sn"}
    return Graph("onnx", (info("x"),), (info("y"),), nodes, tensors)


def test_what_has_no_row_for_each_example() -> None:
    """What is computed from sizes alone, and single numbers; never what has an image's numbers."""
    graph = shaping()
    lone = without_examples(graph)
    assert lone == {"s", "n"}
    said = [no_place(cut, lone) for cut in all_cuts(graph)]
    assert [why is None for why in said] == [True, True, False, False, True, True]
    assert said[3] == "n crosses, which has no row for each example"
    single = replace(graph, tensors={**graph.tensors, "b": TensorInfo("b", "float32", ())})
    assert without_examples(single) == {"s", "n", "b"}


def wide(count: int) -> Graph:
    """Return a graph whose nodes all read the input, but for the last, which reads them all."""
    names = tuple(f"t{i}" for i in range(count))
    nodes = tuple(Node(name, "Relu", ("x",), (name,), ()) for name in names)
    nodes += (Node("y", "Concat", names, ("y",), ()),)
    tensors = {name: info(name) for name in ("x", *names, "y")}
    return Graph("onnx", (info("x"),), (info("y"),), nodes, tensors)


def test_a_cut_of_very_many_tensors_is_refused() -> None:
    """All cuts of a graph of thirty thousand nodes side by side would take gigabytes."""
    graph = wide(30_000)
    for look in (lambda: all_cuts(graph), lambda: cut_at(graph, 20_000)):
        with pytest.raises(RefusedError) as caught:
            look()
        assert caught.value.code == "model.operator"
    assert cut_at(graph, 3) == Cut(3, ("x", "t0", "t1", "t2"))
    assert cut_at(graph, 30_001) == Cut(30_001, ("y",))


def test_cuts_together_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "_MAX_TOGETHER", 1000)
    assert len(all_cuts(wide(20))) == 22
    with pytest.raises(RefusedError, match="together") as caught:
        all_cuts(wide(100))
    assert caught.value.code == "model.operator"
    assert len(cut_at(wide(100), 100).tensors) == 100
