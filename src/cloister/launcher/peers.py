"""Where the relays of a job answer, as the operator says: a file of lines, or a folder of files.

Nothing is believed about it: who answers at an address has to prove who it is. A file has lines
`NAME HOST:PORT`; a folder has a file for each name, whose content is `HOST:PORT`, in which runs of
one machine announce themselves. Both are read anew at each question, since peers come and go.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError

__all__ = ["Address", "PeerDirectory", "parse_address"]

Address = tuple[str, int]

MAX_BYTES: Final = 1 << 17
_MAX_ANNOUNCED: Final = 512  # longer than any address, so that what was cut is none
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}-(0|[1-9][0-9]{0,2})")
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})")
_MAX_PORT: Final = 65535


def parse_address(text: str, *, what: str) -> Address:
    """Read `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        ConfigError: It is none (`config.value`).
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found[3]) if found else -1
    if found is None or not 0 <= port <= _MAX_PORT:
        raise ConfigError(
            f"{what}: {text[:80]!r} is no address", code="config.value", hint="write HOST:PORT"
        )
    return found[1] or found[2], port


class PeerDirectory:
    """Answers where a task's relay is said to be."""

    def __init__(self, place: Path | None) -> None:
        """Take a file, a folder, or nothing, where nobody is to be found."""
        self._place = place

    def check(self) -> None:
        """Read all of it once, so that a slip of the pen is an error at the start.

        Raises:
            ConfigError: There is no such file or folder (`config.missing`, `config.file`); or a
                line is not as above (`config.value`).
        """
        if self._place is not None and not self._place.is_dir():
            self._lines(self._place)

    def locate(self, name: str) -> Address | None:
        """Return where the relay of a task answers, such as `worker-1`; None while it is not said.

        What cannot be read at the moment counts as not said: it may be there the next time.
        """
        if self._place is None or not _NAME.fullmatch(name):
            return None
        try:
            if self._place.is_dir():
                with (self._place / name).open("rb") as stream:
                    text = stream.read(_MAX_ANNOUNCED + 1)
                return parse_address(text.decode("ascii").strip(), what=name)
            return self._lines(self._place).get(name)
        except (OSError, UnicodeDecodeError, ConfigError):
            return None

    def announce(self, name: str, address: Address) -> None:
        """Say in a folder where this run's relay answers; a file is its author's business.

        Raises:
            ConfigError: The folder cannot be written (`config.file`).
        """
        if self._place is None or not self._place.is_dir():
            return
        host, port = address
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        temporary = self._place / f".{name}.{os.getpid()}"
        try:
            temporary.write_text(f"{text}\n", encoding="ascii")
            temporary.replace(self._place / name)
        except OSError as e:
            raise ConfigError(
                f"{self._place} cannot be written: {e.strerror}", code="config.file"
            ) from e

    def withdraw(self, name: str, address: Address) -> None:
        """Take the announcement back, unless a newer run has put its own in its place."""
        if self._place is not None and self._place.is_dir() and self.locate(name) == address:
            (self._place / name).unlink(missing_ok=True)

    @staticmethod
    def _lines(place: Path) -> dict[str, Address]:
        try:
            with place.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except FileNotFoundError as e:
            raise ConfigError(f"there is no {place}", code="config.missing") from e
        except OSError as e:
            raise ConfigError(f"{place} cannot be read: {e.strerror}", code="config.file") from e
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{place} is too large", code="config.value")
        found: dict[str, Address] = {}
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if len(words) != 2 or not _NAME.fullmatch(words[0]) or words[0] in found:  # noqa: PLR2004  # a name and an address
                raise ConfigError(
                    f"{place}:{number}: not a task and where its relay answers",
                    code="config.value",
                    hint="write lines such as: worker-0 10.0.0.5:7443",
                )
            found[words[0]] = parse_address(words[1], what=f"{place}:{number}")
        return found
