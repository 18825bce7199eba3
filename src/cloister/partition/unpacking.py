"""What the standard library raises about a hostile zip archive, and which members are unpacked.

Its other methods are refused: their unpackers have errors of their own, and take memory by what a
header says.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Final

__all__ = ["UNPACKING_ERRORS", "is_plain"]

UNPACKING_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    EOFError,
    NotImplementedError,  # of zipfile: a version or a method that it does not have
    RuntimeError,
    struct.error,
)
_ENCRYPTED: Final = 1
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def is_plain(member: zipfile.ZipInfo) -> bool:
    """Tell whether a member is stored or deflated, and not encrypted."""
    return member.compress_type in _METHODS and not member.flag_bits & _ENCRYPTED
