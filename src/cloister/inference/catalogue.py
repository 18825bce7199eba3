"""A folder of models as it lies on a volume: which versions there are, and which are served.

    MODELS/<name>/versions.json                      {"latest": 2, "labels": {"stable": 3}}
    MODELS/<name>/<version>/model.tflite             or model.onnx
    MODELS/<name>/<version>/labels.json config.json  both may be missing

Looking is apart from deciding: `look` lists and stats, `wanted` says what is to be served, and
`read_version` reads one version's files. Names that begin with a dot are not looked at, so that a
version can be written beside and renamed when it is whole. No link is followed below the folder,
not even one that takes a folder's or a file's place between two looks.

Spec: serving-v1, clauses SRV-40 to SRV-44.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.errors import CloisterError, ConfigError, MalformedError
from cloister.inference.formats import format_of
from cloister.inference.model import MAX_MODEL_BYTES
from cloister.inference.model_config import (
    MAX_CONFIG_BYTES,
    ModelConfig,
    VersionRule,
    read_config,
    read_labels,
    read_version_rule,
)

__all__ = [
    "Key",
    "Listing",
    "Mark",
    "ModelFiles",
    "Strange",
    "look",
    "read_version",
    "require_name",
    "wanted",
]

MAX_MODELS: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,11}")
_MODELS: Final = ("model.tflite", "model.onnx")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LABELS, _CONFIG, _VERSIONS = "labels.json", "config.json", "versions.json"

Key = tuple[str, int]
"""A model's name and the number of a version."""
Mark = tuple[tuple[str, int, int, int], ...]
"""Name, size, time and number of each file of a version: another mark is another version."""


@dataclass(frozen=True, slots=True)
class Strange:
    """Something in the folder that is not served, and why."""

    place: str
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder of models.

    Attributes:
        versions: The mark of each version of each model.
        rules: Which versions of each model are served.
        strange: What has no place there.
        unread: Models whose folder or `versions.json` could not be read; nothing is known of them.
    """

    versions: Mapping[Key, Mark]
    rules: Mapping[str, VersionRule]
    strange: tuple[Strange, ...] = ()
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One version, read.

    Attributes:
        data: The model's bytes.
        kind: Its format, as `formats.load_model` takes it.
        labels: Of its classes; None where there are none.
        config: How it is served.
    """

    data: bytes
    kind: str
    labels: tuple[str, ...] | None = None
    config: ModelConfig = field(default_factory=ModelConfig)


def require_name(name: str) -> None:
    """Refuse a model's name that could not stand in a path.

    Raises:
        MalformedError: `message.malformed`.
    """
    if _NAME.fullmatch(name) is None:
        raise MalformedError(
            "a model's name has letters, digits, dots, underscores and hyphens",
            code="message.malformed",
        )


def look(folder: Path, *, latest: int) -> Listing:
    """Return what lies in a folder of models now.

    Args:
        folder: The catalogue.
        latest: How many versions of a model are served where its `versions.json` does not say.

    Raises:
        ConfigError: `config.file`: it is no folder that can be read.
    """
    versions: dict[Key, Mark] = {}
    rules: dict[str, VersionRule] = {}
    strange: list[Strange] = []
    unread: set[str] = set()
    for name, entry in _entries(folder):
        try:
            require_name(name)
            if not entry.is_dir(follow_symlinks=False):
                raise _odd("is not a folder")
            if len(rules) >= MAX_MODELS:
                raise _odd(f"is one of more than {MAX_MODELS} models")
            rules[name], found = _look_at(folder / name, latest=latest, strange=strange)
            versions |= {(name, number): mark for number, mark in found.items()}
        except CloisterError as e:
            strange.append(Strange(name, e.code, e.public))
            unread.add(name)
    return Listing(versions, rules, tuple(strange), frozenset(unread))


def wanted(listing: Listing, *, without: Set[Key] = frozenset()) -> dict[Key, Mark]:
    """Return the versions to be served: of each model the newest, and those with labels.

    Args:
        listing: What there is.
        without: Versions that cannot be served; older ones stand in for them.
    """
    found: dict[Key, Mark] = {}
    for name, rule in listing.rules.items():
        there = (key for key in listing.versions if key[0] == name and key not in without)
        numbers = sorted(number for _, number in there)
        chosen = {*numbers[-rule.latest :], *(set(rule.labels.values()) & set(numbers))}
        found |= {(name, number): listing.versions[name, number] for number in sorted(chosen)}
    return found


