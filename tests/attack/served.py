"""The real service as a process of its own, reached over HTTP, with the attacker on the wire.

`Served` has everything that `ServiceBench` has but the service's inside: what a test learns, it
learns as a peer does, from HTTP answers, or as the operator does, from files and processes. Every
exchange is kept as the wire saw it.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attack.clocked_server import OFFSETS
from attack.spellings import found_in
from cloister.crypto.signature import SigningKey
from cloister.keyservice.clock import Moment, read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import LogEntry
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    MEDIA_TYPE,
    Challenge,
    ChallengeRequest,
    Failure,
    Reply,
    SignedReply,
)
from cloister.keyservice.view.token import ViewToken
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.keyservice import CODE_KEY, DATA_KEY, ServiceBench

__all__ = ["Exchange", "Served", "ServedClock"]

_ENTRY: Final = Path(__file__).parent / "clocked_server.py"
_TIMEOUT_S: Final = 60
_MOST_OF_A_REFUSAL: Final = 1024


class ServedClock:
    """The clock of the service and of its honest clients, which a test moves."""

    def __init__(self, path: Path) -> None:
        """Start at the genuine time."""
        self.path: Final = path
        self._fd: Final = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._at, self._uptime = 0, 0.0
        self._write()

    def __call__(self) -> Moment:
        """Read it."""
        genuine = read_clock()
        return Moment(genuine.at + self._at, genuine.uptime + self._uptime)

    @property
    def at(self) -> int:
        """Seconds since the epoch."""
        return self().at

    @property
    def offset(self) -> int:
        """How far the wall clock is ahead of the genuine one."""
        return self._at

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self._uptime += seconds
        self.set(int(seconds))

    def set(self, seconds: int) -> None:
        """Set the wall clock by so many seconds; no time passes."""
        self._at += seconds
        self._write()

    def _write(self) -> None:
        os.pwrite(self._fd, OFFSETS.pack(self._at, self._uptime), 0)


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One HTTP exchange, as it went over the wire."""

    path: str
    request: bytes
    status: int
    head: bytes
    body: bytes

    @property
    def answer(self) -> bytes:
        """Every byte that came back."""
        return self.head + self.body


