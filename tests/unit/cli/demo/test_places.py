"""Who has which folder."""

from __future__ import annotations

from pathlib import Path

from cloister.cli.demo.places import Places


def test_the_owners_things_are_not_the_operators(tmp_path: Path) -> None:
    """Plain data and code lie outside of the operator's machine, sealed volumes within."""
    places = Places(tmp_path)
    places.make()
    for plain in (places.data, places.code):
        assert places.machine not in plain.parents
        assert places.owner in plain.parents
        assert plain.is_dir()
    for sealed in (places.sealed, places.policy, places.domain):
        assert places.machine in sealed.parents
