"""ONNX models, run by ONNX Runtime.

A file is read as data first: what refers to another file, or to an operator that is not of the
standard's own sets, is refused before the runtime sees it. As with LiteRT, the runtime is native
code and no wall against a model that was made to attack; the sandbox is.

Spec: serving-v1, clauses SRV-60 and SRV-61.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from cloister.errors import MalformedError, MissingExtraError, extra_hint
from cloister.inference.mixing import onnx_mixes
from cloister.inference.tensor import Array, TensorSpec, datatype_of

__all__ = ["ONNXModel"]

_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# Operators whose next answer depends on how often they ran.
_REMEMBERING: Final = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
        "Dropout",
    }
)
_TYPES: Final = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_MAX_DEPTH: Final = 16
_SILENT: Final = 4


class ONNXModel:
    """An ONNX model, run by ONNX Runtime on the processor, one query at a time.

    Attributes:
        remembers: Whether it draws random numbers, so that queries must not share a computation.
        mixes: Whether it has an operator by which rows see each other.
    """

    platform: Final = "onnxruntime_onnx"

    def __init__(self, data: bytes, *, threads: int) -> None:
        """Load from bytes.

        Args:
            data: The file's content; nothing beside it is read.
            threads: Threads of one computation.

        Raises:
            MalformedError: `model.malformed`.
            MissingExtraError: ONNX or ONNX Runtime is not installed.
        """
        try:
            import onnx  # noqa: PLC0415  # 0.3 s, optional
            import onnxruntime  # noqa: PLC0415  # likewise
            from google.protobuf.message import DecodeError  # noqa: PLC0415  # likewise
        except ImportError as e:
            raise MissingExtraError(
                "serving ONNX models needs ONNX Runtime",
                code="extra.missing",
                hint=extra_hint("onnx"),
            ) from e
        try:
            proto = onnx.load_model_from_string(data)
        except (DecodeError, ValueError, RecursionError) as e:
            raise _broken("not an ONNX model", e) from e
        self.remembers: Final = _inspect(proto)
        self.mixes: Final = onnx_mixes(proto)
        del proto
        self._errors: Final = _runtime_errors()
        self._lock = threading.Lock()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._fresh: Callable[[], Any] = lambda: onnxruntime.InferenceSession(
            data, sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._session = self._start()
        self.inputs: Final = tuple(_spec(each) for each in self._session.get_inputs())
        self.outputs: Final = tuple(_spec(each) for each in self._session.get_outputs())

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model, in the state in which it was loaded: no query sees another."""
        names = [spec.name for spec in self.outputs]
        with self._lock:
            if self.remembers:
                self._session = self._start()
            try:
                results = self._session.run(names, dict(inputs))
            except self._errors as e:
                raise MalformedError(
                    "the model cannot run on this input",
                    code="message.malformed",
                    detail=str(e)[:500],
                ) from e
        return dict(zip(names, results, strict=True))

    def _start(self) -> Any:
        try:
            return self._fresh()
        except self._errors as e:
            raise _broken(
                "the model is damaged, or needs an operator that ONNX Runtime does not have", e
            ) from e


def _inspect(proto: Any) -> bool:
    """Refuse what refers elsewhere or to foreign operators; tell whether the model remembers.

    Raises:
        MalformedError: `model.malformed`.
    """
    own = {(function.domain, function.name) for function in proto.functions}
    remembers = False
    stack = [(proto.graph, 0), *((function, 0) for function in proto.functions)]
    while stack:
        graph, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise _broken("the model's graphs are nested too deeply")
        if hasattr(graph, "initializer"):
            _require_inside(graph.initializer)
            _require_inside(
                part for each in graph.sparse_initializer for part in (each.values, each.indices)
            )
        for node in graph.node:
            if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
                raise _broken("the model needs operators that are not of the ONNX standard")
            remembers = remembers or node.op_type in _REMEMBERING
            for attribute in node.attribute:
                _require_inside(_tensors_of(attribute))
                stack += [(each, depth + 1) for each in (*attribute.graphs, attribute.g)]
    return remembers


def _tensors_of(attribute: Any) -> Iterator[Any]:
    yield attribute.t
    yield from attribute.tensors
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        yield sparse.values
        yield sparse.indices


def _require_inside(tensors: Iterable[Any]) -> None:
    for tensor in tensors:
        if tensor.data_location or len(tensor.external_data):
            raise _broken("the model keeps tensors in other files, which are not read")


def _spec(argument: Any) -> TensorSpec:
    dtype = _TYPES.get(argument.type)
    if dtype is None:
        raise _broken(f"values of type {argument.type[:64]} are not supported")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return TensorSpec(argument.name, datatype_of(dtype), shape)


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the runtime's exceptions, which have no class in common but `Exception`."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = (getattr(state, name) for name in dir(state))
    own = [each for each in found if isinstance(each, type) and issubclass(each, Exception)]
    return (*own, ValueError, RuntimeError)


def _broken(sentence: str, error: Exception | None = None) -> MalformedError:
    return MalformedError(
        sentence, code="model.malformed", detail=None if error is None else str(error)[:500]
    )
