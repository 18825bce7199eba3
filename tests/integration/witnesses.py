"""Witnesses as processes, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from cloister.crypto.signature import VerifyingKey
from cloister.keyservice.cosigning import WitnessKey
from cloister.keyservice.witnessing import WitnessEndpoint


class WitnessProcess:
    """`cloister keyservice witness`, which can be killed and started again on the same port."""

    def __init__(self, state: Path, *, origin: str, key: VerifyingKey) -> None:
        """Start it for one log."""
        self.state = state
        self.origin = origin
        self.service_key = key
        self.url = "http://127.0.0.1:0"
        self.start()

    def start(self) -> None:
        """Start and wait until it is ready."""
        words = ["keyservice", "witness", "--state", str(self.state), "--name", self.state.name]
        words += ["--origin", self.origin, "--service-key", self.service_key.text]
        words += ["--listen", self.url.removeprefix("http://")]
        code = "from cloister.cli.main import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        facts = json.loads(self.process.stdout.readline())
        self.url = facts["url"]
        self.key = WitnessKey.from_text(facts["witness"])

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; returns the exit status, at once where it ended before."""
        if self.process.returncode is not None:
            return self.process.returncode
        self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def endpoint(self) -> WitnessEndpoint:
        """Where and as whom it answers."""
        return WitnessEndpoint(self.url, self.key)
