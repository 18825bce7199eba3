"""A model that was cut is opened by what checks it."""

from __future__ import annotations

import argparse
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from cloister.crypto.digest import sha256
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, ConfigError
from cloister.inference import partitioned
from cloister.inference.metrics import Metrics
from cloister.inference.middle_process import MiddleServer, engine
from cloister.inference.options import parse_options
from cloister.inference.packaged import mode_of, open_partitioned
from cloister.inference.partitioned import PartitionedModel
from cloister.inference.tensor import Array
from cloister.partition.blinded_part import Blinding
from cloister.partition.checking import Freivalds, Mode, Recompute
from cloister.partition.cuts import cut_at
from cloister.partition.cutting import Wish, cut_package
from cloister.partition.leakage import ModelFacts
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.package import open_exposed
from cloister.partition.report import write_report
from cloister.partition.runtime import open_part
from cloister.partition.sealing import memory_reading
from cloister.partition.thresholds import DEFAULT, read_thresholds
from cloister.testing.middle_models import dense_net
from cloister.testing.partition import sample_report

KEY = SigningKey(b"k" * 32)
LABELS = tuple(f"class {n}" for n in range(10))


@dataclass
class Stage:
    """A package in one folder, and its middle in a thread."""

    folder: Path
    source: ONNXSource
    address: str

    def options(self, *more: str, require: str = DEFAULT) -> argparse.Namespace:
        """What a server would be started with."""
        folder = str(self.folder)
        return parse_options(
            ["--package", folder, "--secret", folder, "--signer", KEY.public.text,
             "--require", require, "--name", "m", "--middle", self.address, *more]
        )  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Cut a perceptron before and after its two middle layers."""
    folder = tmp_path_factory.mktemp("package")
    source = ONNXSource(dense_net(width=64, layers=3))
    names = [node.outputs[0] for node in source.graph.nodes]
    front, back = names.index("hr1") + 1, names.index("hr3") + 1
    facts = ModelFacts(sha256=source.digest, format="onnx", name="m")
    good = sample_report(model=facts, pairs=(), defences=(), recommended=front)
    cut = replace(good.cuts[1], position=front, tensors=cut_at(source.graph, front).tensors)
    files = cut_package(
        source,
        write_report(replace(good, cuts=(cut,))),
        Wish(name="m", front=str(front), back=str(back), labels=LABELS,
             thresholds=read_thresholds([DEFAULT]), trials=2),
        key=KEY, made=1_800_000_000, seed=1, salt=bytes(32), stage=lambda _: None,
    )  # fmt: skip
    for name, data in files.volume.items():
        (folder / name).write_bytes(data)
    thresholds = read_thresholds([DEFAULT])
    middle = open_exposed(
        memory_reading(files.exposed), signers=(KEY.public,), thresholds=thresholds
    ).middle
    listener = socket.create_server(("127.0.0.1", 0))
    server = MiddleServer(middle, engine(middle, threads=1, provider=None))
    threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    yield Stage(folder, source, f"tcp:127.0.0.1:{listener.getsockname()[1]}")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.spec("SRV-47", "PP-21")
@pytest.mark.parametrize("check", ["freivalds", "recompute", "recompute:0.5"])
def test_a_package_in_one_folder_is_the_whole_model(
    stage: Stage, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its labels come back, and what is found of a wrong answer is said and logged."""
    caplog.set_level(logging.INFO, logger="cloister.inference.packaged")
    cut = open_partitioned(stage.options("--check", check))
    rows = np.random.default_rng(1).random((3, 64), np.float32)
    right = open_part(stage.source.part(["x"], ["label"]), threads=1).run({"x": rows})["label"]
    assert isinstance(cut.model, PartitionedModel)
    np.testing.assert_allclose(cut.model.predict({"x": rows})["label"], right, rtol=1e-4)
    cut.model.close()
    assert cut.labels == LABELS
    assert "probability" in cut.note
    assert cut.note in caplog.text
    assert ("secret vectors" in cut.note) is (check == "freivalds")


