"""The files of a recipe: read within bounds, and named by one digest.

The files are code that nobody but its owner has read. Here they are bytes: nothing is imported or
run.

Spec: cleanroom-terms-v1, clauses CT-60 to CT-63.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cloister.crypto.digest import digest_from_text, framed, require_equal, sha256
from cloister.errors import ConfigError, TamperedError

__all__ = [
    "MAIN",
    "MAX_RECIPE_BYTES",
    "MAX_RECIPE_FILES",
    "RECIPE_LABEL",
    "read_recipe",
    "recipe_digest",
    "require_recipe",
]

RECIPE_LABEL: Final = b"cloister/cleanroom-recipe/v1"
MAIN: Final = "recipe.py"
MAX_RECIPE_BYTES: Final = 64 << 20
MAX_RECIPE_FILES: Final = 1000
_MAX_DEPTH: Final = 8
_SKIPPED: Final = frozenset({"__pycache__", ".git"})


def recipe_digest(files: Mapping[str, bytes]) -> bytes:
    """Return the 32 bytes that name a recipe: a hash over its files' paths and contents."""
    parts: list[bytes] = []
    for path in sorted(files, key=os.fsencode):
        parts += [os.fsencode(path), sha256(files[path])]
    return sha256(framed(RECIPE_LABEL, *parts))


def require_recipe(files: Mapping[str, bytes], digest: str) -> None:
    """Raise unless these are the files of the terms.

    Args:
        files: Untrusted.
        digest: Of the terms, as `sha256:<hex>`.

    Raises:
        TamperedError: They are others (`terms.recipe`).
    """
    require_equal(
        recipe_digest(files),
        digest_from_text(digest),
        error=TamperedError("the recipe is not the one in the terms", code="terms.recipe"),
    )


def read_recipe(folder: Path) -> dict[str, bytes]:
    """Read a recipe's folder: relative path to content.

    Raises:
        ConfigError: It has no `recipe.py`, holds a link or device, or exceeds the limits: 64 MiB,
            1000 files, 8 folders deep.
    """
    files: dict[str, bytes] = {}
    left = MAX_RECIPE_BYTES
    for path in _walk(folder, 0):
        data = _read(path, left)
        left -= len(data)
        files[str(path.relative_to(folder))] = data
        if left < 0 or len(files) > MAX_RECIPE_FILES:
            raise ConfigError(
                f"a recipe has at most {MAX_RECIPE_BYTES >> 20} MiB and {MAX_RECIPE_FILES} files",
                code="config.value",
            )
    if MAIN not in files:
        raise ConfigError(f"there is no {MAIN} in {folder}", code="config.missing")
    return files


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{folder} is nested too deeply for a recipe", code="config.value")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as e:
        raise ConfigError(f"cannot read {folder}: {e.strerror}", code="config.missing") from e
    for entry in entries:
        if entry.name in _SKIPPED:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), depth + 1)
        else:
            yield Path(entry.path)


def _read(path: Path, left: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigError(f"{path} in the recipe is not a file", code="config.value")
            return stream.read(left + 1)
    except OSError as e:
        raise ConfigError(
            f"{path} in the recipe cannot be read (links are not followed): {e.strerror}",
            code="config.file",
        ) from e
