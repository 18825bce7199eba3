"""A PostgreSQL server of one's own for tests: a temporary directory, a unix socket, no network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError

__all__ = ["PostgresServer", "find_programs"]

_DEBIAN: Final = Path("/usr/lib/postgresql")
_USER: Final = "cloister"
_TIMEOUT_S: Final = 60


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's own programs, or None where it is not installed."""
    candidates = [Path(found).resolve().parent for found in (shutil.which("initdb"),) if found]
    candidates += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    needed = ("initdb", "postgres")
    return next((c for c in candidates if all((c / name).exists() for name in needed)), None)


class PostgresServer:
    """One running server; `stop` ends it and takes its directory away."""

    def __init__(self) -> None:
        """Make a cluster and start it.

        Raises:
            ConfigError: PostgreSQL is not installed.
        """
        programs = find_programs()
        if programs is None:
            raise ConfigError("PostgreSQL is not installed", code="config.missing")
        self._programs = programs
        # PostgreSQL refuses to run as root.
        self._account = "postgres" if os.geteuid() == 0 else None
        self.directory: Final = Path(tempfile.mkdtemp(prefix="cloister-postgres-"))
        if self._account is not None:
            shutil.chown(self.directory, self._account)
        self._names = count()
        self._run(
            "initdb",
            "--username",
            _USER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-sync",
            "--pgdata",
            "data",
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, again after `kill`."""
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(  # noqa: S603  # a program found above
                [
                    self._programs / "postgres",
                    "-D",
                    self.directory / "data",
                    "-k",
                    self.directory,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                    "-c",
                    "max_connections=40",
                ],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                user=self._account,
            )
        self._wait()

    def _wait(self) -> None:
        self._run("pg_isready", "--host", str(self.directory), "--quiet", wait=True)

    def kill(self) -> None:
        """End it at once, as a crash does; what was committed comes back with `start`."""
        self._end(signal.SIGQUIT)

    def send(self, number: int) -> None:
        """Send its first process a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End it and remove everything."""
        self._end(signal.SIGINT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def database(self, template: str = "template0") -> str:
        """Make a new database and return its name; a copy of `template`, which nobody uses."""
        name = f"test_{next(self._names)}"
        self.sql("postgres", f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return name

    def address(self, database: str) -> str:
        """Return a database's address."""
        return f"postgresql://{_USER}@/{database}?host={self.directory}"

    def sql(self, database: str, statements: str) -> str:
        """Run statements as the database's owner and attacker."""
        return self._run(
            "psql", "--host", str(self.directory), "--username", _USER, "--dbname", database,
            "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--set", "ON_ERROR_STOP=1", "--command", statements,
        )  # fmt: skip

    def dump(self, database: str) -> bytes:
        """Return everything that a database holds, as `pg_dump` writes it."""
        arguments = ("--host", str(self.directory), "--username", _USER, database)
        return self._run("pg_dump", *arguments).encode()

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            process.wait(timeout=_TIMEOUT_S)

    def _run(self, program: str, *arguments: str, wait: bool = False) -> str:
        end = time.monotonic() + (_TIMEOUT_S if wait else 0)
        while True:
            done = subprocess.run(  # noqa: S603  # a program found above
                [self._programs / program, *arguments],
                cwd=self.directory,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                user=self._account,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            if done.returncode == 0:
                return done.stdout.decode()
            if time.monotonic() > end:
                raise RuntimeError(f"{program} failed: {done.stderr.decode()}")
            time.sleep(0.05)
