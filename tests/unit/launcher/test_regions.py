"""What is mounted over volumes, and where the operator's folders lie."""

from __future__ import annotations

from pathlib import Path

from cloister.confinement.regions import HostFolder, RegionKind, RegionMount
from cloister.launcher.plan import VolumePlan
from cloister.launcher.regions import plan_regions
from cloister.volume.regions import RegionClass, Regions

MEMORY, FOLDER, VOLUME = RegionKind.MEMORY, RegionKind.FOLDER, RegionKind.VOLUME


def volume(target: str, access: str, **classes: str) -> VolumePlan:
    """Return a plan with regions; a double underscore in a name is a slash."""
    named = {"/" + name.replace("__", "/"): RegionClass(found) for name, found in classes.items()}
    return VolumePlan(target, "v", bytes(16), access, Path("/stores/x"), Regions(named))


def test_stored_regions_need_no_mount() -> None:
    """Without plain or ephemeral regions nothing is mounted over a volume."""
    found = plan_regions([volume("/a", "write", p="authenticated", p__q="encrypted")])
    assert (found.folders, found.mounts) == ((), ())


def test_nested_regions_come_parents_first() -> None:
    """Each mount knows the memory around it; what lies in the volume has none."""
    found = plan_regions(
        [
            volume(
                "/data",
                "read",
                s="ephemeral",
                s__a__keep="encrypted",
                s__a__keep__t="ephemeral",
                s__a__keep__t__in="authenticated",
                s__a__pub="authenticated",
                s__drop="plain",
                s2="plain",
            ),
            volume("/out", "write", o="plain"),
        ]
    )
    assert found.mounts == (
        RegionMount("/data/s", MEMORY),
        RegionMount("/data/s/a/keep", VOLUME, around="/data/s"),
        RegionMount("/data/s/a/keep/t", MEMORY),
        RegionMount("/data/s/a/keep/t/in", VOLUME, around="/data/s/a/keep/t"),
        RegionMount("/data/s/a/pub", VOLUME, around="/data/s"),
        RegionMount("/data/s/drop", FOLDER, around="/data/s"),
        RegionMount("/data/s2", FOLDER, folder=1),
        RegionMount("/out/o", FOLDER, folder=2),
    )
    assert found.folders == (
        HostFolder("/stores", ("x.plain", "s", "drop"), read_only=True),
        HostFolder("/stores", ("x.plain", "s2"), read_only=True),
        HostFolder("/stores", ("x.plain", "o"), read_only=False),
    )
