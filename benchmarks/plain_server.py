"""The bare engine behind an ordinary HTTP server: uvicorn and Starlette, no TLS, no checks.

    python benchmarks/plain_server.py MODEL.tflite PORT
    python benchmarks/plain_server.py MODEL.onnx PORT

It takes and gives raw float32 bytes of the first input and output; the model runs in a thread of
its own, as with us.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Engine(Protocol):
    """Runs a model on rows of bytes."""

    def predict(self, body: bytes) -> bytes:
        """Return what comes out."""
        ...


class LiteRTEngine:
    """One interpreter, one thread."""

    def __init__(self, model: Path) -> None:
        """Load."""
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # one of two engines

        self._interpreter = Interpreter(model_content=model.read_bytes(), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()

    def predict(self, body: bytes) -> bytes:
        """Run on rows of bytes."""
        rows = np.frombuffer(body, np.float32).reshape(-1, *self._input["shape"][1:])
        if rows.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input["index"], rows.shape)
            self._interpreter.allocate_tensors()
            self._shape = rows.shape
        self._interpreter.set_tensor(self._input["index"], rows)
        self._interpreter.invoke()
        return bytes(self._interpreter.get_tensor(self._output).tobytes())


class ONNXEngine:
    """One session, one thread."""

    def __init__(self, model: Path) -> None:
        """Load."""
        import onnxruntime  # noqa: PLC0415  # one of two engines

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0]

    def predict(self, body: bytes) -> bytes:
        """Run on rows of bytes."""
        rows = np.frombuffer(body, np.float32).reshape(-1, *self._input.shape[1:])
        return bytes(self._session.run(None, {self._input.name: rows})[0].tobytes())


def main() -> None:
    """Serve until killed."""
    path = Path(sys.argv[1])
    engine: Engine = ONNXEngine(path) if path.suffix == ".onnx" else LiteRTEngine(path)
    worker = ThreadPoolExecutor(1)

    async def predict(request: Request) -> Response:
        import asyncio  # noqa: PLC0415  # beside its use

        body = await request.body()
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(worker, engine.predict, body)
        return Response(answer, media_type="application/octet-stream")

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    # Connections wait for each other before they are measured, longer than its own five seconds.
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", timeout_keep_alive=600
    )


if __name__ == "__main__":
    main()
