"""A model from somebody else is data: reading it for a cut runs nothing and opens nothing.

Attacks P44 of THREAT-MODEL. Each file here would run code, or read a file of its reader's, in the
loader that it is made for, or in a reader that trusts what the file says.
"""

from __future__ import annotations

import base64
import builtins
import copy
import io
import json
import marshal
import os
import pickle  # noqa: TID251  # to make what must not be loaded
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.partition.importing import open_model

MODELS = Path(__file__).parents[1] / "data" / "models"
CANARY = "CLOISTER_TEST_CANARY"
CODE = f"import os\nwith open(os.environ[{CANARY!r}], 'a') as f: f.write('ran\\n')"
REFUSALS = {"model.unsafe", "model.operator", "model.malformed", "config.file"}


class Runs:
    """What pickles as a call of `exec`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (CODE,)


def archive(config: Any, extra: dict[str, bytes] | None = None) -> bytes:
    good = zipfile.ZipFile(io.BytesIO((MODELS / "blocks.keras").read_bytes()))
    parts = {name: good.read(name) for name in good.namelist()}
    parts |= {"config.json": json.dumps(config).encode()} | (extra or {})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    return file.getvalue()


def blocks() -> Any:
    good = zipfile.ZipFile(io.BytesIO((MODELS / "blocks.keras").read_bytes()))
    return json.loads(good.read("config.json"))


def with_layer(layer: dict[str, Any]) -> Any:
    """Return the good model's configuration, whose second layer is another."""
    config = copy.deepcopy(blocks())
    config["config"]["layers"][1] |= layer
    return config


def function() -> dict[str, Any]:
    """Return a function as Keras writes it: marshalled code."""
    code = base64.b64encode(marshal.dumps(compile(CODE, "x", "exec"))).decode()
    return {
        "class_name": "__lambda__",
        "config": {"code": code, "defaults": None, "closure": None},
    }


def keras_attacks() -> Iterator[tuple[str, bytes]]:
    own = {"name": "scaled", "function": function(), "arguments": {}}
    yield "lambda", archive(with_layer({"class_name": "Lambda", "config": own}))
    yield (
        "lambda of an old file",
        archive(
            with_layer(
                {
                    "class_name": "Lambda",
                    "config": {
                        "name": "scaled",
                        "function": [function()["config"]["code"], None, None],
                        "function_type": "lambda",
                    },
                }
            )
        ),
    )
    yield (
        "a class of a module",
        archive(
            with_layer({"module": "subprocess", "class_name": "Popen", "config": {"args": ["id"]}})
        ),
    )
    yield (
        "a registered class",
        archive(with_layer({"registered_name": "evil>Layer", "class_name": "Layer"})),
    )
    scaled = blocks()["config"]["layers"][1]["config"]
    for key in ("scale", "dtype", "activation"):
        told = scaled | {key: function()}
        yield f"code as {key}", archive(with_layer({"config": told}))
    told = {"module": "builtins", "class_name": "function", "config": "exec"}
    yield (
        "a function as an activation",
        archive(
            with_layer({"class_name": "Activation", "config": {"name": "a", "activation": told}})
        ),
    )
    yield (
        "a saved model elsewhere",
        archive(
            with_layer({"class_name": "TFSMLayer", "config": {"name": "a", "filepath": "saved"}})
        ),
    )
    yield "a model of a class", archive(blocks() | {"module": "os", "class_name": "system"})
    yield "files beside", archive(blocks(), {"assets/x.py": CODE.encode()})
    yield "files above", archive(blocks(), {"../../x.pth": CODE.encode()})


def h5_attacks(secret: Path) -> Iterator[tuple[str, bytes]]:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    good = (MODELS / "blocks.h5").read_bytes()

    def changed(change: Any) -> bytes:
        file = io.BytesIO(good)
        with h5py.File(file, "r+") as group:
            change(group)
        return file.getvalue()

    def payload(group: Any) -> None:
        group["model_weights"].create_dataset("code", data=np.void(pickle.dumps(Runs())))

    def lambda_layer(group: Any) -> None:
        config = {"class_name": "Lambda", "config": {"name": "scaled", "function": function()}}
        group.attrs["model_config"] = json.dumps(with_layer(config))

    def another_file(group: Any) -> None:
        weights = group["model_weights/conv1/conv1"]
        shape = weights["kernel"].shape
        del weights["kernel"]
        weights.create_dataset("kernel", shape, "f4", external=[(str(secret), 0, 4096)])

    def another_link(group: Any) -> None:
        del group["model_weights/conv1"]
        group["model_weights/conv1"] = h5py.ExternalLink(str(secret), "/")

    for change in (payload, lambda_layer, another_file, another_link):
        yield change.__name__, changed(change)


