"""A cut model that is served as commands serve it, and its middle beside: parts of stories."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from integration.cli.desk import SOURCES, Desk, await_true
from integration.cli.test_serve import free_port

__all__ = ["middle_process", "served"]

LIAR: Final = Path(__file__).parents[2] / "attack" / "lying_middle.py"


@contextlib.contextmanager
def served(
    desk: Desk, *more: str, signer: str, middle: int, timeout_s: float = 600
) -> Iterator[tuple[str, str]]:
    """Write a policy, apply it, start it; return the address and the server's identity."""
    port = free_port()
    policy = f"serve-{len(more) and 1}.yaml"
    desk.run(
        "serve", "sealed/model", "--package", "--name", "cut", "--signer", signer,
        "--require", "default", "--middle", f"localhost:{middle}", "--middle-bytes", "1000000",
        "--any-client", "a test of cut models", "--port", str(port), "--policy", policy, *more,
        timeout_s=timeout_s,
    ).good()  # fmt: skip
    desk.run("policy", "apply", policy).good()
    with desk.running("serve", "--policy", policy) as process:
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        reading.start()
        try:
            await_true(
                lambda: process.poll() is not None or any("serving port" in s for s in lines),
                timeout_s=300,
            )
            said = "".join(lines)
            assert process.poll() is None, said
            assert "linear steps are checked by 2 fresh secret vectors each" in said
            (identity,) = re.findall(r'identity="(spiffe://[^"]+)"', said)
            yield f"https://127.0.0.1:{port}", identity
        finally:
            process.terminate()
            process.wait(60)
            reading.join(60)


@contextlib.contextmanager
def middle_process(desk: Desk, port: int, *, liar: bool = False) -> Iterator[None]:
    """Run the exposed part, outside of everything, or what lies about it."""
    part, address = desk.folder / "exposed-model" / "middle.tflite", f"tcp:127.0.0.1:{port}"
    honest = ["-m", "cloister.inference.middle", "--part", part, "--listen", address]
    lying = [LIAR, part, address, desk.folder / "lie.json"]
    process = subprocess.Popen(
        [sys.executable, *(lying if liar else honest)],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("ready" if liar else "listening"), first + process.stdout.read()
        yield
    finally:
        process.kill()
        process.communicate(timeout=30)
