"""A volume with its key and anchor beside it: everything a test or a benchmark needs in one place.

Never how a volume is kept in earnest: whoever has this directory has the key, and can roll the
volume back together with its anchor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.volume.anchor_file import FileAnchor
from cloister.volume.filesystem import Filesystem
from cloister.volume.opening import create_volume, open_volume
from cloister.volume.regions import ENCRYPTED_ONLY, RegionClass, Regions

__all__ = [
    "describe_volume",
    "make_file_volume",
    "open_file_volume",
    "open_readable_file_volume",
]

_KEY_BYTES: Final = 32


def make_file_volume(directory: Path, *, regions: Regions = ENCRYPTED_ONLY) -> None:
    """Make an empty volume, its key and its anchor in a directory that is missing or empty."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = random_bytes(_KEY_BYTES)
    (directory / "key").write_bytes(key)
    classes = {path: found.value for path, found in regions.classes.items()}
    (directory / "regions").write_text(json.dumps(classes))
    made = create_volume(directory / "volume", key)
    FileAnchor.make(directory / "anchor", version=made.version, root=made.root)


def open_file_volume(config: bytes) -> Filesystem:
    """Open the volume in the directory that `config` names for writing, making it where missing."""
    directory = Path(config.decode())
    if not (directory / "anchor").exists():
        make_file_volume(directory)
    anchor = FileAnchor.acquire(directory / "anchor")
    key = (directory / "key").read_bytes()
    classes = json.loads((directory / "regions").read_text())
    regions = Regions({path: RegionClass(found) for path, found in classes.items()})
    return open_volume(directory / "volume", key, anchor=anchor, writable=True, regions=regions)


def open_readable_file_volume(config: bytes) -> Filesystem:
    """Do the same; where it is made, its files are authenticated and not encrypted."""
    directory = Path(config.decode())
    if not (directory / "anchor").exists():
        make_file_volume(directory, regions=Regions({"/": RegionClass.AUTHENTICATED}))
    return open_file_volume(config)


def describe_volume(filesystem: Filesystem) -> bytes:
    """Return the version of the newest committed state, in decimal."""
    identity = getattr(filesystem, "identity", None)
    return b"" if identity is None else b"%d" % identity.version
