"""The user's own collector: its key, its cache, and whose bundles are taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.cli import settings

if TYPE_CHECKING:
    from cloister.crypto.signature import SigningKey, VerifyingKey

__all__ = ["accepted", "cache_folder", "collector_key", "key_file"]

_KEY: Final = "collector.key"
_MAX_PUBLIC: Final = 256


def key_file() -> Path:
    """Return where the user's own collector key is, or would be."""
    return _base("XDG_CONFIG_HOME", ".config") / "cloister" / _KEY


def cache_folder() -> Path:
    """Return where answers are kept by default."""
    return _base("XDG_CACHE_HOME", ".cache") / "cloister" / "endorsements"


def collector_key(named: Path | None) -> SigningKey:
    """Read the key that signs bundles; the user's own is made at first use.

    Raises:
        ConfigError: It is missing where it was named, open to others, or no key.
    """
    from cloister.crypto.signature import SigningKey

    if named is not None:
        return settings.read_key(named)
    file = key_file()
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(file, SigningKey.generate().to_secret())
    key = settings.read_key(file)
    public = _public_file()
    if not public.exists():
        _write_once(public, f"{key.public.text}\n".encode())
    return key


def accepted(named: Sequence[str]) -> list[VerifyingKey]:
    """Return whose bundles are taken: those that were named, else the user's own collector's.

    The own one's public half lies beside the key: judging needs no secret.

    Raises:
        ConfigError: A key is not written as one, or the user's own cannot be read.
    """
    from cloister.tee.endorsement_files import collectors_of

    texts = list(named)
    public = _public_file()
    if not named and public.exists():
        texts = [public.read_bytes()[:_MAX_PUBLIC].decode("utf-8", "replace").strip()]
    return collectors_of(texts)


def _public_file() -> Path:
    return key_file().with_suffix(".pub")


def _write_once(path: Path, data: bytes) -> None:
    """Write a private file, whole or not there; whoever comes second leaves the first one's."""
    from cloister.tee.sim.platform import write_secret_file

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    write_secret_file(unfinished, data)
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink(missing_ok=True)


def _base(variable: str, usual: str) -> Path:
    """Return a base directory (XDG Base Directory Specification 0.8: absolute, or not meant)."""
    named = os.environ.get(variable, "")
    return Path(named) if named.startswith("/") else Path.home() / usual
