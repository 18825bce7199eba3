"""The same model without any protection: in this process, and behind plain HTTP."""

from __future__ import annotations

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.inference.model import LiteRTModel, read_model_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ask_in_plain", "predict_plain"]


def predict_plain(model: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Predict with LiteRT in this process: float32[n, 8, 8, 1] to float32[n, 10]."""
    loaded = LiteRTModel(read_model_file(model), threads=1)
    (name,) = (spec.name for spec in loaded.inputs)
    (answer,) = loaded.predict({name: images}).values()
    found: NDArray[np.float32] = answer
    return found


def ask_in_plain(model: Path, images: NDArray[np.float32]) -> bytes:
    """Send the images over plain HTTP on loopback, as an unprotected service has them sent."""
    import numpy as np  # the demo alone needs it

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the base class's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = predict_plain(model, np.frombuffer(body, np.float32).reshape(images.shape))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.tobytes())

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        with urllib.request.urlopen(url, data=images.tobytes(), timeout=20) as reply:
            answer: bytes = reply.read()
        thread.join()
    return answer
