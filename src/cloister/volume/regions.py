"""Which protection each path of a volume has: by the longest prefix of whole path components.

A region is a path and everything below it that no longer one covers: `/a` covers `/a` and `/a/b`,
and says nothing of `/ab`. Four classes:

    encrypted      read and changed by nobody who lacks the key; where nothing else is said
    authenticated  read by the host, changed by nobody who lacks the key
    plain          not protected: a folder of the host's, outside of the volume's store
    ephemeral      memory, gone when the run ends

Trusted: what is given here is the owner's word (a policy, or the owner's own command line). What a
volume records of its files is compared with it in `placement`. No I/O.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from cloister.errors import ConfigError
from cloister.volume.format import MAX_NAME_BYTES

__all__ = ["ENCRYPTED_ONLY", "MAX_REGIONS", "Region", "RegionClass", "Regions"]

MAX_REGIONS: Final = 32
_MAX_PARTS: Final = 32


class RegionClass(enum.Enum):
    """What protects the files of a region."""

    ENCRYPTED = "encrypted"
    AUTHENTICATED = "authenticated"
    PLAIN = "plain"
    EPHEMERAL = "ephemeral"

    @property
    def is_stored(self) -> bool:
        """Whether files of this class lie in the volume; those of the others never do."""
        return self in {RegionClass.ENCRYPTED, RegionClass.AUTHENTICATED}


@dataclass(slots=True, eq=False)
class Region:
    """A path in the tree of regions: the root, a region, or something above one.

    Attributes:
        region_class: What holds for this path, by the longest prefix.
        children: What is named below it, by the next component.
        named: False for a path that only inherits its class: nothing is named at or below it.
    """

    region_class: RegionClass
    children: dict[bytes, Region] = field(default_factory=dict)
    named: bool = True

    def below(self, name: bytes) -> Region:
        """Return what holds for a name in this folder."""
        child = self.children.get(name)
        if child is not None:
            return child
        return Region(self.region_class, named=False) if self.named else self


class Regions:
    """All regions of one volume.

    Example::

        regions = Regions({"/public": RegionClass.AUTHENTICATED})
        regions.of("/public/model.json")  # RegionClass.AUTHENTICATED
        regions.of("/publications")       # RegionClass.ENCRYPTED
    """

    def __init__(self, classes: Mapping[str, RegionClass]) -> None:
        """Take regions by path; what none of them covers is encrypted.

        Raises:
            ConfigError: `config.value`: a path is not absolute and plain; the root is neither
                encrypted nor authenticated; something is named inside a plain region, where the
                host could take it away; or there are too many.
        """
        if len(classes) > MAX_REGIONS:
            raise _wrong(f"a volume has at most {MAX_REGIONS} regions")
        self._classes = {path: classes[path] for path in sorted(classes)}
        self._enforced = True
        self.root: Final = Region(RegionClass.ENCRYPTED)
        parsed = sorted((_parts(path), found) for path, found in _items(self._classes))
        for parts, name in parsed:  # a prefix sorts before what it covers
            self._add(parts, RegionClass(name))

    @classmethod
    def as_recorded(cls) -> Self:
        """Take every file as the volume records it, and make new ones encrypted.

        For an owner who looks at a volume or changes its key, without a policy at hand.
        """
        made = cls({})
        made._enforced = False
        return made

    @property
    def enforced(self) -> bool:
        """Whether a file of another class than its path's is refused."""
        return self._enforced

    @property
    def classes(self) -> Mapping[str, RegionClass]:
        """The regions by path, sorted."""
        return self._classes

    def of(self, path: str) -> RegionClass:
        """Return the class of an absolute path of the volume."""
        region = self.root
        for part in _parts(path):
            region = region.below(part)
        return region.region_class

    def mounted(self) -> Iterator[tuple[str, RegionClass]]:
        """Return the regions that a run mounts, parents first.

        Those are the plain and the ephemeral ones, and what is stored inside an ephemeral one.
        """
        for path, found in sorted(self._classes.items(), key=lambda item: _parts(item[0])):
            if not found.is_stored or not self._around(path).is_stored:
                yield path, found

    def _around(self, path: str) -> RegionClass:
        """Return the class of the folder that a region lies in."""
        region = self.root
        for part in _parts(path)[:-1]:
            region = region.below(part)
        return region.region_class

    def _add(self, parts: tuple[bytes, ...], found: RegionClass) -> None:
        region = self.root
        for part in parts:
            if region.region_class is RegionClass.PLAIN:
                inner = os.fsdecode(b"/" + b"/".join(parts))
                raise _wrong(f"{inner} lies inside a plain region, where nothing can be kept apart")
            region = region.children.setdefault(part, Region(region.region_class))
        region.region_class = found
        if region is self.root and not found.is_stored:
            raise _wrong("the root of a volume is encrypted or authenticated")

    def __eq__(self, other: object) -> bool:
        """Two are equal where they say the same of every path."""
        return (
            isinstance(other, Regions)
            and (self._classes, self._enforced) == (other._classes, other._enforced)
        )  # fmt: skip

    def __hash__(self) -> int:
        """Agree with `==`."""
        return hash((tuple(self._classes.items()), self._enforced))


def _items(classes: Mapping[str, RegionClass]) -> Iterator[tuple[str, str]]:
    return ((path, found.value) for path, found in classes.items())


def _parts(path: str) -> tuple[bytes, ...]:
    """Cut an absolute path into its components.

    Raises:
        ConfigError: It has another spelling than the one that is allowed.
    """
    if path == "/":
        return ()
    try:
        parts = tuple(os.fsencode(path).split(b"/"))
    except UnicodeEncodeError as e:
        raise _wrong("a region's path is no text") from e
    fits = parts[0] == b"" and 1 < len(parts) <= _MAX_PARTS + 1
    if not fits or not all(_is_name(part) for part in parts[1:]):
        raise _wrong(f"not the path of a region: {path[:100]!r}")
    return parts[1:]


def _is_name(part: bytes) -> bool:
    return 0 < len(part) <= MAX_NAME_BYTES and b"\0" not in part and part not in {b".", b".."}


def _wrong(message: str) -> ConfigError:
    return ConfigError(
        message, code="config.value", hint="write /path=encrypted or /path=authenticated"
    )


ENCRYPTED_ONLY: Final = Regions({})
"""No regions: every file is encrypted, and a volume with any other is refused."""
