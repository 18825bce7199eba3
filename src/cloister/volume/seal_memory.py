"""Make a sealed volume of files that are in memory and were never on a disk."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.errors import LocalProtocolError
from cloister.volume.content.shared import PACK_PATH
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import VolumeIdentity, VolumeKind
from cloister.volume.index import Index
from cloister.volume.keys import VolumeKeys, make_superblock
from cloister.volume.opening import BLOCK_BYTES, new_directory, open_contents, write_new_volume
from cloister.volume.seal import Progress, ProgressReport

__all__ = ["seal_memory"]

_VOLUME_ID_BYTES: Final = 16
_PIECE_BYTES: Final = 2**20
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644


def seal_memory(
    files: Mapping[str, bytes],
    directory: Path,
    volume_key: bytes,
    *,
    at_ns: int,
    progress: ProgressReport,
) -> VolumeIdentity:
    """Make a sealed volume that has these files in its root; nothing of them is written in plain.

    The caller registers the identity with the volume's anchor, or pins it.

    Args:
        files: Contents by name; names are plain, without a slash.
        directory: Where the volume goes; missing or empty.
        volume_key: 32 secret bytes, fresh for this volume.
        at_ns: The time that the files have, in nanoseconds since the epoch.
        progress: Called after each piece.

    Raises:
        ConfigError: `directory` is taken.
        StorageFullError: What was begun is no volume and may be deleted.
        LocalProtocolError: A name is none.
    """
    if any(not name or "/" in name or "\0" in name or name in {".", ".."} for name in files):
        raise LocalProtocolError("that is no name of a file", code="protocol.local")
    store = new_directory(directory)
    superblock = make_superblock(
        volume_key,
        kind=VolumeKind.SEALED,
        block_bytes=BLOCK_BYTES,
        volume_id=random_bytes(_VOLUME_ID_BYTES),
    )
    keys, index, done = VolumeKeys(volume_key, superblock), Index(), Progress()
    index.make_root(mode=_FOLDER_MODE, at_ns=at_ns)
    store.create(PACK_PATH).close()
    contents = open_contents(store, keys, superblock, index)
    try:
        for name in sorted(files):
            data = memoryview(files[name])
            inode = index.add(stat.S_IFREG | _FILE_MODE, at_ns=at_ns)
            for begin in range(0, len(data), _PIECE_BYTES):
                piece = data[begin : begin + _PIECE_BYTES]
                contents.write(inode, begin, piece)
                done.octets += len(piece)
                progress(done)
            inode.digest = hashlib.sha256(data).digest()
            index.put_name(index.inodes[ROOT_INO], name.encode(), inode)
            done.files += 1
            progress(done)
        contents.flush(everything=True)
        contents.sync()
    finally:
        contents.close()
    return write_new_volume(store, keys, superblock, index)
