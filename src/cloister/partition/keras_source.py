"""Keras models as sources of parts: built from checked layers, converted to LiteRT part by part.

The converter melts operators together as it sees fit, so a part's last bits depend on where it was
cut: the bound says how far that may go. It needs TensorFlow, as any differentiable use of the model
needs Keras; neither has a place where the model is served.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from cloister.crypto.digest import sha256
from cloister.errors import (
    CloisterError,
    MalformedError,
    MissingExtraError,
    UnsupportedError,
    extra_hint,
)
from cloister.partition.graph import Graph, Node, PartFile, TensorInfo, nodes_between
from cloister.partition.keras_config import KerasPlan, read_plan
from cloister.partition.keras_file import KerasFile, Weights, read_keras_archive, read_keras_h5
from cloister.partition.keras_layers import LAYERS
from cloister.partition.keras_weights import expected_weights
from cloister.partition.litert_file import LiteRTFile, read_litert
from cloister.partition.litert_source import litert_part
from cloister.partition.litert_unfuse import unfused_file

__all__ = ["KERAS_BOUND", "KerasSource"]

KERAS_BOUND: Final = 1e-4
# Of one tensor for one example: a gigabyte.
_MAX_ELEMENTS: Final = 1 << 28
_SEED_STATE: Final = "seed_generator"


class KerasSource:
    """A `.keras` or legacy `.h5` model that was read as data."""

    bound: Final = KERAS_BOUND

    def __init__(self, data: bytes, *, legacy: bool = False, unfused: bool = False) -> None:
        """Read a model.

        Args:
            data: The file.
            legacy: It is an `.h5` file.
            unfused: Write parts whose linear operators have no fused activations.

        Raises:
            MalformedError: `model.malformed`.
            RefusedError: `model.unsafe` or `model.operator`: it names code, leads out of the file,
                or has what is not allowed.
            MissingExtraError: Keras or h5py is not installed.
        """
        file = read_keras_h5(data) if legacy else read_keras_archive(data)
        self.digest: Final = sha256(data)
        self._unfused: Final = unfused
        self._plan: Final = read_plan(file.config)
        self._arrays: Final = _weights_of(self._plan, file)
        self._keras: Final = _keras()
        self._layers: Final[dict[int, Any]] = {}
        self._tensors: Final = self._built()
        self.graph: Final = self._graph()

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> PartFile:
        """Return the part between as a LiteRT file, as `Source.part` says.

        Raises:
            ConfigError: `config.value`: as `Source.part` says.
            UnsupportedError: `model.convert`: Keras runs on something else than TensorFlow, or the
                converter refuses.
            MissingExtraError: TensorFlow is not installed.
        """
        _, read, made = nodes_between(self.graph, inputs, outputs)
        data = _converted(self.keras_model(read, made))
        file = _renamed(read_litert(data), read, made)
        return litert_part(unfused_file(file) if self._unfused else file)

    def keras_model(self, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Return a differentiable `keras.Model` of the part between; its weights are shared.

        Raises:
            ConfigError: `config.value`: as `Source.part` says.
        """
        nodes, read, made = nodes_between(self.graph, inputs, outputs)
        known: dict[str, Any] = {}
        for i, name in enumerate(read):
            info = self.graph.tensors[name]
            known[name] = self._keras.Input(
                tuple(None if size < 0 else size for size in info.shape[1:]),
                batch_size=None if info.shape[0] < 0 else info.shape[0],
                dtype=info.datatype,
                name=f"input_{i}",
            )
        starts = [known[name] for name in read]
        calls = {call.output: call for call in self._plan.calls}
        for node in nodes:
            call = calls[node.name]
            known[call.output] = self._call(call.layer, [known[name] for name in call.inputs])
        ends = [known[name] for name in made]
        # One tensor is no list of one: Keras warns of either in the other's place.
        return self._keras.Model(
            starts[0] if len(starts) == 1 else starts, ends[0] if len(ends) == 1 else ends
        )

    def _built(self) -> dict[str, Any]:
        """Return every tensor of the model, made by layers with the file's weights."""
        known: dict[str, Any] = {}
        for end in self._plan.inputs:
            known[end.name] = self._keras.Input(
                batch_shape=tuple(None if size < 0 else size for size in end.shape),
                dtype="float32",
            )
        for call in self._plan.calls:
            known[call.output] = self._call(call.layer, [known[name] for name in call.inputs])
        return known

    def _call(self, index: int, inputs: list[Any]) -> Any:
        """Call a layer; make it, with its weights, before the first time."""
        spec = self._plan.layers[index]
        arrays = self._arrays[index]
        try:
            if index not in self._layers:
                shape = tuple(inputs[0].shape)
                expected = expected_weights(spec.kind, spec.settings, shape)
                if expected != [array.shape for array in arrays]:
                    raise MalformedError(
                        f"the Keras layer {spec.name} has other weights than its settings say",
                        code="model.malformed",
                    )
                self._layers[index] = self._made(index, shape)
            given = inputs if LAYERS[spec.kind].merges else inputs[0]
            made = self._layers[index](given, **_mode(spec.kind))
        except CloisterError:
            raise
        except Exception as e:  # errors of Keras and of what it runs on have no common base
            raise MalformedError(
                f"the Keras layer {spec.name} does not fit its input",
                code="model.malformed",
                detail=str(e)[:500],
            ) from e
        if math.prod(size for size in made.shape if size is not None) > _MAX_ELEMENTS:
            raise MalformedError(
                f"the Keras layer {spec.name} makes more numbers than are computed here",
                code="model.malformed",
            )
        return made

    def _made(self, index: int, shape: Sequence[int | None]) -> Any:
        spec = self._plan.layers[index]
        arrays = self._arrays[index]
        kind = "Identity" if LAYERS[spec.kind].identity else spec.kind
        layer = getattr(self._keras.layers, kind)(dtype="float32", **spec.settings)
        if not arrays:
            return layer
        layer.build(tuple(shape))
        if spec.kind == "Normalization":
            layer.load_own_variables({str(i): array for i, array in enumerate(arrays)})
        else:
            layer.set_weights(list(arrays))
        layer.trainable = False
        return layer

    def _graph(self) -> Graph:
        infos = {name: _info(name, tensor) for name, tensor in self._tensors.items()}
        nodes = tuple(
            Node(
                call.output,
                self._plan.layers[call.layer].kind,
                tuple(dict.fromkeys(call.inputs)),
                (call.output,),
                tuple(
                    f"{self._plan.layers[call.layer].name}/{i}"
                    for i in range(len(self._arrays[call.layer]))
                ),
            )
            for call in self._plan.calls
        )
        return Graph(
            "keras",
            tuple(infos[end.name] for end in self._plan.inputs),
            tuple(infos[name] for name in self._plan.outputs),
            nodes,
            infos,
        )


