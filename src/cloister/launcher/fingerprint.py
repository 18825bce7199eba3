"""One hash over the facts of every file under the roots, taken by a process beside this one.

Equal hashes mean equal lines, as `scan` has them: inode, size, modification and change time, mode
and name of each file, and the name of each folder. Nothing is left out to be quick. It is quick
because GNU `find` does it, twice as fast as our own loop, while this process still loads modules.
Where there is no such `find`, there is no fingerprint, and `measure` does all of it.

Spec: launch-measurement-v1, clause LM-25.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Final

from cloister.launcher.errand import Errand
from cloister.launcher.runtime import MeasuredRoot

__all__ = ["Fingerprint", "is_settled", "take_fingerprint"]

_FIND: Final = "/usr/bin/find"
_LABEL: Final = b"cloister/v1/fingerprint\n"
_BYTES: Final = 32
_CHUNK_BYTES: Final = 1 << 20
_FOLDER: Final = ("-type", "d", "-printf", r"D %p\0")
_FILE: Final = ("-printf", r"%y %i %s %T@ %C@ %m %p\0")
_SPECIAL: Final = str.maketrans({character: "\\" + character for character in r"\*?["})


class Fingerprint:
    """A fingerprint in the making. Begin it before the first secret is in memory."""

    def __init__(self, roots: Sequence[MeasuredRoot]) -> None:
        """Fork a process that walks the roots; call this before threads exist."""
        self.roots: Final = tuple(roots)
        self._errand = Errand(lambda: take_fingerprint(self.roots), size=_BYTES)

    def __enter__(self) -> Fingerprint:
        """Use as a context that ends the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process if it still runs."""
        self.close()

    def value(self) -> bytes | None:
        """Wait for it and return 32 bytes, or None where it could not be taken."""
        return self._errand.value()

    def close(self) -> None:
        """End the process if it still runs; may be called at any time."""
        self._errand.close()


def is_settled(roots: Sequence[MeasuredRoot], *, at: int, margin_s: int) -> bool:
    """Tell whether no file changed later than `margin_s` before `at` (LM-22).

    A file changed since then could change again without its change time showing it.
    """
    newer = ("-newerct", f"@{at - margin_s}", "-printf", "x", "-quit")
    with suppress(OSError, ValueError):
        for group in _grouped(roots):
            done = subprocess.run(  # noqa: S603  # a fixed program of the system
                _command(group, newer), capture_output=True, check=False, env={"LC_ALL": "C"}
            )
            if done.returncode or done.stdout or done.stderr:
                return False
        return True
    return False


def take_fingerprint(roots: Sequence[MeasuredRoot]) -> bytes | None:
    """Return 32 bytes, or None where there is no GNU `find` or it complained."""
    hasher = hashlib.sha256(_LABEL)
    tell = (*_FOLDER, "-o", *_FILE)
    groups = _grouped(roots)
    try:
        with ExitStack() as stack:
            walks = [stack.enter_context(_started(_command(group, tell))) for group in groups]
            for group, walk in zip(groups, walks, strict=True):
                hasher.update(len(group).to_bytes(4, "big"))
                for part in _described(group):
                    hasher.update(len(part).to_bytes(4, "big") + part)
                if not _hash_output(walk, hasher.update):
                    return None
    except (OSError, ValueError):
        return None
    return hasher.digest()


def _grouped(roots: Sequence[MeasuredRoot]) -> list[list[MeasuredRoot]]:
    """Put roots of which nothing is left out into one walk: most are single files."""
    whole = [root for root in roots if not (root.skipped or root.skipped_at_top)]
    parts = [[root] for root in roots if root.skipped or root.skipped_at_top]
    return [whole, *parts] if whole else parts


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # a fixed program of the system
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C"},
    )


def _hash_output(walk: subprocess.Popen[bytes], update: Callable[[bytes], None]) -> bool:
    """Hash what a walk tells, and its length; false where it complained or failed."""
    if walk.stdout is None or walk.stderr is None:
        return False
    size = 0
    while chunk := os.read(walk.stdout.fileno(), _CHUNK_BYTES):
        update(chunk)
        size += len(chunk)
    update(size.to_bytes(8, "big"))
    return not walk.stderr.read(1) and walk.wait() == 0


def _described(group: Sequence[MeasuredRoot]) -> Iterator[bytes]:
    for root in group:
        yield root.label.encode()
        yield os.fsencode(root.path)
        yield "/".join(sorted(root.skipped)).encode()
        yield "/".join(sorted(root.skipped_at_top)).encode()


def _command(group: Sequence[MeasuredRoot], action: Sequence[str]) -> list[str]:
    """Return a walk over a group: links are not followed, but for a root that is one."""
    starts: list[str] = []
    left_out: list[str] = []
    for root in group:
        start = f"{root.path}/" if root.path.is_dir() else str(root.path)
        if not start.startswith("/"):
            raise ValueError(start)
        starts.append(start)
        for name in sorted(root.skipped):
            left_out += ["-name", name.translate(_SPECIAL), "-prune", "-o"]
        for name in sorted(root.skipped_at_top):
            left_out += ["-path", f"{start}{name}".translate(_SPECIAL), "-prune", "-o"]
    return [_FIND, *starts, *left_out, "(", *action, ")"]
