"""`python -m cloister.inference.middle`: the untrusted side, which runs a model's exposed middle.

This module is the edge of a process: it reads arguments and a file, and decides nothing. It holds
no key, needs no attestation, and nobody believes what it says.

Spec: outside-middle-v1.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloister.errors import CloisterError, reasons
from cloister.inference.middle_link import listen
from cloister.inference.middle_process import Limits, MiddleServer, Open, engine
from cloister.inference.model import read_model_file
from cloister.partition.blas import limit_blas
from cloister.partition.graph import PartFile
from cloister.partition.litert_file import read_litert
from cloister.partition.litert_source import litert_part
from cloister.partition.onnx_source import ONNXSource

__all__ = ["main", "read_part"]

_LOG: Final = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    limit_blas(1)  # blinded steps are short products: a second thread costs more than it saves
    try:
        part = read_part(options.part)
        opened = engine(
            part,
            threads=options.threads,
            provider=options.provider,
            torch_device=options.torch,
            jax_device=options.jax,
        )
        named = any(each is not None for each in (options.provider, options.torch, options.jax))
        if named:
            _try(part, opened, needed=True)
        server = MiddleServer(part, opened, limits=Limits(max_bytes=options.max_bytes))
        listener = listen(options.listen)
    except CloisterError as e:
        sys.stderr.write("\n".join([f"cloister.inference.middle: {e}", *reasons(e), ""]))
        return e.exit_status
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: listener.shutdown(socket.SHUT_RDWR))
    _LOG.info("listening at %s", options.listen)
    try:
        if not named:  # runtimes print when they load; whoever starts this waits for the line above
            _try(part, opened, needed=False)
        server.serve(listener)
    finally:
        listener.close()
        if options.listen.startswith("unix:"):
            Path(options.listen.removeprefix("unix:")).unlink(missing_ok=True)
    return 0


def read_part(path: Path) -> PartFile:
    """Read an exposed part by its suffix, `.onnx` or `.tflite`, as data.

    Raises:
        ConfigError: `config.file`.
        MalformedError: `model.malformed`.
        RefusedError: `model.operator` or `model.unsafe`.
    """
    data = read_model_file(path)
    if path.suffix == ".tflite":
        made = litert_part(read_litert(data))
        return PartFile("litert", data, made.inputs, made.outputs)
    graph = ONNXSource(data).graph
    return PartFile("onnx", data, graph.inputs, graph.outputs)


def _try(part: PartFile, opened: Open, *, needed: bool) -> None:
    """Load the part once, so that what is missing is known before anybody asks.

    Args:
        part: The exposed middle.
        opened: Loads it.
        needed: Whether an engine was named; without one, steps under pads are still answered.

    Raises:
        CloisterError: The engine that was named does not run this part here.
    """
    try:
        opened([info.name for info in part.outputs])
    except CloisterError as e:
        if needed:
            raise
        said = "\n".join([f"only steps under pads are answered here: {e}", *reasons(e)])
        _LOG.warning("%s", said)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cloister.inference.middle", allow_abbrev=False)
    parser.add_argument("--part", type=Path, required=True, help="the exposed .onnx or .tflite")
    parser.add_argument("--listen", required=True, help="unix:/path or tcp:host:port")
    parser.add_argument("--threads", type=int, default=1, help="threads of one computation")
    parser.add_argument(
        "--provider", help="a device, in ONNX Runtime's word: CUDAExecutionProvider, ..."
    )
    parser.add_argument(
        "--torch",
        metavar="DEVICE",
        help="run an .onnx in PyTorch, on a device in its word: cpu, cuda, ...",
    )
    parser.add_argument(
        "--jax",
        metavar="DEVICE",
        help="run an .onnx in JAX, on a device in its word: cpu, cuda, ...",
    )
    parser.add_argument("--max-bytes", type=int, default=Limits().max_bytes)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
