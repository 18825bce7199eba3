"""Cuts of any graph: what crosses is enough, is needed, and nothing runs twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.partition.cuts import all_cuts
from cloister.partition.graph import Graph, Node, TensorInfo, nodes_between


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return a graph in which each node reads some of what there is; all ends are outputs."""
    names = ["x0"] if draw(st.booleans()) else ["x0", "x1"]
    inputs = tuple(names)
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 12))):
        read = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        made = tuple(f"t{number}.{i}" for i in range(draw(st.integers(1, 2))))
        nodes.append(Node(f"n{number}", "Op", tuple(read), made, (f"w{number}",)))
        names.extend(made)
    used = {name for node in nodes for name in node.inputs}
    ends = [name for node in nodes for name in node.outputs if name not in used]
    infos = {name: TensorInfo(name, "float32", (-1,)) for name in names}
    return Graph(
        "onnx",
        tuple(infos[name] for name in inputs),
        tuple(infos[name] for name in ends),
        tuple(nodes),
        infos,
    )


@settings(max_examples=60)
@given(graphs())
def test_what_crosses_is_enough_and_no_node_runs_twice(graph: Graph) -> None:
    inputs = [info.name for info in graph.inputs]
    outputs = [info.name for info in graph.outputs]
    for cut in all_cuts(graph)[1:-1]:
        front, read, made = nodes_between(graph, inputs, cut.tensors)
        back, needed, given_out = nodes_between(graph, cut.tensors, outputs)
        assert front == graph.nodes[: cut.position]
        assert back == graph.nodes[cut.position :]
        assert set(needed) <= set(cut.tensors)
        assert set(made) | set(inputs) >= set(needed)
        assert set(read) <= set(inputs)
        assert set(given_out) | set(made) >= set(outputs)


@settings(max_examples=60)
@given(graphs())
def test_all_that_crosses_is_needed(graph: Graph) -> None:
    """Each tensor was made before, and is read or given after."""
    outputs = {info.name for info in graph.outputs}
    for cut in all_cuts(graph):
        after = {name for node in graph.nodes[cut.position :] for name in node.inputs}
        before = {info.name for info in graph.inputs}
        before.update(name for node in graph.nodes[: cut.position] for name in node.outputs)
        assert set(cut.tensors) == before & (after | outputs)
        assert len(set(cut.tensors)) == len(cut.tensors)
