"""`--region PATH=CLASS`: which class each path of a volume has, as an owner says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.volume.regions import Regions

__all__ = ["OPTION", "read_regions"]

OPTION = typer.Option(
    None,
    "--region",
    metavar="PATH=CLASS",
    help="encrypted, authenticated, plain or ephemeral, as in the policy; may be repeated.",
    show_default=False,
)


def read_regions(words: list[str] | None) -> Regions:
    """Read the options; none means that everything is encrypted.

    Raises:
        ConfigError: Not a path and a class, or a path twice (`config.value`).
    """
    from cloister.volume.regions import RegionClass, Regions

    classes: dict[str, RegionClass] = {}
    for word in words or ():
        path, _, name = word.rpartition("=")
        known = {found.value: found for found in RegionClass}
        if name not in known or path in classes:
            raise ConfigError(
                f"not a region, or one that was named before: {word}",
                code="config.value",
                hint="write PATH=CLASS; the class is one of " + ", ".join(known),
            )
        classes[path] = known[name]
    return Regions(classes)
