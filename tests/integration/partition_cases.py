"""Cases of cutting Keras models, in a process of their own.

    python partition_cases.py KIND FOLDER

writes `FOLDER/KIND.json`: for each case None or a traceback. Each function whose name begins with
`small_` or `large_` is one; KIND is one of these words.
"""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
import time
import traceback
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from cloister.errors import MalformedError, RefusedError, UnsupportedError
from cloister.partition.constants import part_constants, require_no_constants
from cloister.partition.cuts import all_cuts
from cloister.partition.equality import require_equal
from cloister.partition.graph import Cut, PartFile, Source
from cloister.partition.importing import open_model
from cloister.partition.keras_source import KERAS_BOUND, KerasSource
from cloister.partition.litert_file import read_litert
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.runtime import open_part

KIND, FOLDER = sys.argv[1], Path(sys.argv[2])
MODELS = Path(__file__).parents[1] / "data" / "models"
BLOCKS = (MODELS / "blocks.keras").read_bytes()


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def ends(source: Source) -> tuple[list[str], list[str]]:
    graph = source.graph
    return [info.name for info in graph.inputs], [info.name for info in graph.outputs]


def whole_of(source: Source) -> PartFile:
    return source.part(*ends(source))


def two_parts(source: Source, cut: Cut) -> list[PartFile]:
    inputs, outputs = ends(source)
    return [source.part(inputs, cut.tensors), source.part(cut.tensors, outputs)]


def require_apart(parts: list[PartFile]) -> None:
    """Neither part has a constant of the other."""
    constants = [part_constants(part) for part in parts]
    assert require_no_constants(constants[0], parts[1].data) > 0
    assert require_no_constants(constants[1], parts[0].data) > 0


def numbers(shape: tuple[int, ...], rows: int = 2) -> Any:
    return np.random.default_rng(3).uniform(-2, 2, (rows, *shape[1:])).astype("f4")


def small_the_same_numbers_as_keras_own_loader() -> None:
    for name in ("blocks.keras", "blocks.h5", "nested.keras"):
        source = open_model(MODELS / name)
        assert isinstance(source, KerasSource)
        given = numbers(source.graph.inputs[0].shape) * 50
        found = source.keras_model(*ends(source))(given)
        wanted = keras.models.load_model(MODELS / name, compile=False)(given, training=False)
        for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes(), name


def small_parts_within_the_bound() -> None:
    source = KerasSource(BLOCKS)
    whole = whole_of(source)
    cuts = {cut.tensors: cut for cut in all_cuts(source.graph)}
    assert source.graph.format == "keras"
    given = numbers(whole.inputs[0].shape)
    wanted = source.keras_model(*ends(source))(given).numpy()
    found = open_part(whole, threads=1).run({"image": given})["label"]
    assert np.abs(found - wanted).max() <= KERAS_BOUND
    for crossing in (("relu1", "conv2"), ("cat1", "grow2"), ("depthwise",)):
        parts = two_parts(source, cuts[crossing])
        assert tuple(info.name for info in parts[1].inputs) == crossing
        assert parts[0].outputs == parts[1].inputs
        found = require_equal(whole, parts, bound=source.bound, trials=2, seed=1)
        assert found.worst <= KERAS_BOUND
        require_apart(parts)


def small_nothing_is_fused_where_that_is_asked_for() -> None:
    inputs, outputs = ["relu1", "conv2"], ["cat1"]
    fused = KerasSource(BLOCKS).part(inputs, outputs)
    plain = KerasSource(BLOCKS, unfused=True).part(inputs, outputs)
    linear = [
        operator for operator in read_litert(plain.data).operators if operator.code in {3, 4, 9}
    ]
    assert linear
    assert not any(operator.options.fusedActivationFunction for operator in linear)
    assert require_equal(fused, [plain], bound=0, trials=2, seed=1).worst == 0.0


def small_layers_that_are_shared_by_two_parts_are_found() -> None:
    source = KerasSource((MODELS / "nested.keras").read_bytes())
    cut = next(c for c in all_cuts(source.graph) if "inner:1/dense" in c.tensors)
    front, back = two_parts(source, cut)
    with pytest.raises(RefusedError) as caught:
        require_no_constants(part_constants(front), back.data)
    assert caught.value.code == "partition.constant"