def _renamed(file: LiteRTFile, read: Sequence[str], made: Sequence[str]) -> LiteRTFile:
    """Return a converted part whose inputs and outputs are called as in the whole model."""
    inputs = {file.tensors[i].name: i for i in file.inputs}
    wanted = [f"input_{i}" for i in range(len(read))]
    if sorted(inputs) != sorted(wanted) or len(set(file.outputs)) != len(made):
        raise UnsupportedError(
            "TensorFlow changes what this part takes or gives", code="model.convert"
        )
    places = tuple(inputs[name] for name in wanted)
    new = dict(zip(places, read, strict=True)) | dict(zip(file.outputs, made, strict=True))
    # What is inside keeps the converter's names, apart from those.
    tensors = tuple(
        replace(tensor, name=new.get(i, f"inner/{tensor.name}"))
        for i, tensor in enumerate(file.tensors)
    )
    return replace(file, tensors=tensors, inputs=places)


def _mode(kind: str) -> Mapping[str, bool]:
    """Batch normalisation is run as after training, whoever differentiates through it."""
    return {"training": False} if kind == "BatchNormalization" else {}


def _info(name: str, tensor: Any) -> TensorInfo:
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape)
    return TensorInfo(name, str(tensor.dtype), shape)


def _weights_of(plan: KerasPlan, file: KerasFile) -> list[tuple[Any, ...]]:
    """Return each layer's arrays; refuse a file with arrays that belong to none."""
    if file.order is not None:
        return [_legacy_weights(layer.name, file.order, file.weights) for layer in plan.layers]
    found = [_archived_weights(layer.place, file.weights) for layer in plan.layers]
    own = {f"{layer.place}/vars" for layer in plan.layers}
    for path in file.weights:
        group = path.rpartition("/")[0]
        if path.startswith("layers/") and group not in own and _SEED_STATE not in group:
            raise MalformedError(
                "the Keras file has weights of no layer", code="model.malformed", detail=path[:200]
            )
    return found


def _archived_weights(place: str, weights: Weights) -> tuple[Any, ...]:
    arrays: list[Any] = []
    while (array := weights.get(f"{place}/vars/{len(arrays)}")) is not None:
        arrays.append(array)
    return tuple(arrays)


def _legacy_weights(
    name: str, order: Mapping[str, tuple[str, ...]], weights: Weights
) -> tuple[Any, ...]:
    if "/" in name:
        raise MalformedError(
            "legacy Keras files with models within models are not read; save it as .keras",
            code="model.malformed",
        )
    paths = [path for path in order.get(name, ()) if _SEED_STATE not in path]
    if any(path not in weights for path in paths):
        raise MalformedError("the Keras file lacks weights that it names", code="model.malformed")
    return tuple(weights[path] for path in paths)


def _keras() -> Any:
    try:
        import keras  # noqa: PLC0415  # seconds, optional
    except ImportError as e:
        raise MissingExtraError(
            "reading a Keras model needs Keras",
            code="extra.missing",
            hint=extra_hint("tensorflow"),
        ) from e
    return keras


def _converted(model: Any) -> bytes:
    """Return a model as LiteRT's converter writes it."""
    if _keras().backend.backend() != "tensorflow":
        raise UnsupportedError(
            "parts of Keras models are converted by TensorFlow, and Keras runs on something else",
            code="model.convert",
            hint="set KERAS_BACKEND=tensorflow",
        )
    import tensorflow as tf  # noqa: PLC0415  # Keras has it

    shapes = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{i}")
        for i, tensor in enumerate(model.inputs)
    ]

    def run(*tensors: Any) -> list[Any]:
        found = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        # What comes out may also be what the next layer takes, and needs a name of its own.
        return [tf.identity(each) for each in (found if isinstance(found, list) else [found])]

    try:
        function = tf.function(run, input_signature=shapes, autograph=False)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()]
        )
        # Else it writes all weights to a folder of its own for a while.
        converter.experimental_lower_to_saved_model = False
        return bytes(converter.convert())
    except Exception as e:  # the converter's errors have no common base
        raise UnsupportedError(
            "TensorFlow does not convert this part", code="model.convert", detail=str(e)[:500]
        ) from e
