"""A room's folder, a recipe's files, and the key of what stays in the room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.cleanroom.governing import approve_closing
from cloister.cleanroom.recipe import (
    MAX_RECIPE_BYTES,
    MAX_RECIPE_FILES,
    read_recipe,
    recipe_digest,
)
from cloister.cleanroom.room_folder import RoomFolder
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.room_policy import code_digest
from cloister.errors import CloisterError
from cloister.launcher.code import read_code
from cloister.testing.cleanroom import MODEL_OWNER, sample_agreement

ROOM = b"r" * 32


def code_of(act: Callable[[], object]) -> str:
    """The code of the refusal; there has to be one."""
    with pytest.raises(CloisterError) as caught:
        act()
    return caught.value.code


@pytest.mark.spec("CT-41")
def test_the_code_of_a_room_is_measured_as_the_launcher_measures_it(tmp_path: Path) -> None:
    """The folder that is written has the digest that the policy names."""
    agreement = sample_agreement()
    folder = RoomFolder(tmp_path / "room")
    folder.write(agreement)
    assert read_code(folder.code).digest() == code_digest(agreement)


def test_a_folder_holds_what_follows_from_the_terms(tmp_path: Path) -> None:
    """Written twice without a difference; of another room, or changed, it is refused."""
    agreement = sample_agreement()
    folder = RoomFolder(tmp_path / "room")
    folder.write(agreement)
    folder.write(agreement)
    assert folder.read().agreement == agreement
    assert code_of(lambda: folder.write(sample_agreement(limit="7"))) == "config.exists"
    for path in (folder.policy, folder.closing):
        before = path.read_bytes()
        path.write_bytes(before + b"# more\n")
        assert code_of(folder.read) == "config.value"
        path.unlink()
        assert code_of(folder.read) == "config.file"
        path.write_bytes(before)
    (folder.code / "more.py").touch()
    assert code_of(folder.read) == "config.value"


@pytest.mark.spec("CT-56")
def test_approvals_of_the_end_lie_beside(tmp_path: Path) -> None:
    """Read back as they were written; a file that is none is refused."""
    folder = RoomFolder(tmp_path)
    approval = approve_closing(sample_agreement(), MODEL_OWNER, at=1_800_000_000)
    assert approval is not None
    assert list(folder.closing_approvals()) == []
    folder.closing_file("model_owner").write_text(approval.to_text())
    assert list(folder.closing_approvals()) == [approval]
    folder.closing_file("data_owner").write_text("yes")
    assert code_of(lambda: list(folder.closing_approvals())) == "approval.malformed"


@pytest.mark.spec("CT-60", "CT-61")
def test_a_recipe_is_its_files(tmp_path: Path) -> None:
    """By path and content; caches and history are no part of it."""
    folder = tmp_path / "recipe"
    for name, text in (("recipe.py", "a"), ("more/x.py", "b"), ("__pycache__/x.pyc", "c")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    files = read_recipe(folder)
    assert files == {"recipe.py": b"a", "more/x.py": b"b"}
    assert recipe_digest(files) == recipe_digest({"more/x.py": b"b", "recipe.py": b"a"})
    assert recipe_digest(files) != recipe_digest({"recipe.py": b"a", "more": b"b"})


def _too_many(folder: Path) -> None:
    for number in range(MAX_RECIPE_FILES):
        (folder / f"{number}").touch()


def _too_long(folder: Path) -> None:
    with (folder / "weights").open("wb") as stream:
        stream.truncate(MAX_RECIPE_BYTES + 1)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "link").symlink_to("/etc/hostname"), "config.file"),
        (lambda folder: os.mkfifo(folder / "pipe"), "config.value"),
        (lambda folder: (folder / "recipe.py").unlink(), "config.missing"),
        (lambda folder: (folder / ("x/" * 9)).mkdir(parents=True), "config.value"),
        (_too_many, "config.value"),
        (_too_long, "config.value"),
    ],
    ids=["link", "pipe", "main", "deep", "many", "long"],
)
@pytest.mark.spec("CT-61")
def test_a_recipe_has_bounds(spoil: Callable[[Path], object], code: str, tmp_path: Path) -> None:
    """A link, a pipe, no recipe.py, too deep, too many, too long."""
    (tmp_path / "recipe.py").write_text("")
    spoil(tmp_path)
    assert code_of(lambda: read_recipe(tmp_path)) == code


@pytest.mark.spec("CT-65", "CT-66")
def test_what_the_room_sealed_opens_in_the_room_alone() -> None:
    """Under its name, with its key, whole; two seals of one thing differ."""
    key = RoomKey(b"k" * 32, room=ROOM)
    sealed = key.seal("model", b"weights")
    assert key.open("model", sealed) == b"weights"
    assert sealed != key.seal("model", b"weights")
    assert b"weights" not in sealed
    assert b"k" * 8 not in repr(key).encode()
    changed = bytearray(sealed)
    changed[-1] ^= 1
    others = (RoomKey(b"l" * 32, room=ROOM), RoomKey(b"k" * 32, room=b"s" * 32))
    for act in (
        lambda: key.open("checkpoint", sealed),
        lambda: key.open("model", bytes(changed)),
        lambda: key.open("model", sealed[:31]),
        lambda: key.open("model", sealed[:40]),
        *(lambda other=other: other.open("model", sealed) for other in others),
    ):
        assert code_of(act) == "volume.tampered"


@pytest.mark.spec("CT-64")
def test_the_rooms_key_is_read_from_its_file(tmp_path: Path) -> None:
    """64 hex digits, and nothing else."""
    file = tmp_path / "room.key"
    file.write_text("6b" * 32)
    sealed = RoomKey(b"k" * 32, room=ROOM).seal("model", b"x")
    assert RoomKey.load(file, room=ROOM).open("model", sealed) == b"x"
    for text in ("6b" * 32 + "\n", "6B" * 32, "6b" * 31, ""):
        file.write_text(text)
        assert code_of(lambda: RoomKey.load(file, room=ROOM)) == "wire.malformed"
    file.unlink()
    assert code_of(lambda: RoomKey.load(file, room=ROOM)) == "config.file"
    assert code_of(lambda: RoomKey(b"short", room=ROOM)) == "wire.malformed"
