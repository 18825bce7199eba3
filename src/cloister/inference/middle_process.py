"""The untrusted side: runs the exposed middle for whoever connects.

Nothing that this process does is believed. It is written to be honest and to stay up: what comes in
is bounded, a connection that breaks the protocol is closed, and a batch that cannot be run is said
to have failed. Few connections are open at one time; where one more comes, the one ends from which
nothing has come for longest, and no batch is lost by that.

Spec: outside-middle-v1.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from cloister.crypto.digest import sha256
from cloister.errors import (
    CloisterError,
    ConfigError,
    MalformedError,
    MissingExtraError,
    extra_hint,
)
from cloister.inference.middle_jax import jax_engine
from cloister.inference.middle_link import Link, SharedMemory
from cloister.inference.middle_message import (
    Hello,
    Layout,
    answer_head,
    failed_head,
    printable,
    read_batch,
    read_hello,
    ready_head,
)
from cloister.inference.middle_steps import Run
from cloister.inference.middle_torch import torch_engine
from cloister.inference.tensor import Array
from cloister.partition.blinded_part import quantised_steps
from cloister.partition.checking import checkable
from cloister.partition.graph import PartFile
from cloister.partition.runtime import open_part, with_outputs

__all__ = ["Limits", "MiddleServer", "Open", "Run", "engine"]

_PAGE: Final = 4096
_HELLO_S: Final = 10.0
_SEND_S: Final = 60.0
_STALLED_S: Final = 2.0
_PEER_GONE_S: Final = 60
_PEER_PROBE_S: Final = 20
_MAX_CONNECTIONS: Final = 8
_MAX_LOADED: Final = 8
_RESIDUES: Final = "uint32"
_LOG: Final = logging.getLogger(__name__)


class Open(Protocol):
    """What loads a part so that it gives some of its tensors."""

    def __call__(self, outputs: Sequence[str]) -> Run:
        """Load it for these outputs."""
        ...


def engine(
    part: PartFile,
    *,
    threads: int,
    provider: str | None,
    torch_device: str | None = None,
    jax_device: str | None = None,
) -> Open:
    """Return what loads a part so that it gives some of its tensors.

    Args:
        part: The exposed middle.
        threads: Threads of one computation.
        provider: ONNX Runtime's word for a device, such as `CUDAExecutionProvider`; None is the
            processor.
        torch_device: PyTorch's word for a device, such as `cpu` or `cuda`, where it is to run the
            part; None is the part's own runtime.
        jax_device: JAX's word for a device, such as `cpu` or `cuda`, likewise.

    Raises:
        ConfigError: `config.value`: two engines.
    """
    if sum(each is not None for each in (provider, torch_device, jax_device)) > 1:
        raise ConfigError("a part runs in one engine", code="config.value")

    def opened(outputs: Sequence[str]) -> Run:
        wider = with_outputs(checkable(part), outputs)
        if torch_device is not None:
            return torch_engine(wider, threads=threads, device=torch_device)
        if jax_device is not None:
            return jax_engine(wider, threads=threads, device=jax_device)
        if provider is None:
            return open_part(wider, threads=threads, exact=False).run
        return _on_device(wider, provider)

    return opened


def _on_device(part: PartFile, provider: str) -> Run:
    try:
        import onnxruntime  # noqa: PLC0415  # optional
    except ImportError as e:
        raise MissingExtraError(
            "running an ONNX part needs ONNX Runtime",
            code="extra.missing",
            hint=extra_hint("onnx"),
        ) from e
    if part.format != "onnx" or provider not in onnxruntime.get_available_providers():
        raise ConfigError(f"{provider} does not run this part here", code="config.value")
    # TF32 is another arithmetic than the inside's bound is for.
    settings: dict[str, Any] = {"use_tf32": 0} if provider.startswith("CUDA") else {}
    session = onnxruntime.InferenceSession(part.data, providers=[(provider, settings)])
    names = [info.name for info in part.outputs]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = {info.name: feeds[info.name] for info in part.inputs}
        return dict(zip(names, session.run(names, given), strict=True))

    return run


def _blinded(part: PartFile, names: Sequence[str]) -> Run:
    """Return what answers residues by the step that they name; on the processor, exactly."""
    steps = quantised_steps(part, names)
    return lambda given: {name: steps[name].answer(array) for name, array in given.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may ask for, in bytes of one batch, and of one answer."""

    max_bytes: int = 2**31


class _Seat:
    """A connection, and what its thread is doing; read by the thread that accepts."""

    def __init__(self, link: Link) -> None:
        self.link: Final = link
        self.doing: Literal["waiting", "taking", "answering"] = "waiting"

    def is_quiet(self, now: float) -> bool:
        """Tell whether it is between frames, or nothing of a frame comes."""
        stalled = self.doing == "taking" and now - self.link.moved > _STALLED_S
        return self.doing == "waiting" or stalled


