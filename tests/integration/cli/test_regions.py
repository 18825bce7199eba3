"""`--region`, for owners who prepare volumes, and the classes that `ls` shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.cli.desk import Desk

pytestmark = pytest.mark.fuse

_PUB = ("--region", "/pub=authenticated")


@pytest.fixture
def place(desk: Desk) -> Iterator[Path]:
    """A folder for stores, and one to mount them on."""
    (desk.folder / "regions" / "mnt").mkdir(parents=True)
    yield desk.folder / "regions"
    shutil.rmtree(desk.folder / "regions")


def _classes(desk: Desk, store: Path) -> dict[str, str | None]:
    entries = desk.json("volume", "ls", store).good().record["entries"]
    return {entry["path"]: entry["class"] for entry in entries}


def test_a_folder_is_sealed_in_classes(desk: Desk, place: Path) -> None:
    """What the operator may read is in the store as it is, and `ls` says which files these are."""
    source, store = place / "source", place / "store"
    (source / "pub").mkdir(parents=True)
    (source / "pub" / "shown.txt").write_text("for everybody")
    (source / "pub.txt").write_text("for nobody")
    (source / "link").symlink_to("pub.txt")
    desk.run("volume", "seal", source, store, *_PUB, "--region", "/mem=ephemeral").good()
    assert _classes(desk, store) == {
        "link": None,
        "mem": None,
        "pub": None,
        "pub/shown.txt": "authenticated",
        "pub.txt": "encrypted",
    }
    shown = desk.run("volume", "ls", store).good().stdout.splitlines()
    assert [line.endswith("pub/shown.txt  (authenticated)") for line in shown].count(True) == 1
    stored = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert b"for everybody" in stored
    assert b"for nobody" not in stored
    desk.run("volume", "verify", store).good()
    desk.run("volume", "open", store, place / "again").good()
    assert (place / "again/pub/shown.txt").read_text() == "for everybody"


def test_files_where_something_is_mounted_are_not_sealed(desk: Desk, place: Path) -> None:
    """A file in a plain or an ephemeral region, or a wrong class, is refused; nothing is made."""
    source = place / "source"
    (source / "out").mkdir(parents=True)
    (source / "out" / "x").write_text("x")
    for region, code in (
        ("/out=plain", "config.value"),
        ("/out=secret", "config.value"),
        ("/out/x/y=plain", "volume.region"),
    ):
        done = desk.json("volume", "seal", source, place / "store", "--region", region)
        assert done.code == code, region
        shutil.rmtree(place / "store", ignore_errors=True)


def test_a_mount_makes_files_in_the_class_of_their_path(desk: Desk, place: Path) -> None:
    """Who writes says the regions each time; who only reads takes files as they are."""
    store, point = place / "store", place / "mnt"
    desk.run("volume", "create", store).good()
    script = f"cd {point}; mkdir pub; echo shown > pub/a; echo hidden > b; mv b pub/b; ln pub/a a"
    done = desk.run("volume", "mount", "--write", store, point, *_PUB, "--", "sh", "-c", script)
    assert "cross-device" in done.stderr.lower()
    assert _classes(desk, store) == {
        "pub": None,
        "pub/a": "authenticated",
        "pub/b": "authenticated",
    }
    refused = desk.json("volume", "mount", "--write", store, point, "--", "true")
    assert refused.code == "volume.region"
    refused = desk.json("volume", "mount", store, point, "--region", "/x=plain", "--", "true")
    assert refused.code == "volume.region"
    read = desk.run("volume", "mount", store, point, "--", "cat", point / "pub/a").good()
    assert read.stdout == "shown\n"
