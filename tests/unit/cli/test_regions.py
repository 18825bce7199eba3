"""`--region`: what is understood, and what is refused."""

from __future__ import annotations

import pytest

from cloister.cli.regions import read_regions
from cloister.errors import ConfigError
from cloister.volume.regions import ENCRYPTED_ONLY, RegionClass, Regions


def test_regions_are_read() -> None:
    """Each is a path and a class; a path may hold an equals sign."""
    said = read_regions(["/a=authenticated", "/a/b=c=ephemeral", "/=encrypted"])
    assert said == Regions(
        {
            "/a": RegionClass.AUTHENTICATED,
            "/a/b=c": RegionClass.EPHEMERAL,
            "/": RegionClass.ENCRYPTED,
        }
    )
    assert read_regions(None) == read_regions([]) == ENCRYPTED_ONLY


@pytest.mark.parametrize(
    "words",
    [
        ["/a"],
        ["/a="],
        ["=plain"],
        ["/a=secret"],
        ["a=plain"],
        ["/a=plain", "/a=plain"],
        ["/=plain"],
    ],
)
def test_what_is_no_region_is_refused(words: list[str]) -> None:
    """`config.value`, before anything is opened or made."""
    with pytest.raises(ConfigError) as caught:
        read_regions(words)
    assert caught.value.code == "config.value"
