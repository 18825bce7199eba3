"""Parts that run: LiteRT and ONNX Runtime, set up so that cutting changes no bit.

ONNX Runtime's graph optimisations melt operators together, also across a cut, which changes the
last bits. A part is opened without them unless the caller gives exactness up for speed.
Both are native code: a part comes from a file that was read as data and written anew, or from a
package whose digests were checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from cloister.errors import ConfigError, MalformedError, MissingExtraError, extra_hint
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.litert_source import litert_with_outputs
from cloister.partition.onnx_source import onnx_with_outputs

__all__ = ["Array", "RunningPart", "open_part", "with_outputs"]

Array = npt.NDArray[Any]

_ANY: Final = -1


class RunningPart(Protocol):
    """A part that is loaded; safe to run from several threads."""

    @property
    def part(self) -> PartFile:
        """What is loaded."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the part's outputs; feeds that it does not take are ignored.

        Raises:
            ConfigError: `config.value`: an input is missing, or of another type or shape.
            MalformedError: `model.malformed`: the part cannot run.
        """
        ...


def open_part(part: PartFile, *, threads: int, exact: bool = True) -> RunningPart:
    """Load a part.

    Args:
        part: The file.
        threads: Threads of one computation.
        exact: Give the same bits whether the model is cut or not. Without it ONNX Runtime may melt
            operators together; LiteRT does the same either way.

    Raises:
        MalformedError: `model.malformed`: the runtime cannot load it.
        MissingExtraError: The runtime is not installed.
        ConfigError: `config.value`: a part of another format.
    """
    if part.format == "onnx":
        return _ONNXPart(part, threads=threads, exact=exact)
    if part.format == "litert":
        return _LiteRTPart(part, threads=threads)
    raise ConfigError(f"parts of format {part.format!r} do not run", code="config.value")


def with_outputs(part: PartFile, names: Sequence[str]) -> PartFile:
    """Return a part that gives these of its inner tensors too, after its own outputs.

    Raises:
        ConfigError: `config.value`: it has no such tensor.
        MalformedError: `model.malformed`, and RefusedError: `model.operator` or `model.unsafe`: the
            part was not written here.
    """
    if part.format == "onnx":
        return onnx_with_outputs(part, names)
    return litert_with_outputs(part, names)


class _ONNXPart:
    """A part in ONNX Runtime; its sessions may run side by side."""

    def __init__(self, part: PartFile, *, threads: int, exact: bool) -> None:
        try:
            import onnxruntime  # noqa: PLC0415  # 0.3 s, optional
        except ImportError as e:
            raise MissingExtraError(
                "running an ONNX part needs ONNX Runtime",
                code="extra.missing",
                hint=extra_hint("onnx"),
            ) from e
        self.part: Final = part
        options = onnxruntime.SessionOptions()
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            levels.ORT_DISABLE_ALL if exact else levels.ORT_ENABLE_ALL
        )
        options.use_deterministic_compute = True
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Whoever waits inside waits for the middle, which may need this very core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Final = onnxruntime.InferenceSession(
                part.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # its error classes have no common base
            raise _broken(e) from e
        self._names: Final = [info.name for info in part.outputs]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = _fitting(self.part.inputs, feeds)
        try:
            found = self._session.run(self._names, given)
        except Exception as e:  # its error classes have no common base
            raise _broken(e) from e
        return dict(zip(self._names, found, strict=True))


class _LiteRTPart:
    """A part in LiteRT: one computation at a time."""

    def __init__(self, part: PartFile, *, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # 0.3 s, optional
        except ImportError as e:
            raise MissingExtraError(
                "running a LiteRT part needs LiteRT",
                code="extra.missing",
                hint=extra_hint("litert"),
            ) from e
        self.part: Final = part
        self._lock: Final = threading.Lock()
        fresh: Callable[[], Any] = lambda: Interpreter(  # noqa: E731  # a name for a long call
            model_content=part.data, num_threads=threads
        )
        try:
            self._interpreter: Final = fresh()
            self._interpreter.allocate_tensors()
            self._inputs: Final = _details(self._interpreter.get_input_details(), part.inputs)
            self._outputs: Final = _details(self._interpreter.get_output_details(), part.outputs)
        except (ValueError, RuntimeError, TypeError, KeyError, IndexError) as e:
            raise _broken(e) from e
        self._shapes: Final = {
            name: tuple(map(int, detail["shape"])) for name, detail in self._inputs.items()
        }

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = _fitting(self.part.inputs, feeds)
        with self._lock:
            try:
                self._resize(given)
                for name, array in given.items():
                    self._interpreter.set_tensor(self._inputs[name]["index"], array)
                self._interpreter.invoke()
                return {
                    name: self._interpreter.get_tensor(detail["index"])
                    for name, detail in self._outputs.items()
                }
            except (ValueError, RuntimeError) as e:
                raise _broken(e) from e

    def _resize(self, given: Mapping[str, Array]) -> None:
        changed = [name for name, array in given.items() if array.shape != self._shapes[name]]
        for name in changed:
            self._interpreter.resize_tensor_input(
                self._inputs[name]["index"], given[name].shape, strict=True
            )
            self._shapes[name] = given[name].shape
        if changed:
            self._interpreter.allocate_tensors()


def _details(details: Sequence[Mapping[str, Any]], infos: Sequence[TensorInfo]) -> dict[str, Any]:
    found = {detail["name"]: detail for detail in details}
    return {info.name: found[info.name] for info in infos}


def _fitting(infos: Sequence[TensorInfo], feeds: Mapping[str, Array]) -> dict[str, Array]:
    given: dict[str, Array] = {}
    for info in infos:
        array = feeds.get(info.name)
        if array is None:
            raise ConfigError(f"the part's input {info.name} is missing", code="config.value")
        good = array.dtype == np.dtype(info.datatype) and len(array.shape) == len(info.shape)
        if not good or any(
            wanted not in {_ANY, size} for wanted, size in zip(info.shape, array.shape, strict=True)
        ):
            raise ConfigError(
                f"the part's input {info.name} has another type or shape", code="config.value"
            )
        given[info.name] = np.asarray(array, order="C")
    return given


def _broken(error: Exception) -> MalformedError:
    return MalformedError("the part does not run", code="model.malformed", detail=str(error)[:500])