class MiddleServer:
    """Answers batches, one thread for each connection."""

    def __init__(self, part: PartFile, opened: Open, *, limits: Limits | None = None) -> None:
        """Take the exposed part, and what loads it."""
        self._part: Final = part
        self._digest: Final = sha256(part.data)
        self._inputs: Final = {info.name: info.datatype for info in part.inputs}
        self._open: Final = opened
        self._limits: Final = limits or Limits()
        self._loaded: dict[tuple[bool, tuple[str, ...]], Run] = {}
        self._lock: Final = threading.Lock()
        self._seats: Final[set[_Seat]] = set()
        self._seating: Final = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        """Accept until the listener is shut down."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                _notice_its_end(connection)
                seat = _Seat(Link(connection))
            except OSError:  # it is gone already
                connection.close()
                continue
            if self._has_place(seat):
                threading.Thread(target=self._one, args=(seat,), daemon=True).start()
            else:
                seat.link.close()

    def _has_place(self, seat: _Seat) -> bool:
        """Take a connection in, for which the one that is quiet for longest ends if need be."""
        with self._seating:
            if len(self._seats) >= _MAX_CONNECTIONS:
                quiet = [each for each in self._seats if each.is_quiet(time.monotonic())]
                if not quiet:
                    return False
                longest = min(quiet, key=lambda each: each.link.moved)
                self._seats.discard(longest)
                longest.link.cut()
            self._seats.add(seat)
            return True

    def _one(self, seat: _Seat) -> None:
        try:
            self._conversation(seat)
        except CloisterError as e:
            _LOG.info("connection ended code=%s reason=%s", e.code, printable(e.public))
        finally:
            with self._seating:
                self._seats.discard(seat)
            seat.link.close()

    def _conversation(self, seat: _Seat) -> None:
        link = seat.link
        head, length, descriptors = link.receive_head(
            max_body=0, deadline=time.monotonic() + _HELLO_S
        )
        seat.doing = "answering"
        memory: SharedMemory | None = None
        try:
            hello = read_hello(head)
            if length or bool(hello.memory_bytes) != bool(descriptors):
                raise MalformedError("no hello", code="middle.malformed")
            if hello.part != self._digest:
                raise ConfigError(
                    "the inside asks for another part than this one", code="config.value"
                )
            run = self._running(hello)
            if descriptors:
                memory = SharedMemory(descriptors.pop(), hello.memory_bytes)
            link.send(ready_head(self._digest), deadline=_soon())
            while True:
                self._answer(seat, run, hello, memory)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            if memory is not None:
                memory.close()

    def _running(self, hello: Hello) -> Run:
        key = (hello.blinded, hello.outputs)
        with self._lock:
            if key not in self._loaded:
                if len(self._loaded) >= _MAX_LOADED:  # whoever connects says what is asked for
                    del self._loaded[next(iter(self._loaded))]
                self._loaded[key] = (
                    _blinded(self._part, hello.outputs)
                    if hello.blinded
                    else self._open(hello.outputs)
                )
            return self._loaded[key]

    def _outputs(self, hello: Hello, layout: Layout) -> Sequence[str]:
        """Return which tensors answer a batch, of which the names and types are allowed."""
        kinds = {name: kind for name, kind, _ in layout.rows}
        if not hello.blinded and kinds == self._inputs:
            return hello.outputs
        if hello.blinded and len(kinds) == 1 and set(kinds.values()) == {_RESIDUES}:
            (step,) = kinds
            if step in hello.outputs:
                return (step,)
        raise MalformedError("a batch has other tensors", code="middle.malformed")

    def _answer(self, seat: _Seat, run: Run, hello: Hello, memory: SharedMemory | None) -> None:
        link = seat.link
        seat.doing = "waiting"
        most = self._limits.max_bytes if memory is None else 0
        head, length, descriptors = link.receive_head(max_body=most, deadline=None)
        seat.doing = "taking"
        for descriptor in descriptors:
            os.close(descriptor)
        number, layout = read_batch(
            head, max_bytes=self._limits.max_bytes if memory is None else memory.size
        )
        if length != (layout.size if memory is None else 0):
            raise MalformedError("a batch has another body", code="middle.malformed")
        if memory is None:
            body = memoryview(bytearray(length))
            link.receive_into(body, deadline=None)
        else:
            body = memory.view
        seat.doing = "answering"
        outputs = self._outputs(hello, layout)
        try:
            found = run(layout.read(body, private=False))
            answer = {name: found[name] for name in outputs}
        except CloisterError as e:
            _LOG.info("batch failed code=%s reason=%s detail=%s", e.code, e.public, e.detail)
            link.send(failed_head(number, e.public), deadline=_soon())
            return
        said = Layout.of(answer)
        if memory is None:
            out = memoryview(bytearray(said.size))
            said.write(answer, out)
            link.send(answer_head(number, said), out, deadline=_soon())
            return
        at = -(-layout.size // _PAGE) * _PAGE
        if at + said.size > memory.size:
            link.send(failed_head(number, "the shared memory is too small"), deadline=_soon())
            return
        said.write(answer, memory.view[at:])
        link.send(answer_head(number, said), deadline=_soon())


def _soon() -> float:
    return time.monotonic() + _SEND_S


def _notice_its_end(connection: socket.socket) -> None:
    """Have the kernel find out when the other machine is gone, though nobody says so."""
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PEER_GONE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PEER_PROBE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PEER_GONE_S * 1000)