def read_version(folder: Path, key: Key) -> ModelFiles:
    """Read the files of one version.

    Raises:
        ConfigError: `config.file`: a file cannot be read, or there is no model.
        MalformedError: `model.malformed`: a file beside the model is wrong.
    """
    below = (key[0], str(key[1]))
    found = {name: _read(folder, (*below, name), most=MAX_MODEL_BYTES) for name in _MODELS}
    models = {name: data for name, data in found.items() if data is not None}
    if len(models) != 1:
        raise ConfigError(
            f"{key[0]}/{key[1]} has not exactly one of {' and '.join(_MODELS)}", code="config.file"
        )
    ((name, data),) = models.items()
    labels = _read(folder, (*below, _LABELS), most=MAX_CONFIG_BYTES)
    config = _read(folder, (*below, _CONFIG), most=MAX_CONFIG_BYTES)
    return ModelFiles(
        data,
        format_of(Path(name)),
        None if labels is None else read_labels(labels),
        ModelConfig() if config is None else read_config(config),
    )


def _look_at(
    folder: Path, *, latest: int, strange: list[Strange]
) -> tuple[VersionRule, dict[int, Mark]]:
    text = _read(folder.parent, (folder.name, _VERSIONS), most=MAX_CONFIG_BYTES)
    rule = VersionRule(latest) if text is None else read_version_rule(text, latest=latest)
    found: dict[int, Mark] = {}
    for name, entry in _entries(folder):
        if name == _VERSIONS:
            continue
        if _VERSION.fullmatch(name) is None or not entry.is_dir(follow_symlinks=False):
            problem = _odd("is not a version, which is a folder with a number from 1 as its name")
            strange.append(Strange(f"{folder.name}/{name}", problem.code, problem.public))
            continue
        found[int(name)] = _mark(folder / name, strange=strange)
    return rule, found


def _mark(folder: Path, *, strange: list[Strange]) -> Mark:
    marks: list[tuple[str, int, int, int]] = []
    for name, entry in _entries(folder):
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # gone by now; the next look sees that
        if stat.S_ISREG(facts.st_mode):
            marks.append((name, facts.st_size, facts.st_mtime_ns, facts.st_ino))
        elif not stat.S_ISDIR(facts.st_mode):
            problem = _odd("is no file, and is not read")
            place = f"{folder.parent.name}/{folder.name}/{name}"
            strange.append(Strange(place, problem.code, problem.public))
    return tuple(marks)


def _entries(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry) for entry in entries if not entry.name.startswith(".")]
    except OSError as e:
        raise ConfigError(f"cannot read {folder}: {e.strerror}", code="config.file") from e
    return sorted(found, key=lambda each: each[0])


def _read(folder: Path, below: tuple[str, ...], *, most: int) -> bytes | None:
    """Return the bytes of a file below a folder, reached by no link; None where it is missing.

    Args:
        folder: The catalogue.
        below: Names of folders, and the file's.
        most: Bytes that it may have.

    Raises:
        ConfigError: `config.file`: it is no file, is larger, or cannot be read.
    """
    shown = "/".join(below)
    opened: list[int] = []
    try:
        opened.append(os.open(folder, _FOLDER))
        for name in below[:-1]:
            opened.append(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=opened[-1]))
        opened.append(os.open(below[-1], _FILE, dir_fd=opened[-1]))
        if not stat.S_ISREG(os.fstat(opened[-1]).st_mode):
            raise ConfigError(f"{shown} is no file", code="config.file")
        with os.fdopen(opened.pop(), "rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ConfigError(f"cannot read {shown}: {e.strerror}", code="config.file") from e
    finally:
        for number in opened:
            os.close(number)
    if len(data) > most:
        raise ConfigError(f"{shown} is larger than {most} bytes", code="config.file")
    return data


def _odd(what: str) -> ConfigError:
    return ConfigError(what, code="config.value")
