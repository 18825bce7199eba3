"""What is known of a model server before its policy is written: its words, its files, its runtime.

A policy with a mistake is measured, read, approved and applied before the server finds it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.cli import settings
from cloister.cli.serve_words import ServeWords
from cloister.errors import CloisterError, ConfigError
from cloister.inference.formats import format_of, require_runtime
from cloister.volume.filesystem import ROOT_INO, Filesystem

if TYPE_CHECKING:
    import argparse

__all__ = ["predecessor_of", "require_files", "require_meant"]

_OWN_WORDS: Final = 3  # python -m cloister.inference.server


def require_meant(words: ServeWords, command: str) -> None:
    """Refuse words that the server would refuse when it starts, as far as they alone say.

    Args:
        words: As typed.
        command: What they became.

    Raises:
        ConfigError: `config.value` or `config.missing`.
        MalformedError: A signer is no key.
    """
    from cloister.crypto.signature import VerifyingKey
    from cloister.inference.options import require_one_source, require_usable_limits
    from cloister.inference.packaged import mode_of
    from cloister.inference.private import serving
    from cloister.partition.thresholds import read_thresholds

    if words.file:
        format_of(Path(words.file))
    options = _options(shlex.split(command)[_OWN_WORDS:])
    require_one_source(options)
    require_usable_limits(options)
    serving.checked(options)
    if words.package:
        mode_of(options.check)
        read_thresholds(options.require)
        for text in options.signer:
            VerifyingKey.from_text(text)


def require_files(words: ServeWords, *, domain: Path | None) -> None:
    """Refuse what is not on the volume, and models whose runtime is not installed here.

    A volume that this owner cannot open now is not looked at.

    Raises:
        ConfigError: `config.missing`: nothing is there by that name.
        MissingExtraError: A runtime is missing.
    """
    names: list[str] | None = None
    with (
        contextlib.suppress(CloisterError, OSError),
        settings.owner(domain).reading(words.store) as volume,
    ):
        names = sorted(_names(volume))
    if names is not None:
        _require_named(words, names)
    for kind in sorted({format_of(Path(name)) for name in _models(words, names or [])}):
        require_runtime(kind)


def predecessor_of(namespace: str, name: str, *, domain: Path | None) -> str:
    """Return the hash of the policy of that name that is in force, or `none`, as a policy has it.

    Where the key service cannot be asked it is `none`; applying the policy says if that is wrong.
    """
    with contextlib.suppress(CloisterError, OSError):
        for version in settings.client(domain, None).history(namespace, name):
            digest = version.get("hash")
            if version.get("current") and isinstance(digest, bytes):
                return f"sha256:{digest.hex()}"
    return "none"


def _options(argv: list[str]) -> argparse.Namespace:
    from cloister.inference.options import parse_options

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parse_options(argv)
    except SystemExit as e:
        lines = said.getvalue().splitlines() or [""]
        problem = lines[-1].rpartition("error: ")[2]
        raise ConfigError(
            f"the server does not take these words: {problem}",
            code="config.value",
            hint="python -m cloister.inference.server --help lists what --option may have",
        ) from e


def _require_named(words: ServeWords, names: list[str]) -> None:
    from cloister.partition.sealing import PLAN_FILE

    if words.file and words.file not in names:
        raise ConfigError(
            f"there is no {words.file} on {words.store}",
            code="config.missing",
            hint=f"it has {_listed(names)}",
        )
    if words.package and PLAN_FILE not in names:
        raise ConfigError(
            f"{words.store} is no package: there is no {PLAN_FILE} on it",
            code="config.missing",
            hint="cloister model cut makes one; a whole model is served by --file, and many by "
            "--catalogue",
        )


def _models(words: ServeWords, names: list[str]) -> list[str]:
    """Return the names of the model files that are served, as far as they are known."""
    if words.file:
        return [words.file]
    below = f"{words.folder}/" if words.folder else ""
    found = (name for name in names if name.startswith(below))
    return [name for name in found if name.endswith((".tflite", ".onnx"))]


def _names(volume: Filesystem) -> Iterator[str]:
    """Return the paths of all files on a volume, without links."""
    waiting = [("", ROOT_INO)]
    while waiting:
        path, ino = waiting.pop()
        for entry in volume.list_directory(ino):
            name = path + os.fsdecode(entry.name)
            if stat.S_ISDIR(entry.mode):
                waiting.append((f"{name}/", entry.ino))
            elif stat.S_ISREG(entry.mode):
                yield name


def _listed(names: list[str]) -> str:
    shown = [name for name in names if name.isprintable()][:8]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "") if shown else "no files"