@pytest.mark.spec("SRV-47", "SRV-91", "PQ-54")
@pytest.mark.parametrize("check", ["freivalds", "recompute", "blinded"])
def test_a_lie_is_logged_and_counted_and_a_strange_input_is_neither(
    stage: Stage, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    model: Any = open_partitioned(stage.options("--check", check), metrics).model
    rows = np.random.default_rng(1).random((1, 64), np.float32)
    caplog.set_level(logging.WARNING)
    with pytest.raises(CloisterError) as strange:
        model.predict({"x": rows * np.float32(np.nan)})
    assert strange.value.code == "message.malformed"
    assert (caplog.text, metrics.page({})) == ("", b"\n")
    honest = model._outside.client.ask
    model._outside.client.ask = lambda *asked, **more: {
        name: array + array.dtype.type(1) for name, array in honest(*asked, **more).items()
    }
    with pytest.raises(CloisterError) as lie:
        model.predict({"x": rows})
    model.close()
    assert lie.value.code == "middle.wrong"
    assert f"model=m code=middle.wrong at={lie.value.detail!r} count=1" in caplog.text
    line = b'cloister_middle_refused_total{model="m",code="middle.wrong"} 1\n'
    assert line in metrics.page({})


@pytest.mark.spec("SRV-54")
@pytest.mark.parametrize(("deadline", "waits"), [(None, 30.0), ("2.5", 2.5), ("300", 30.0)])
def test_a_middle_has_no_longer_than_a_query(
    stage: Stage, deadline: str | None, waits: float
) -> None:
    cut = open_partitioned(stage.options(*(("--deadline", deadline) if deadline else ())))
    model: Any = cut.model
    assert model._outside.client._timeout_s == waits


@pytest.mark.spec("SRV-47")
def test_a_middle_under_pads_is_the_quantised_model(stage: Stage) -> None:
    """Near the whole one, the same answer again, and the note says what the operator sees."""
    cut = open_partitioned(stage.options("--check", "blinded", "--batch", "8"))
    rows = np.random.default_rng(1).random((3, 64), np.float32)
    right = open_part(stage.source.part(["x"], ["label"]), threads=1).run({"x": rows})["label"]
    assert isinstance(cut.model, PartitionedModel)
    found = cut.model.predict({"x": rows})["label"]
    np.testing.assert_allclose(found, right, atol=0.02)
    np.testing.assert_array_equal(cut.model.predict({"x": rows})["label"], found)
    cut.model.close()
    for words in ("2 of 2 linear steps", "one-time pads", "weights, shapes and times", "quantised"):
        assert words in cut.note


@pytest.mark.spec("SRV-47", "SRV-52")
def test_rows_are_tried_inside_before_queries_are_joined(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no middle there; a model whose rows change each other is refused."""
    stage = replace(stage, address="unix:/nowhere")
    cut = open_partitioned(stage.options("--batch", "8"))
    assert isinstance(cut.model, PartitionedModel)
    rows = np.random.default_rng(1).random((3, 64), np.float32)
    right = open_part(stage.source.part(["x"], ["label"]), threads=1).run({"x": rows})["label"]
    found = cut.model.inside().predict({"x": rows})
    assert found.keys() == {"label"}
    np.testing.assert_allclose(found["label"], right, rtol=1e-4)

    class Mixing:
        platform, remembers, mixes = "test", False, False
        inputs, outputs = cut.model.inputs, cut.model.outputs

        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"label": np.cumsum(inputs["x"][:, :10], axis=0)}

    with monkeypatch.context() as patch:
        patch.setattr(partitioned, "mixes", lambda model: model.outputs[0].name == "label")
        with pytest.raises(CloisterError, match="operator by which rows") as caught:
            open_partitioned(stage.options("--batch", "8"))
    assert caught.value.code == "model.malformed"
    monkeypatch.setattr(PartitionedModel, "inside", lambda _model: Mixing())
    with pytest.raises(CloisterError) as caught:
        open_partitioned(stage.options("--batch", "8"))
    assert caught.value.code == "model.malformed"
    open_partitioned(stage.options())


@pytest.mark.spec("SRV-47")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"require": "decoder.ssim-gain.high<=0.1"}, "model.refused"),
        ({"signer": [SigningKey(b"x" * 32).public.text]}, "package.signer"),
        ({"signer": ["anybody"]}, "wire.malformed"),
        ({"check": "unchecked"}, "config.value"),
    ],
)
def test_what_is_not_as_required_is_not_served(
    stage: Stage, changes: dict[str, object], code: str
) -> None:
    """A number of the report, a signer, a word that would check nothing."""
    options = stage.options(require=str(changes.pop("require", DEFAULT)))
    vars(options).update(changes)
    with pytest.raises(CloisterError) as caught:
        open_partitioned(options)
    assert caught.value.code == code


@pytest.mark.spec("SRV-47")
def test_a_changed_middle_is_not_served(stage: Stage, tmp_path: Path) -> None:
    """Wherever it lies: the plan has its digest."""
    for path in stage.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "middle.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert sha256(path.read_bytes()) != sha256((stage.folder / path.name).read_bytes())
    options = stage.options()
    options.package = tmp_path
    with pytest.raises(CloisterError) as caught:
        open_partitioned(options)
    assert caught.value.code == "package.tampered"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("freivalds", Freivalds()),
        ("recompute", Recompute(1.0)),
        ("recompute:0.25", Recompute(0.25)),
        ("blinded", Blinding()),
    ],
)
def test_ways_to_check(text: str, mode: Mode | Blinding) -> None:
    """Each has a word."""
    assert mode_of(text) == mode


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "unchecked",
        "freivalds:2",
        "recompute:",
        "recompute:0",
        "recompute:nan",
        "blinded:8",
    ],
)
def test_words_that_are_no_way_to_check(text: str) -> None:
    """Nor one by which nothing would be."""
    with pytest.raises(ConfigError) as caught:
        mode_of(text)
    assert caught.value.code == "config.value"