class Served(ServiceBench):
    """A trust domain whose service runs in a process. Close it."""

    process: subprocess.Popen[bytes] | None = None
    port = 0
    exchanges: list[Exchange]
    secrets: dict[str, bytes]

    @classmethod
    def create(cls, parent: Path, name: str = "example.test", *options: str) -> Served:
        """Make a domain in a new directory `name` of `parent`, and start its service."""
        domain = TrustDomain.create(
            parent / name, name, moment=read_clock(), image=installed_image()
        )
        return cls.serve(domain, ServedClock(parent / f"{name}.clock"), *options)

    @classmethod
    def serve(cls, domain: TrustDomain, clock: ServedClock, *options: str) -> Served:
        """Start the service of a domain that is there."""
        nothing: Any = None  # the inside of the service is in another process
        served = cls(domain, domain.platform(), nothing, nothing, clock, domain.owner_key())
        served.options = options
        served.exchanges = []
        served.secrets = {
            "data key": DATA_KEY,
            "code key": CODE_KEY,
            "owner key": served.owner_key.to_secret(),
        }
        served.start()
        return served

    options: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()  # a command in front, for what it takes away from the process

    @property
    def home(self) -> Path:
        """The process's working, home and temporary directory; nothing is there at first."""
        return self.domain.directory.with_suffix(".home")

    @property
    def url(self) -> str:
        """Where the process listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the process has said."""
        return self.domain.directory.with_suffix(".log")

    def start(self) -> Mapping[str, Any]:
        """Start the process; returns what it said, and sets `port` where it serves."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        home = str(self.home)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, str(_ENTRY), *self._arguments()],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=home,
                env={
                    "PYTHONPATH": ":".join(str(Path(part).resolve()) for part in sys.path),
                    "PATH": os.defpath,
                    "HOME": home,
                    "TMPDIR": home,
                },
            )
        assert self.process.stdout is not None
        facts: Mapping[str, Any] = json.loads(self.process.stdout.readline())
        self.process.stdout.close()
        if "url" in facts:
            self.port = int(facts["url"].rpartition(":")[2])
        return facts

    def _arguments(self) -> list[str]:
        listen = f"127.0.0.1:{self.port}"
        clock = self.clock
        assert isinstance(clock, ServedClock)
        fixed = [str(clock.path), "--domain", str(self.domain.directory), "--listen", listen]
        return [*fixed, "--log-format", "json", *self.options]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process, which must not have ended by itself; returns its status."""
        assert self.process is not None
        assert self.process.poll() is None
        self.process.send_signal(number)
        return self.process.wait(timeout=_TIMEOUT_S)

    def ended(self) -> int:
        """Wait until the process has ended by itself; returns its status."""
        assert self.process is not None
        return self.process.wait(timeout=_TIMEOUT_S)

    def refuses_to_start(self) -> str:
        """Start it, expecting that it refuses its state; returns the code."""
        facts = self.start()
        assert self.ended() == 76
        assert set(facts) == {"error"}
        code: str = facts["error"]["code"]
        return code

    def restart(self) -> None:
        """SIGKILL, and start again on the same port."""
        self.end(signal.SIGKILL)
        assert "url" in self.start()

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)

    def copy(self, parent: Path) -> Served:
        """Copy the stopped service's state, as the operator can, beside the same platform."""
        directory = parent / self.domain.directory.name
        shutil.copytree(self.domain.directory, directory)
        shutil.rmtree(directory / "platform")
        (directory / "platform").symlink_to(self.domain.directory / "platform")
        clock = self.clock
        assert isinstance(clock, ServedClock)
        return Served.serve(TrustDomain.load(directory), clock)

    # -- the wire

    def exchange(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send one HTTP request over a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            client.request(method, path, body or None, dict(headers or {}))
            answer = client.getresponse()
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders())
            found = Exchange(path, body, answer.status, head.encode("latin-1"), answer.read())
        finally:
            client.close()
        self.exchanges.append(found)
        return found

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Answer a request; what waits here is the network, whatever the client would wait."""
        del timeout_s
        self.requests.append((path, body))
        answer = self.exchange("POST", path, body, {"Content-Type": MEDIA_TYPE}).body
        return answer if self.tap is None else self.tap(path, body, answer)

    def get(self, path: str, token: str = "") -> Exchange:
        """Look at something, with a view token or without."""
        return self.exchange(
            "GET", path, headers={"Authorization": f"Bearer {token}"} if token else {}
        )

    def view_token(self, *, signer: SigningKey | None = None, scope: str = "view") -> str:
        """A view token for this service, good for an hour; the owner's, unless another signs."""
        token = ViewToken.make(self.domain.identity, scope=scope, hours=1, at=self.clock.at)
        return token.signed(self.owner_key if signer is None else signer)

    # -- what an attacker does

    def send(self, path: str, body: bytes) -> Reply | Failure:
        """Post bytes of the attacker's; returns what the service signed."""
        data = self.exchange("POST", path, body, {"Content-Type": MEDIA_TYPE}).body
        return SignedReply.from_bytes(data).open(
            path=path, request=body, service=self.domain.identity
        )

    def challenge(self, path: str = CHALLENGE_PATH) -> bytes:
        """A fresh nonce for the attacker."""
        answer = self.send(path, ChallengeRequest(os.urandom(32)).to_bytes())
        assert isinstance(answer, Reply)
        return Challenge.from_bytes(answer.result).nonce

    def refused(self, path: str, body: bytes) -> str:
        """Post bytes of the attacker's, which must give him nothing; returns the signed code."""
        answer = self.send(path, body)
        assert isinstance(answer, Failure)
        self.require_nothing_released(self.exchanges[-1])
        return answer.code

    def require_nothing_released(self, exchange: Exchange) -> None:
        """A refusal is short, is no success, and has no secret in any spelling."""
        assert exchange.status >= 400
        assert len(exchange.body) < _MOST_OF_A_REFUSAL
        assert found_in(exchange.answer, self.secrets) == []

    def require_nothing_on_the_wire(self) -> None:
        """No byte that ever came back shows a secret."""
        for exchange in self.exchanges:
            assert found_in(exchange.answer, self.secrets) == []

    # -- what the log says

    def entries(self) -> list[LogEntry]:
        """Every decision in the log, as the owner reads it."""
        entries, _ = self.owner().read_log(first=0, count=1000, old=None)
        return [entry for entry in entries if isinstance(entry, LogEntry)]

    def logged(self, do: Callable[[], object]) -> list[tuple[str, str]]:
        """Do something; returns (operation, code) of what the log has gained by it."""
        before = len(self.entries())
        do()
        return [(entry.operation, entry.code) for entry in self.entries()[before:]]

    # -- platforms of other kinds

    def platform_like(self, directory: Path, **facts: object) -> SimPlatform:
        """A copy of this domain's platform that states other facts: `debug`, `svn`."""
        shutil.copytree(self.domain.directory / "platform", directory)
        path = directory / "platform.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))
        return SimPlatform.load(directory)