def onnx_attacks(secret: Path) -> Iterator[tuple[str, bytes]]:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from partition_models import onnx_block_net  # noqa: PLC0415  # after the check

    for location in (str(secret), os.path.relpath(secret), f"../{secret.name}"):
        model = onnx.load_from_string(onnx_block_net())
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "864")):
            tensor.external_data.add(key=key, value=value)
        yield f"a constant at {location[:3]}", model.SerializeToString()
        # The same, where only a node's own constant says so.
        value = onnx.TensorProto()
        value.CopyFrom(tensor)
        model.graph.initializer[0].CopyFrom(
            onnx.load_from_string(onnx_block_net()).graph.initializer[0]
        )
        node = onnx.helper.make_node("Constant", [], ["k"])
        node.attribute.append(onnx.helper.make_attribute("value", value))
        model.graph.node.insert(0, node)
        yield f"a node's constant at {location[:3]}", model.SerializeToString()


def litert_attacks() -> Iterator[tuple[str, bytes]]:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="no LiteRT")
    flatbuffers = pytest.importorskip("flatbuffers", reason="no LiteRT")
    good = (MODELS / "digits.tflite").read_bytes()
    for name in ("FlexPyFunc", "FlexReadFile"):
        model = schema.ModelT.InitFromPackedBuf(bytearray(good))
        model.operatorCodes[0].customCode = name
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 32
        model.subgraphs[0].operators[0].customOptions = np.frombuffer(CODE.encode(), np.uint8)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        yield name, bytes(builder.Output())
    yield "offsets outside", good[:4] + b"TFL3" + b"\xff" * (len(good) - 8)


def refuse_all(
    attacks: Iterator[tuple[str, bytes]],
    suffix: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> int:
    """Read each; nothing may run, and no file but the model's be opened."""
    canary, opened = folder / "canary", []
    monkeypatch.setenv(CANARY, str(canary))
    path = folder / f"model{suffix}"
    count = 0
    for name, data in attacks:
        path.write_bytes(data)
        real = builtins.open

        def watched(file: Any, *args: Any, _real: Any = real, **kwargs: Any) -> Any:
            opened.append(str(file))
            return _real(file, *args, **kwargs)

        with monkeypatch.context() as context:
            context.setattr(builtins, "open", watched)
            with pytest.raises(CloisterError) as caught:
                open_model(path)
        assert caught.value.code in REFUSALS, name
        assert not canary.exists(), name
        assert not [file for file in opened if "secret" in file], name
        assert b"secret" not in repr(caught.value.__dict__).encode(), name
        count += 1
    return count


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.bin"
    path.write_bytes(b"a secret" * 512)
    return path


def test_a_keras_file_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refuse_all(keras_attacks(), ".keras", tmp_path, monkeypatch) == 12


def test_a_legacy_keras_file_runs_nothing_and_opens_nothing(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refuse_all(h5_attacks(secret), ".h5", tmp_path, monkeypatch) == 4


def test_an_onnx_file_opens_nothing(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refuse_all(onnx_attacks(secret), ".onnx", tmp_path, monkeypatch) == 6


def test_a_litert_file_reaches_no_native_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refuse_all(litert_attacks(), ".tflite", tmp_path, monkeypatch) == 3


def test_the_payloads_are_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the loader that it is made for, each would have run."""
    canary = tmp_path / "canary"
    monkeypatch.setenv(CANARY, str(canary))
    code = base64.b64decode(function()["config"]["code"])
    exec(marshal.loads(code))  # noqa: S102, S302  # what a loader of Lambda does
    pickle.loads(pickle.dumps(Runs()))  # noqa: S301  # what a loader of pickles does
    assert canary.read_text() == "ran\nran\n"
