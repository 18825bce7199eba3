"""A software TPM of one's own for tests: swtpm on a Unix socket, in a temporary directory.

What makers and firmware do to a TPM before a guest sees it is done here: keys under persistent
handles, NV indexes, extended registers.

Example::

    with SoftwareTpm() as software, software.transport() as transport:
        TpmAttester(Tpm(transport)).collect(report_data)
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from cloister.errors import CloisterError, ConfigError
from cloister.tee.tpm.commands import ENDORSEMENT, OWNER, Tpm
from cloister.tee.tpm.exchange import sized
from cloister.tee.tpm.public import PublicArea, ak_template
from cloister.tee.tpm.transport import TpmPath

__all__ = ["SoftwareTpm", "find_swtpm"]

_EVICT: Final = 0x120
_UNDEFINE: Final = 0x122
_DEFINE: Final = 0x12A
_WRITE: Final = 0x137
_EXTEND: Final = 0x182
_SHA256: Final = b"\0\x0b"
_PIECE: Final = 512
_STARTS_S: Final = 20.0
# ownerwrite, authwrite, ownerread, authread
_EVERYBODY: Final = 0x0006_0006


def find_swtpm() -> str | None:
    """Return the program, or None where it is not installed."""
    return shutil.which("swtpm")


class SoftwareTpm:
    """One running TPM, new each time."""

    def __init__(self) -> None:
        """Make its directory.

        Raises:
            ConfigError: swtpm is not installed.
        """
        program = find_swtpm()
        if program is None:
            raise ConfigError("swtpm is not installed: tools/swtpm.sh", code="config.missing")
        self._program = program
        self._directory = Path(tempfile.mkdtemp(prefix="cloister-swtpm-"))
        self.path: Final = self._directory / "socket"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(  # noqa: S603  # a program found above
            [
                *(self._program, "socket", "--tpm2", "--tpmstate", f"dir={self._directory}"),
                *("--server", f"type=unixio,path={self.path}"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + _STARTS_S
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(CloisterError), self.transport():
                return self
            time.sleep(0.005)
        self.__exit__()
        raise ConfigError("swtpm does not start", code="config.missing")

    def __exit__(self, *_: object) -> None:
        """End it and take its directory away."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def stop(self) -> None:
        """End it, as if it were unplugged."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_STARTS_S)

    def transport(self) -> TpmPath:
        """Return a way to it, to be entered; it serves one at a time."""
        return TpmPath(self.path)

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend a register of SHA-256, as a boot does."""
        with self.transport() as transport:
            Tpm(transport).execute(
                _EXTEND,
                "extend",
                handles=(pcr,),
                authorized=1,
                parameters=(1).to_bytes(4, "big") + _SHA256 + digest,
            )

    def persist(self, handle: int, *, template: bytes = ak_template("rsa")) -> PublicArea:
        """Leave a key under a persistent handle, as Azure does with its attestation key."""
        with self.transport() as transport:
            tpm = Tpm(transport)
            key, public = tpm.create_primary(ENDORSEMENT, template)
            tpm.execute(
                _EVICT,
                "persist",
                handles=(OWNER, key),
                authorized=1,
                parameters=handle.to_bytes(4, "big"),
            )
            tpm.flush(key)
        return public

    def store(self, index: int, data: bytes, *, attributes: int = _EVERYBODY) -> None:
        """Put data into an NV index of its length, new or again."""
        with self.transport() as transport:
            store_nv(Tpm(transport), index, data, attributes=attributes)


def store_nv(tpm: Tpm, index: int, data: bytes, *, attributes: int = _EVERYBODY) -> None:
    """Define an NV index anew and write it, in as many pieces as it takes."""
    if tpm.nv_public(index) is not None:
        tpm.execute(_UNDEFINE, "undefine", handles=(OWNER, index), authorized=1)
    public = index.to_bytes(4, "big") + _SHA256 + attributes.to_bytes(4, "big") + sized(b"")
    tpm.execute(
        _DEFINE,
        "define",
        handles=(OWNER,),
        authorized=1,
        parameters=sized(b"") + sized(public + len(data).to_bytes(2, "big")),
    )
    for at in range(0, len(data), _PIECE):
        tpm.execute(
            _WRITE,
            "write",
            handles=(OWNER, index),
            authorized=1,
            parameters=sized(data[at : at + _PIECE]) + at.to_bytes(2, "big"),
        )
