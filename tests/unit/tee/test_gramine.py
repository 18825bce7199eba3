"""Quotes through Gramine's files, from a tree that stands for them."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloister.attestation.evidence import ReportData
from cloister.errors import CloisterError
from cloister.tee.gramine import gramine_quote

ROOT = Path("/dev/attestation")
DATA = ReportData(b"r" * 64)


@dataclass
class Enclave:
    """`/dev/attestation` of one enclave.

    Attributes:
        kind: What `attestation_type` says.
        quote: A prefix of the quote; None makes it empty.
        written: What was written.
    """

    kind: bytes = b"dcap"
    quote: bytes | None = b"quote"
    written: dict[str, bytes] = field(default_factory=dict)

    def make_directory(self, path: Path) -> None:
        """Not here."""
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    remove_directory = make_directory

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Answer a file."""
        if path == ROOT / "attestation_type":
            return self.kind[:max_bytes]
        if path == ROOT / "quote":
            if "user_report_data" not in self.written:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
            return b"" if self.quote is None else self.quote + self.written["user_report_data"]
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def write(self, path: Path, data: bytes) -> None:
        """Take a file."""
        self.written[path.name] = data


@pytest.mark.parametrize("kind", [b"dcap", b"dcap\n", b"dcap\0"])
def test_a_quote_is_over_what_was_asked(kind: bytes) -> None:
    """However the type ends."""
    assert gramine_quote(DATA, root=ROOT, files=Enclave(kind)) == b"quote" + DATA.value


@pytest.mark.parametrize(
    ("root", "enclave", "code"),
    [
        (ROOT, Enclave(kind=b"none"), "machine.attester"),
        (ROOT, Enclave(kind=b"epid"), "machine.attester"),
        (Path("/nowhere"), Enclave(), "machine.attester"),
        (ROOT, Enclave(quote=None), "attester.failed"),
    ],
)
def test_no_quote_is_an_error_that_says_why(root: Path, enclave: Enclave, code: str) -> None:
    """No enclave, no DCAP, no quote."""
    with pytest.raises(CloisterError) as e:
        gramine_quote(DATA, root=root, files=enclave)
    assert e.value.code == code
