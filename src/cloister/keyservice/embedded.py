"""Find the running key service of a trust domain, or start one; no server to install.

A service started here is a process of its own session that ends when nobody has asked it anything
for a while. Two starters at once get the same service: a lock lets one start it, and the store's
own lock makes a second one impossible in any case.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cloister
from cloister.errors import UnavailableError, error_from_wire
from cloister.keyservice.domain import EMBEDDED_URL, TrustDomain
from cloister.keyservice.transport import HTTPTransport, connect_unix

__all__ = ["IDLE_EXIT_S", "EmbeddedTransport", "ensure_service", "running_service"]

IDLE_EXIT_S: Final = 60
_SOCKET_NAME: Final = "service.sock"
_START_LOCK: Final = "start.lock"
_LOG_NAME: Final = "service.log"
_CONNECT_S: Final = 2.0
_POLL_S: Final = 0.02
_MAX_LINE: Final = 65536
_ENDING_S: Final = 10.0


def ensure_service(
    domain: TrustDomain, *, deadline_s: float, idle_exit_s: int = IDLE_EXIT_S
) -> str:
    """Return the address of the domain's key service, after starting it where that is needed.

    A domain whose `url` names a server is left alone: its address is returned as it is. Who
    answers there is for the client to check, against the pinned identity.

    Raises:
        UnavailableError: It did not start in time (`keyservice.slow`) or at all
            (`keyservice.unreachable`), or another that has no socket here keeps the state
            (`keyservice.busy`).
        CloisterError: What kept it from starting, such as `state.tampered`.
    """
    if domain.url != EMBEDDED_URL:
        return domain.url
    found = running_service(domain)
    if found is not None:
        return found
    end = time.monotonic() + deadline_s
    with _starting(domain.keyservice_directory, end):
        # One that is ending lets go of its socket first, and of its state last.
        ended = min(end, time.monotonic() + _ENDING_S)
        while True:
            try:
                return running_service(domain) or _start(domain, end, idle_exit_s)
            except UnavailableError as e:
                if e.code != "keyservice.busy" or time.monotonic() > ended:
                    raise
            time.sleep(_POLL_S)


class EmbeddedTransport(HTTPTransport):
    """The way to a domain's service, which is started again where it may have ended.

    For commands that may be busy elsewhere for longer than it waits for its next request.
    """

    def __init__(
        self, domain: TrustDomain, *, deadline_s: float, idle_exit_s: int = IDLE_EXIT_S
    ) -> None:
        """Find the service, or start it.

        Raises:
            CloisterError: As `ensure_service`.
        """
        super().__init__(ensure_service(domain, deadline_s=deadline_s, idle_exit_s=idle_exit_s))
        self._domain: Final = domain
        self._deadline_s: Final = deadline_s
        self._idle_exit_s: Final = idle_exit_s
        self._asked = time.monotonic()

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the body of whatever answer came; nothing is sent twice.

        Raises:
            CloisterError: As `ensure_service` where it has to be started again.
        """
        if time.monotonic() - self._asked > self._idle_exit_s / 2:
            self.close()
            ensure_service(self._domain, deadline_s=self._deadline_s, idle_exit_s=self._idle_exit_s)
        answer = super().post(path, body, timeout_s=timeout_s)
        self._asked = time.monotonic()
        return answer


def running_service(domain: TrustDomain) -> str | None:
    """Return the address of the domain's embedded key service if one accepts connections."""
    path = domain.keyservice_directory.resolve() / _SOCKET_NAME
    try:
        connect_unix(path, timeout_s=_CONNECT_S).close()
    except OSError:
        return None
    return f"unix://{path}"


@contextlib.contextmanager
def _starting(directory: Path, end: float) -> Iterator[None]:
    fd = os.open(directory / _START_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as e:
                if time.monotonic() > end:
                    raise _too_slow() from e
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(fd)


def _start(domain: TrustDomain, end: float, idle_exit_s: int) -> str:
    directory = domain.keyservice_directory.resolve()
    root = str(Path(cloister.__file__).parent.parent)
    command = [sys.executable, "-m", "cloister.keyservice.server"]
    command += ["--domain", str(domain.directory.resolve()), "--idle-exit", str(idle_exit_s)]
    log = os.open(
        directory / _LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": root, "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )
    finally:
        os.close(log)
    try:
        return _read_ready(process, end)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
        # It outlives us on purpose; nobody here waits for it.
        process.returncode = process.returncode or 0


def _read_ready(process: subprocess.Popen[bytes], end: float) -> str:
    line = b""
    stream = process.stdout
    while stream is not None and not line.endswith(b"\n") and len(line) < _MAX_LINE:
        left = end - time.monotonic()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            raise _too_slow()
        part = os.read(stream.fileno(), _MAX_LINE)
        if not part:
            break
        line += part
    try:
        facts = json.loads(line)
        if "error" in facts:
            raise error_from_wire(str(facts["error"]["code"]), str(facts["error"]["message"]))
        return str(facts["url"])
    except (ValueError, KeyError, TypeError) as e:
        raise UnavailableError(
            "the key service did not start",
            code="keyservice.unreachable",
            detail=repr(line[:500]),
            hint="its log is in the trust domain: keyservice/service.log",
        ) from e


def _too_slow() -> UnavailableError:
    return UnavailableError("the key service did not start in time", code="keyservice.slow")