def small_a_part_can_be_differentiated() -> None:
    source = KerasSource(BLOCKS)
    model = source.keras_model(["relu1", "norm2"], ["label"])
    assert not model.trainable_variables
    given = [tf.constant(numbers((0, 12, 12, 6))) for _ in range(2)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(model(given)[:, 0])
    gradients = tape.gradient(loss, given)
    assert all(float(tf.reduce_max(tf.abs(g))) > 0 for g in gradients)


def small_no_weights_are_written_to_the_disk() -> None:
    """A secret part is converted in memory."""
    seen: list[str] = []
    real = os.open

    def watched(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            seen.append(str(path))
        return real(path, flags, *args, **kwargs)

    before = set(Path("/tmp").iterdir())  # noqa: S108  # where TensorFlow's folders are
    with mock.patch("os.open", watched), mock.patch("tempfile.mkdtemp", side_effect=OSError):
        KerasSource(BLOCKS).part(["image"], ["relu1"])
    new = {path.name for path in set(Path("/tmp").iterdir()) - before}  # noqa: S108  # as above
    assert not seen
    assert not any(name.startswith("tmp") for name in new)


def changed(*, layer: int = 0, weights: Any = None, **settings: Any) -> bytes:
    """Return the good file with other settings of a layer, or other weights."""
    with zipfile.ZipFile(io.BytesIO(BLOCKS)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = copy.deepcopy(json.loads(parts["config.json"]))
    config["config"]["layers"][layer]["config"] |= settings
    parts["config.json"] = json.dumps(config).encode()
    if weights is not None:
        file = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(file, "r+") as group:
            weights(group)
        parts["model.weights.h5"] = file.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return packed.getvalue()


def refuse(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(MalformedError) as caught:
        KerasSource(data)
    assert caught.value.code == "model.malformed"
    assert time.process_time() - began < 5


def small_settings_that_ask_for_more_than_the_file_holds_are_refused() -> None:
    """Before anything of that size is allocated."""
    for settings in ({"filters": 2**24}, {"kernel_size": [2**20, 2**20]}, {"use_bias": True}):
        refuse(changed(layer=2, **settings))


def small_weights_that_do_not_fit_are_refused() -> None:
    def gone(group: Any) -> None:
        del group["layers/conv2d/vars/0"]

    def other_shape(group: Any) -> None:
        del group["layers/conv2d/vars/0"]
        group["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 7), "f4")

    def too_many(group: Any) -> None:
        group["layers/conv2d/vars/1"] = np.zeros(6, "f4")

    def of_no_layer(group: Any) -> None:
        group["layers/conv2d_99/vars/0"] = np.zeros(6, "f4")

    for change in (gone, other_shape, too_many, of_no_layer):
        refuse(changed(weights=change))


def built(*layers: Any) -> Any:
    """Return the parts of a small model's file, which `refuse_changed` changes."""
    given = keras.Input((8, 8, 4))
    tensor = given
    for layer in layers:
        tensor = layer(tensor)
    file = FOLDER / "built.keras"
    keras.Model(given, tensor).save(file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refuse_changed(parts: Any, kind: str, **settings: Any) -> None:
    config = json.loads(parts["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == kind:
            layer["config"] |= settings
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in (parts | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, data)
    refuse(packed.getvalue())


def small_settings_that_keras_itself_ends_with_are_malformed() -> None:
    """TensorFlow's own errors do not get out, and no tensor is larger than anybody computes."""
    refuse_changed(
        built(keras.layers.Normalization(mean=0.0, variance=1.0)),
        "Normalization",
        mean=[1.0, 2.0, 3.0],
        variance=[1.0, 2.0, 3.0],
    )
    grown = built(*(keras.layers.UpSampling2D(2) for _ in range(3)))
    refuse_changed(grown, "UpSampling2D", size=[2**24, 2**24])


def small_inputs_that_a_converter_changes_are_refused() -> None:
    def renamed(data: bytes) -> Any:
        file = real(data)
        tensors = [replace(tensor, name=f"{tensor.name}?") for tensor in file.tensors]
        return replace(file, tensors=tuple(tensors))

    real = read_litert
    with (
        mock.patch("cloister.partition.keras_source.read_litert", renamed),
        pytest.raises(UnsupportedError) as caught,
    ):
        KerasSource(BLOCKS).part(["image"], ["relu1"])
    assert caught.value.code == "model.convert"


def small_another_back_end_does_not_convert() -> None:
    source = KerasSource(BLOCKS)
    with (
        mock.patch("keras.backend.backend", return_value="jax"),
        pytest.raises(UnsupportedError) as caught,
    ):
        source.part(["image"], ["relu1"])
    assert caught.value.code == "model.convert"


def architecture(make: Any, least: int) -> None:
    """Cut a known architecture in its blocks: from Keras' file, and from LiteRT's."""
    model = make(weights=None, input_shape=(64, 64, 3), classes=10)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if "gamma" in variable.path or "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif "beta" in variable.path or "mean" in variable.path:
            variable.assign(rng.normal(0, 0.3, variable.shape))
    path = FOLDER / "model.keras"
    model.save(path)
    source = open_model(path)
    assert isinstance(source, KerasSource)
    given = numbers((0, 64, 64, 3))
    found = source.keras_model(*ends(source))(given).numpy()
    assert found.tobytes() == model(given, training=False).numpy().tobytes()
    cuts = all_cuts(source.graph)
    inside = [cut for cut in cuts if len(cut.tensors) > 1]
    assert len(inside) >= least
    whole = whole_of(source)
    parts = two_parts(source, inside[len(inside) // 4])
    equal = require_equal(whole, parts, bound=source.bound, trials=2, seed=1)
    say(make.__name__, "Keras", len(cuts), "cuts", len(inside), "inside", equal)
    require_no_constants(part_constants(parts[0]), parts[1].data)
    litert = LiteRTSource(whole.data)
    cuts = all_cuts(litert.graph)
    inside = [cut for cut in cuts if len(cut.tensors) > 1]
    assert len(inside) >= least // 4
    for cut in (inside[0], inside[len(inside) // 2], inside[-1], cuts[len(cuts) // 3]):
        parts = two_parts(litert, cut)
        equal = require_equal(whole, parts, bound=litert.bound, trials=2, seed=2)
        assert equal.worst == 0.0
        if cut is inside[0]:
            require_apart(parts[::-1])
    say(make.__name__, "LiteRT", len(cuts), "cuts", len(inside), "inside")


def large_resnet50() -> None:
    architecture(keras.applications.ResNet50, 60)


def large_mobilenet_v2() -> None:
    architecture(keras.applications.MobileNetV2, 60)


def large_densenet201() -> None:
    architecture(keras.applications.DenseNet201, 400)


def large_a_file_of_keras_2() -> None:
    """Which write other forms of calls, shapes and names."""
    old = pytest.importorskip("tf_keras")
    layer = old.layers
    image = old.Input((8, 8, 3), name="image")
    x = layer.ReLU(6.0)(layer.BatchNormalization()(layer.Conv2D(4, 3, padding="same")(image)))
    x = layer.Add()([x, layer.Conv2D(4, 3, padding="same", activation="relu")(x)])
    x = layer.LeakyReLU(alpha=0.2)(layer.Concatenate()([x, layer.DepthwiseConv2D(1)(x)]))
    model = old.Model(image, layer.Dense(3, activation="softmax")(layer.Flatten()(x)))
    path = FOLDER / "old.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    source = open_model(path)
    assert isinstance(source, KerasSource)
    given = numbers((0, 8, 8, 3))
    found = source.keras_model(*ends(source))(given).numpy()
    assert np.abs(found - model(given, training=False).numpy()).max() < 1e-6


def require_cuts(source: Source, most: float) -> None:
    """Cut a converted model everywhere in two."""
    whole = whole_of(source)
    for cut in all_cuts(source.graph)[1:-1]:
        found = require_equal(whole, two_parts(source, cut), bound=source.bound, trials=2, seed=4)
        assert found.worst <= most


def large_a_saved_model() -> None:
    folder = FOLDER / "saved"
    model = keras.models.load_model(MODELS / "blocks.keras", compile=False)
    model.export(folder, verbose=False)
    with pytest.raises(RefusedError):
        open_model(folder)
    source = open_model(folder, trusted=True)
    assert source.graph.format == "litert"
    require_cuts(source, 0.0)
    (entry,) = source.graph.inputs
    given = numbers(entry.shape)
    (found,) = open_part(whole_of(source), threads=1).run({entry.name: given}).values()
    assert np.abs(found - model(given, training=False).numpy()).max() < 1e-4


TORCH = """
import sys, numpy, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.second, self.label = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Linear(8, 5)
    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.label((x + torch.relu(self.second(x))).mean((2, 3)))
torch.manual_seed(1)
net, given = Net().eval(), torch.randn(2, 3, 16, 16)
program = torch.export.export(net, (given,), dynamic_shapes=({0: torch.export.Dim("n")},))
torch.export.save(program, sys.argv[1] + "/net.pt2")
numpy.savez(sys.argv[1] + "/net.npz", given=given, wanted=net(given).detach())
"""


def large_a_program_of_torch_export() -> None:
    pytest.importorskip("onnxscript")
    subprocess.run([sys.executable, "-c", TORCH, FOLDER], check=True, timeout=300)
    with pytest.raises(RefusedError):
        open_model(FOLDER / "net.pt2")
    source = open_model(FOLDER / "net.pt2", trusted=True)
    assert source.graph.format == "onnx"
    require_cuts(source, 0.0)
    with np.load(FOLDER / "net.npz") as held:
        given, wanted = held["given"], held["wanted"]
    (name,) = (info.name for info in source.graph.inputs)
    (found,) = open_part(whole_of(source), threads=1).run({name: given}).values()
    assert np.abs(found - wanted).max() < 1e-5


def main() -> None:
    """Run every case of a kind."""
    warnings.simplefilter("error", UserWarning)
    report: dict[str, str | None] = {}
    for name, case in list(globals().items()):
        if name.startswith(f"{KIND}_"):
            began = time.process_time()
            try:
                case()
                report[name] = None
            except (Exception, pytest.fail.Exception):  # noqa: BLE001  # each is told to the test that it belongs to
                report[name] = traceback.format_exc()
            say(name, round(time.process_time() - began, 1), "s")
    (FOLDER / f"{KIND}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
