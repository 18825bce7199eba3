"""Cutting: what the report refuses is not cut, and what does not equal the whole is not signed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.partition import cutting
from cloister.partition.cuts import cut_at
from cloister.partition.cutting import Wish, choose_cuts, cut_package
from cloister.partition.equality import run_parts
from cloister.partition.graph import Graph, PartFile
from cloister.partition.leakage import Budget, LeakageReport, ModelFacts
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.package import Package, open_exposed, open_secret
from cloister.partition.report import write_report
from cloister.partition.runtime import open_part
from cloister.partition.sealing import memory_reading
from cloister.partition.thresholds import read_thresholds
from cloister.testing.partition import sample_graph, sample_report
from unit.partition.test_cuts import shaping

KEY = SigningKey(b"s" * 32)


def onnx_model() -> bytes:
    """Two dense layers with a ReLU behind each: t0 to t4, eight wide."""
    onnx = pytest.importorskip("onnx", reason="needs cloister[onnx]")
    helper, rng = onnx.helper, np.random.default_rng(3)
    nodes, constants = [], []
    for number in (1, 3):
        weights = rng.standard_normal((8, 8)).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(weights, f"w{number}"))
        nodes += [
            helper.make_node(
                "MatMul", [f"t{number - 1}", f"w{number}"], [f"t{number}"], f"m{number}"
            ),
            helper.make_node("Relu", [f"t{number}"], [f"t{number + 1}"], f"r{number}"),
        ]
    shapes = [helper.make_tensor_value_info(name, 1, ["n", 8]) for name in ("t0", "t4")]
    graph = helper.make_graph(nodes, "sample", shapes[:1], shapes[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = made.SerializeToString()
    return data


def source() -> ONNXSource:
    pytest.importorskip("onnxruntime", reason="needs cloister[onnx]")
    return ONNXSource(onnx_model())


def report_of(model: ONNXSource, **changes: Any) -> LeakageReport:
    facts = ModelFacts(sha256=model.digest, format="onnx", name="sample")
    return sample_report(**{"model": facts} | changes)


def wish(**changes: Any) -> Wish:
    good = Wish(
        name="sample",
        front="recommended",
        back="3",
        labels=tuple("abcdefgh"),
        thresholds=read_thresholds(["default"]),
        trials=4,
    )
    return replace(good, **changes)


def cut(model: Any, report: LeakageReport, wanted: Wish) -> Package:
    files = cut_package(
        model,
        write_report(report),
        wanted,
        key=KEY,
        made=1_800_000_000,
        seed=1,
        salt=bytes(32),
        stage=lambda _: None,
    )
    opened = open_exposed(
        memory_reading(files.exposed), signers=(KEY.public,), thresholds=wanted.thresholds
    )
    return open_secret(opened, memory_reading(files.secret))


def refused(model: Any, report: LeakageReport, wanted: Wish) -> str:
    with pytest.raises(CloisterError) as caught:
        cut(model, report, wanted)
    return caught.value.code


@pytest.mark.parametrize("back", ["3", None, "4"])
@pytest.mark.frameworks("onnxruntime")
def test_the_parts_of_a_package_give_what_the_model_gives(back: str | None) -> None:
    """Bit by bit, loaded from the package that others would open."""
    model = source()
    package = cut(model, report_of(model), wish(back=back))
    assert (package.back is None) == (back != "3")
    assert package.plan.equality.worst == 0.0
    feeds = {"t0": np.random.default_rng(9).standard_normal((3, 8)).astype(np.float32)}
    parts = [package.front, package.middle, *([package.back] if package.back else [])]
    found = run_parts([open_part(part, threads=1) for part in parts], feeds)
    whole = open_part(model.part(["t0"], ["t4"]), threads=1).run(feeds)
    assert found["t4"].tobytes() == whole["t4"].tobytes()


@pytest.mark.frameworks("onnxruntime")
def test_the_exposed_part_has_no_weights_of_the_secret_ones() -> None:
    """Searched for as bytes; the middle's own are there."""
    model = source()
    package = cut(model, report_of(model, recommended=3), wish(back=None))
    onnx = pytest.importorskip("onnx")
    weights = {
        each.name: onnx.numpy_helper.to_array(each).tobytes()
        for each in onnx.load_model_from_string(onnx_model()).graph.initializer
    }
    assert weights["w1"] in package.front.data
    assert weights["w1"] not in package.middle.data


