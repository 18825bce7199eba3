"""What lies in a folder of models, and what of it is served."""

import json
import os
from pathlib import Path

import pytest

from cloister.errors import ConfigError, MalformedError
from cloister.inference.catalogue import look, read_version, require_name, wanted
from cloister.inference.model_config import MAX_CONFIG_BYTES, Batching, VersionRule


def put(folder: Path, name: str, version: str, data: bytes = b"m", **files: object) -> Path:
    place = folder / name / version
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(data)
    for stem, record in files.items():
        (place / f"{stem}.json").write_text(json.dumps(record))
    return place


@pytest.mark.spec("SRV-40", "SRV-43")
def test_the_newest_versions_are_wanted(tmp_path: Path) -> None:
    """By number and not as texts; as many as the rule says, and those with labels."""
    for version in ("1", "2", "9", "10"):
        put(tmp_path, "a", version)
    put(tmp_path, "b", "3")
    assert set(wanted(look(tmp_path, latest=1))) == {("a", 10), ("b", 3)}
    assert set(wanted(look(tmp_path, latest=2))) == {("a", 9), ("a", 10), ("b", 3)}
    (tmp_path / "a" / "versions.json").write_text('{"latest": 1, "labels": {"old": 2, "no": 7}}')
    listing = look(tmp_path, latest=3)
    assert set(wanted(listing)) == {("a", 2), ("a", 10), ("b", 3)}
    assert listing.rules == {"a": VersionRule(1, {"old": 2, "no": 7}), "b": VersionRule(3)}


@pytest.mark.spec("SRV-40")
def test_what_has_no_place_is_named_and_not_served(tmp_path: Path) -> None:
    """Files, links, other names; what begins with a dot is not looked at."""
    put(tmp_path, "good", "1")
    put(tmp_path, "bad name", "1")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "good")
    (tmp_path / ".hidden").mkdir()
    for name in ("0", "01", "one", "1a", ".2"):
        (tmp_path / "good" / name).mkdir()
    (tmp_path / "good" / "7").symlink_to(tmp_path / "good" / "1")
    (tmp_path / "good" / "8").write_text("")
    listing = look(tmp_path, latest=9)
    assert set(listing.versions) == {("good", 1)}
    assert {each.place for each in listing.strange} == {
        "bad name", "file", "link", "good/0", "good/01", "good/one", "good/1a", "good/7", "good/8",
    }  # fmt: skip


@pytest.mark.spec("SRV-46")
def test_a_model_whose_rule_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    """Not gone."""
    put(tmp_path, "a", "1")
    (tmp_path / "a" / "versions.json").write_text("[]")
    listing = look(tmp_path, latest=1)
    assert listing.unread == {"a"}
    assert listing.strange[0].code == "model.malformed"
    with pytest.raises(ConfigError) as caught:
        look(tmp_path / "nowhere", latest=1)
    assert caught.value.code == "config.file"


@pytest.mark.spec("SRV-44")
def test_any_change_of_a_file_changes_the_mark(tmp_path: Path) -> None:
    """Of its bytes, of its neighbours, and when it was replaced."""
    place = put(tmp_path, "a", "1")
    marks = [look(tmp_path, latest=1).versions["a", 1]]
    (place / "model.onnx").write_bytes(b"longer")
    marks.append(look(tmp_path, latest=1).versions["a", 1])
    (place / "labels.json").write_text('["x"]')
    marks.append(look(tmp_path, latest=1).versions["a", 1])
    (place / "new").write_text('["y"]')
    (place / "new").rename(place / "labels.json")
    marks.append(look(tmp_path, latest=1).versions["a", 1])
    assert len(set(marks)) == 4
    assert look(tmp_path, latest=1).versions["a", 1] == marks[-1]


def test_a_version_is_read_with_what_is_beside_it(tmp_path: Path) -> None:
    """Labels and configuration may be missing."""
    put(tmp_path, "a", "1", b"bytes", labels=["x", "y"], config={"batching": {"rows": 4}})
    files = read_version(tmp_path, ("a", 1))
    assert (files.data, files.kind, files.labels) == (b"bytes", "onnx", ("x", "y"))
    assert files.config.batching == Batching(4)
    put(tmp_path, "a", "2")
    assert read_version(tmp_path, ("a", 2)).labels is None


@pytest.mark.spec("SRV-40")
def test_a_version_has_one_model(tmp_path: Path) -> None:
    """Neither none nor two; and files beside it are right or it is refused."""
    place = put(tmp_path, "a", "1")
    (place / "model.tflite").write_bytes(b"")
    with pytest.raises(ConfigError) as caught:
        read_version(tmp_path, ("a", 1))
    assert caught.value.code == "config.file"
    for name in ("model.tflite", "model.onnx"):
        (place / name).unlink()
    with pytest.raises(ConfigError):
        read_version(tmp_path, ("a", 1))
    put(tmp_path, "a", "2", labels={})
    with pytest.raises(MalformedError) as malformed:
        read_version(tmp_path, ("a", 2))
    assert malformed.value.code == "model.malformed"


@pytest.mark.spec("SRV-40")
@pytest.mark.parametrize("name", ["model.onnx", "labels.json", "config.json", "versions.json"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str, kind: str) -> None:
    """It leads elsewhere, or has no end: it is named, and the version is refused."""
    models = tmp_path / "models"
    place = put(models, "a", "1")
    outside = tmp_path / "outside"
    outside.write_text('{"latest": 9}' if name == "versions.json" else '["secret"]')
    strange = place.parent / name if name == "versions.json" else place / name
    strange.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(strange)
    elif kind == "folder":
        strange.mkdir()
    else:
        strange.symlink_to(outside if kind == "link" else tmp_path / "nowhere")
    listing = look(models, latest=1)
    if name == "versions.json":
        assert listing.unread == {"a"}
        return
    told = {each.place for each in listing.strange}
    assert told == (set() if kind == "folder" else {f"a/1/{name}"})
    with pytest.raises(ConfigError) as caught:
        read_version(models, ("a", 1))
    assert caught.value.code == "config.file"


@pytest.mark.spec("SRV-40")
@pytest.mark.parametrize("level", ["a", "a/1"])
def test_a_link_that_takes_a_folders_place_is_not_followed(tmp_path: Path, level: str) -> None:
    """After it was looked at."""
    put(tmp_path / "outside", "a", "1", b"secret")
    models = tmp_path / "models"
    put(models, "a", "1")
    assert set(look(models, latest=1).versions) == {("a", 1)}
    (models / level).rename(tmp_path / "before")
    (models / level).symlink_to(tmp_path / "outside" / level)
    with pytest.raises(ConfigError) as caught:
        read_version(models, ("a", 1))
    assert caught.value.code == "config.file"


def test_a_file_beside_a_model_has_a_limit(tmp_path: Path) -> None:
    """Longer ones are not read to their end."""
    place = put(tmp_path, "a", "1")
    (place / "labels.json").write_bytes(b" " * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than") as caught:
        read_version(tmp_path, ("a", 1))
    assert caught.value.code == "config.file"


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-a", "a" * 129])
def test_names_that_are_none(name: str) -> None:
    """They stand in paths."""
    with pytest.raises(MalformedError) as caught:
        require_name(name)
    assert caught.value.code == "message.malformed"
