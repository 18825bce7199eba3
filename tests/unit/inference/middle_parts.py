"""Parts of one operator for engines of the untrusted middle, and a model whose middle is in one."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np

from cloister.inference.middle_link import listen
from cloister.inference.middle_process import MiddleServer, Open
from cloister.inference.partitioned import PartitionedModel
from cloister.partition.checking import Freivalds
from cloister.partition.graph import PartFile
from cloister.partition.onnx_file import onnx_module
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part
from cloister.testing.middle_models import conv_net, dense_net

RNG = np.random.default_rng(3)


def part_of(
    operator: str, constants: list[Any], shape: tuple[int, ...], **options: Any
) -> PartFile:
    """A part of one operator, of `x` and constants."""
    onnx = onnx_module()
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rank = {"Flatten": 2, "Reshape": 3}.get(operator, len(shape) + 1)
    names = [f"c{n}" for n in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], name="y", **options)],
        "net",
        [helper.make_tensor_value_info("x", floats, ["n", *shape])],
        [helper.make_tensor_value_info("y", floats, [None] * rank)],
        [onnx.numpy_helper.from_array(c, name) for c, name in zip(constants, names, strict=True)],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return ONNXSource(bytes(model.SerializeToString())).part(["x"], ["y"])


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = (4, 7, 6)
CASES: list[tuple[str, list[Any], tuple[int, ...], dict[str, Any]]] = [
    ("Add", [floats(4, 1, 1)], IMAGE, {}),
    ("BatchNormalization", [floats(4), floats(4), floats(4), np.abs(floats(4))], IMAGE,
     {"epsilon": 1e-3}),
    ("Clip", [np.float32(-0.5), np.float32(0.5)], IMAGE, {}),
    ("Concat", [], IMAGE, {"axis": 1}),
    ("Conv", [floats(6, 4, 3, 3), floats(6)], IMAGE,
     {"pads": [1, 0, 0, 2], "strides": [2, 1], "dilations": [1, 2]}),
    ("Conv", [floats(6, 2, 3, 3)], IMAGE, {"group": 2}),
    ("Conv", [floats(6, 4, 3)], (4, 9), {"pads": [2, 1]}),
    ("Div", [floats(4, 1, 1)], IMAGE, {}),
    ("Flatten", [], IMAGE, {"axis": 1}),
    ("Gemm", [floats(5, 8), floats(5)], (8,), {"transB": 1, "alpha": 2.0, "beta": 0.5}),
    ("Gemm", [floats(8, 5)], (8,), {}),
    ("GlobalAveragePool", [], IMAGE, {}),
    ("Identity", [], IMAGE, {}),
    ("MatMul", [floats(8, 5)], (8,), {}),
    ("MaxPool", [], IMAGE, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("MaxPool", [], IMAGE, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("Mul", [floats(4, 1, 1)], IMAGE, {}),
    ("Relu", [], IMAGE, {}),
    ("Reshape", [np.array([0, -1, 2], np.int64)], IMAGE, {}),
    ("Sigmoid", [], IMAGE, {}),
    ("Softmax", [], IMAGE, {"axis": 1}),
    ("Sub", [floats(4, 1, 1)], IMAGE, {}),
    ("Tanh", [], IMAGE, {}),
]  # fmt: skip


def require_operator(
    operator: str, constants: list[Any], shape: tuple[int, ...], options: dict[str, Any], load: Any
) -> None:
    """Run a part of one operator as ONNX Runtime does, and in an engine that `load` has it in."""
    part = part_of(operator, constants, shape, **options)
    given = {"x": floats(3, *shape)}
    found = load(part, threads=1, device="cpu")(given)
    right = open_part(part, threads=1).run(given)
    assert found.keys() == {"y"}
    assert found["y"].dtype == right["y"].dtype
    np.testing.assert_allclose(found["y"], right["y"], rtol=1e-5, atol=1e-5)


def require_checked(kind: str, folder: Path, opened: Any) -> None:
    """Ask a model whose middle one engine runs; its honest answers are within float32's bound.

    Args:
        kind: `convolutions` or `dense`.
        folder: For a socket.
        opened: Returns what loads a part in the engine.
    """
    if kind == "dense":
        source, ends, shape = ONNXSource(dense_net(width=64, layers=3)), ("x", "hr1", "h3"), (64,)
    else:
        net = conv_net(channels=16, blocks=2, size=8)
        source, ends, shape = ONNXSource(net), ("image", "first", "flat"), (3, 8, 8)
    middle = source.part([ends[1]], [ends[2]])
    listener = listen(f"unix:{folder}/s")
    loads: Open = opened(middle)
    server = MiddleServer(middle, loads)
    threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    model = PartitionedModel(
        front=source.part([ends[0]], [ends[1]]),
        middle=middle,
        back=source.part([ends[2]], ["label"]),
        address=f"unix:{folder}/s",
        mode=Freivalds(),
        threads=1,
    )
    given = {ends[0]: floats(5, *shape)}
    right = open_part(source.part([ends[0]], ["label"]), threads=1).run(given)["label"]
    np.testing.assert_allclose(model.predict(given)["label"], right, rtol=1e-4, atol=1e-6)
    model.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