@pytest.mark.frameworks("onnxruntime")
def test_what_the_report_refuses_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is not touched: a cut that is unsafe, unassessed, or beyond a threshold."""
    model = source()
    report = report_of(model)

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("the model was cut")

    monkeypatch.setattr(cutting, "cut_model", never)
    assert refused(model, report, wish(front="1")) == "model.refused"
    strict = read_thresholds(["decoder.ssim.worst_decile<=0.1"])
    assert refused(model, report, wish(thresholds=strict)) == "model.refused"
    other = replace(report, model=replace(report.model, sha256=bytes(32)))
    assert refused(model, other, wish()) == "config.value"
    assert refused(model, report, wish(labels=("a", "b"))) == "config.value"


@dataclass
class Lying:
    """A source whose back part is another than the model's."""

    model: ONNXSource

    @property
    def graph(self) -> Graph:
        return self.model.graph

    @property
    def digest(self) -> bytes:
        return self.model.digest

    @property
    def bound(self) -> float:
        return self.model.bound

    def part(self, inputs: Any, outputs: Any) -> PartFile:
        part = self.model.part(inputs, outputs)
        if list(inputs) != ["t2"]:
            return part
        onnx = pytest.importorskip("onnx")
        changed = onnx.load_model_from_string(part.data)
        weights = onnx.numpy_helper.to_array(changed.graph.initializer[0])
        nearly = np.nextafter(weights, np.float32(np.inf))
        changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(nearly, "w3"))
        return replace(part, data=changed.SerializeToString())


@pytest.mark.frameworks("onnxruntime")
def test_parts_that_differ_in_a_bit_are_not_signed() -> None:
    """The last bit of each weight is enough."""
    model = source()
    assert refused(Lying(model), report_of(model), wish()) == "partition.differs"


@dataclass
class Leaking(Lying):
    """A source that leaves the front's weights in the middle's file."""

    def part(self, inputs: Any, outputs: Any) -> PartFile:
        part = self.model.part(inputs, outputs)
        if list(inputs) != ["t2"]:
            return part
        onnx = pytest.importorskip("onnx")
        made = onnx.load_model_from_string(part.data)
        secret = onnx.load_model_from_string(self.model.part(["t0"], ["t2"]).data)
        made.graph.initializer.extend(secret.graph.initializer)
        return replace(part, data=made.SerializeToString())


@pytest.mark.frameworks("onnxruntime")
def test_an_exposed_part_with_a_secret_constant_is_not_signed() -> None:
    """It runs, and gives what it should; it holds more than it reads."""
    model = source()
    assert refused(Leaking(model), report_of(model), wish()) == "partition.constant"


@pytest.mark.parametrize(
    ("front", "back"),
    [("0", None), ("4", None), ("9", None), ("x", None), ("-1", None), ("2", "2"), ("2", "9"),
     ("99999999", None), ("²", None)],
)  # fmt: skip
def test_positions_that_cannot_be_meant(front: str, back: str | None) -> None:
    """Nothing in front, nothing behind, beyond the end, no number, an exposed part of nothing."""
    with pytest.raises(CloisterError) as caught:
        choose_cuts(sample_graph(), sample_report(), front=front, back=back)
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(("front", "back"), [("2", None), ("1", "3")])
def test_what_has_no_row_for_each_example_does_not_cross(front: str, back: str | None) -> None:
    """Neither part can be run on some of a batch without it."""
    with pytest.raises(CloisterError, match="no row for each example") as caught:
        choose_cuts(shaping(), sample_report(), front=front, back=back)
    assert caught.value.code == "config.value"
    assert choose_cuts(shaping(), sample_report(), front="1", back="4")


def test_a_report_that_recommends_nothing_leaves_the_whole_model() -> None:
    """And says that the whole needs no package."""
    with pytest.raises(CloisterError) as caught:
        choose_cuts(sample_graph(), sample_report(recommended=None), front="recommended", back=None)
    assert caught.value.code == "config.value"
    assert "whole model" in str(caught.value.hint)


def test_a_report_that_is_not_finished_is_gone_on_with() -> None:
    """It recommends nothing yet; that is no reason to give up cutting."""
    report = sample_report(recommended=None, budget=Budget(seconds=60, complete=False))
    with pytest.raises(CloisterError) as caught:
        choose_cuts(sample_graph(), report, front="recommended", back=None)
    assert caught.value.code == "config.value"
    assert "--resume" in str(caught.value.hint)


def test_a_list_of_secret_numbers_in_the_exposed_part_is_found() -> None:
    """ONNX writes a byte between one number of a list and the next."""
    onnx = pytest.importorskip("onnx", reason="needs cloister[onnx]")
    helper = onnx.helper
    numbers = np.random.default_rng(3).standard_normal(64).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Constant", [], ["v"], value_floats=numbers.tolist()),
        helper.make_node("Mul", ["b", "v"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, ["n", 64]) for name in ("x", "y")]
    constants = [onnx.numpy_helper.from_array(numbers, "w")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model = ONNXSource(made.SerializeToString())
    with pytest.raises(CloisterError, match="secret constant w") as caught:
        cutting.cut_model(
            model, cut_at(model.graph, 2), None, trials=2, seed=1, stage=lambda _: None
        )
    assert caught.value.code == "partition.constant"
