"""Models as the server sees them, and the LiteRT back end.

A model file is data from a sealed volume: whoever wrote it was entitled to, but it may be damaged.
LiteRT is native code; it verifies the flatbuffer's structure, not the meaning of every operator,
so a hostile model may still crash it. The server is confined for that reason, and never loads a
model from a client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from cloister.errors import ConfigError, MalformedError, MissingExtraError, extra_hint
from cloister.inference.mixing import litert_mixes
from cloister.inference.tensor import Array, TensorSpec, datatype_of

__all__ = ["MAX_MODEL_BYTES", "LiteRTModel", "Model", "read_model_file"]

MAX_MODEL_BYTES: Final = 2**31
_MIN_MODEL_BYTES: Final = 24
_IDENTIFIER: Final = b"TFL3"
# Operators that keep something from one computation to the next. `reset_all_variables` of LiteRT
# leaves resource variables as they are, so a model with any of these is loaded anew each time.
_REMEMBERING: Final = frozenset(
    {
        "ASSIGN_VARIABLE",
        "VAR_HANDLE",
        "READ_VARIABLE",
        "CALL_ONCE",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "RNN",
        "LSTM",
        "RANDOM_UNIFORM",
        "RANDOM_STANDARD_NORMAL",
        "MULTINOMIAL",
        "CUSTOM",
    }
)


class Model(Protocol):
    """Something that turns arrays into arrays."""

    @property
    def platform(self) -> str:
        """The protocol's word for the format, such as `tensorflow_lite`."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        ...

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs for inputs that fit; safe to call from several threads.

        Raises:
            MalformedError: `message.malformed`: it cannot run on this input; `model.malformed`: it
                cannot run.
        """
        ...


def read_model_file(path: Path) -> bytes:
    """Return the bytes of a model; they are read, not mapped, so the file may change later.

    Raises:
        ConfigError: `config.file`: no such file, or larger than `MAX_MODEL_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read the model {path}: {e.strerror}", code="config.file") from e
    if len(data) > MAX_MODEL_BYTES:
        raise ConfigError(f"the model {path} is larger than 2 GiB", code="config.file")
    return data


class LiteRTModel:
    """A TensorFlow Lite model, run by LiteRT, one query at a time.

    Attributes:
        remembers: Whether it has variables, so that queries must not share a computation.
        mixes: Whether it has an operator by which rows see each other.
    """

    platform: Final = "tensorflow_lite"

    def __init__(self, data: bytes, *, threads: int) -> None:
        """Load from bytes.

        Args:
            data: The file's content.
            threads: Threads of one computation.

        Raises:
            MalformedError: `model.malformed`.
            MissingExtraError: LiteRT is not installed.
        """
        _require_flatbuffer(data)
        try:
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # 0.3 s, optional
        except ImportError as e:
            raise MissingExtraError(
                "serving needs LiteRT", code="extra.missing", hint=extra_hint("litert")
            ) from e
        self._lock = threading.Lock()
        self._fresh: Callable[[], Any] = lambda: Interpreter(
            model_content=data, num_threads=threads
        )
        try:
            self._start()
            self.remembers: Final = _remembers(self._interpreter)
            self.mixes: Final = self.remembers or litert_mixes(self._interpreter)
        except (ValueError, RuntimeError, TypeError, KeyError, IndexError) as e:
            raise _broken(e) from e
        self._spoilt = False
        self.inputs: Final = tuple(_spec(name, d) for name, d in self._inputs.items())
        self.outputs: Final = tuple(_spec(name, d) for name, d in self._outputs.items())

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model, in the state in which it was loaded: no query sees another."""
        with self._lock:
            if self.remembers or self._spoilt:
                try:
                    self._start()
                except (ValueError, RuntimeError) as e:
                    raise _broken(e) from e
                self._spoilt = False
            try:
                return self._run(inputs)
            except (ValueError, RuntimeError) as e:
                self._spoilt = True  # whatever state this left, the next query starts afresh
                raise _unfit(e) from e

    def _start(self) -> None:
        self._interpreter = self._fresh()
        self._interpreter.allocate_tensors()
        self._inputs, self._outputs = self._tensors()

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        changed = False
        for name, detail in self._inputs.items():
            shape = inputs[name].shape
            if tuple(detail["shape"]) != shape:
                self._interpreter.resize_tensor_input(detail["index"], shape, strict=True)
                detail["shape"] = shape
                changed = True
        if changed:
            self._interpreter.allocate_tensors()
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], inputs[name])
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_tensor(detail["index"])
            for name, detail in self._outputs.items()
        }

    def _tensors(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Return details by the names of the first signature, or of the tensors without one."""
        interpreter = self._interpreter
        inputs = {d["name"]: d for d in interpreter.get_input_details()}
        outputs = {d["name"]: d for d in interpreter.get_output_details()}
        signatures = interpreter.get_signature_list()
        if not signatures:
            return inputs, outputs
        key = "serving_default" if "serving_default" in signatures else next(iter(signatures))
        runner = interpreter.get_signature_runner(key)
        named_inputs, named_outputs = runner.get_input_details(), runner.get_output_details()
        indexes = {d["index"] for d in inputs.values()}
        if {d["index"] for d in named_inputs.values()} != indexes:
            return inputs, outputs  # a signature of another subgraph
        return dict(sorted(named_inputs.items())), dict(sorted(named_outputs.items()))


def _remembers(interpreter: Any) -> bool:
    """Tell whether the model has variables, or an operator that may hide some."""
    names = {detail["op_name"] for detail in interpreter._get_ops_details()}  # noqa: SLF001  # LiteRT has no other way to ask
    return bool(names & _REMEMBERING) or bool(interpreter.num_subgraphs() > 1)


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    signature = detail.get("shape_signature")
    shape = signature if signature is not None and len(signature) else detail["shape"]
    return TensorSpec(name, datatype_of(detail["dtype"]), tuple(int(size) for size in shape))


def _require_flatbuffer(data: bytes) -> None:
    root = int.from_bytes(data[:4], "little")
    good = len(data) >= _MIN_MODEL_BYTES and data[4:8] == _IDENTIFIER and root <= len(data) - 4
    if not good:
        raise MalformedError(
            "not a TensorFlow Lite model",
            code="model.malformed",
            hint="convert it with tf.lite.TFLiteConverter, or model.export(..., format='litert')",
        )


def _unfit(error: Exception) -> MalformedError:
    return MalformedError(
        "the model cannot run on this input",
        code="message.malformed",
        detail=str(error)[:500],
    )


def _broken(error: Exception) -> MalformedError:
    return MalformedError(
        "the model is damaged, or needs an operator that LiteRT does not have",
        code="model.malformed",
        detail=str(error)[:500],
    )
