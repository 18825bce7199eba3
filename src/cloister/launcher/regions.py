"""What a run mounts over its volumes, decided from their regions alone. No I/O.

A plain region of the volume in `STORE` is the folder `STORE.plain/PATH` on the operator's machine,
beside the store. An ephemeral one is memory of the sandbox. A stored region inside an ephemeral one
is the volume's own folder, shown again on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.confinement.regions import HostFolder, RegionKind, RegionMount

if TYPE_CHECKING:
    from cloister.launcher.plan import VolumePlan

__all__ = ["RegionPlan", "plan_regions"]

_PLAIN_SUFFIX: Final = ".plain"
_KINDS: Final = {
    "encrypted": RegionKind.VOLUME,
    "authenticated": RegionKind.VOLUME,
    "plain": RegionKind.FOLDER,
    "ephemeral": RegionKind.MEMORY,
}


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """Host folders to hold, and mounts, of which some name one of the folders by its place."""

    folders: tuple[HostFolder, ...]
    mounts: tuple[RegionMount, ...]


def plan_regions(volumes: Sequence[VolumePlan]) -> RegionPlan:
    """Decide the mounts of all volumes of a run.

    Args:
        volumes: Their stores are named by absolute paths, without links on the way.
    """
    folders: list[HostFolder] = []
    mounts: list[RegionMount] = []
    for volume in volumes:
        found: list[RegionMount] = []
        for path, region_class in volume.regions.mounted():
            target = volume.target + path
            kind = _KINDS[region_class.value]
            outer = [mount for mount in found if target.startswith(f"{mount.target}/")]
            inner = max(outer, key=lambda mount: len(mount.target), default=None)
            is_memory = inner is not None and inner.kind is RegionKind.MEMORY
            around = inner.target if inner is not None and is_memory else ""
            found.append(RegionMount(target, kind, around=around, folder=len(folders)))
            if kind is RegionKind.FOLDER:
                folders.append(_folder(volume, path))
        mounts += found
    return RegionPlan(tuple(folders), tuple(mounts))


def _folder(volume: VolumePlan, path: str) -> HostFolder:
    beside = volume.store.name + _PLAIN_SUFFIX
    return HostFolder(
        str(volume.store.parent),
        (beside, *Path(path).parts[1:]),
        read_only=volume.access == "read",
    )
