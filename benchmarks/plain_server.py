"""The bare engine behind an ordinary HTTP server: uvicorn and Starlette, no TLS, no checks.

    python benchmarks/plain_server.py MODEL.tflite PORT

It takes and gives raw float32 bytes of the first input and output; the model runs in a thread of
its own, as with us.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import uvicorn
from ai_edge_litert.interpreter import Interpreter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Engine:
    """One interpreter, one thread."""

    def __init__(self, model: Path) -> None:
        """Load."""
        self._interpreter = Interpreter(model_content=model.read_bytes(), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()
        self.worker = ThreadPoolExecutor(1)

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


def main() -> None:
    """Serve until killed."""
    engine = Engine(Path(sys.argv[1]))

    async def predict(request: Request) -> Response:
        import asyncio  # noqa: PLC0415  # beside its use

        body = await request.body()
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(engine.worker, engine.predict, body)
        return Response(answer, media_type="application/octet-stream")

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")


if __name__ == "__main__":
    main()
