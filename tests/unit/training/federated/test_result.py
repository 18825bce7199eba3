"""A result is all of what a run left, or is not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cloister.errors import ConfigError, StorageFullError, UnavailableError
from cloister.training.federated.result import (
    RECORD,
    Record,
    prepare_result,
    publish_result,
    withdraw_result,
)

ENTRY = Record(
    app="us/app",
    version="1.0.0",
    digest="ab" * 32,
    settings={"rounds": 2},
    expected=3,
    minimum=2,
    started_with=(0, 1, 2),
    ended_with=(0, 2),
    failures=1,
    seconds=1.5,
)


@pytest.mark.spec("FED-12")
def test_a_result_appears_in_one_step(tmp_path: Path) -> None:
    """Nothing stands at its place before it is complete, and nothing beside it afterwards."""
    place = tmp_path / "model"
    work = prepare_result(place)
    (work / "sub").mkdir()
    (work / "sub" / "weights").write_bytes(b"w")
    assert not place.exists()
    publish_result(place, ENTRY)
    assert (place / "sub" / "weights").read_bytes() == b"w"
    assert os.listdir(tmp_path) == ["model"]  # noqa: PTH208  # names, with hidden ones


@pytest.mark.spec("FED-13")
def test_the_record_says_how_it_went(tmp_path: Path) -> None:
    """In the words of the page."""
    place = tmp_path / "model"
    prepare_result(place)
    publish_result(place, ENTRY)
    assert json.loads((place / RECORD).read_text()) == {
        "format": "cloister/federation/v1",
        "app": "us/app",
        "version": "1.0.0",
        "digest": "ab" * 32,
        "settings": {"rounds": 2},
        "expected": 3,
        "minimum": 2,
        "started_with": [0, 1, 2],
        "ended_with": [0, 2],
        "failures": 1,
        "seconds": 1.5,
    }


@pytest.mark.spec("FED-12")
def test_an_earlier_result_stays(tmp_path: Path) -> None:
    """It is not written over; nor is what a link points to."""
    place = tmp_path / "model"
    place.mkdir()
    with pytest.raises(ConfigError) as found:
        prepare_result(place)
    assert found.value.code == "config.exists"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError):
        prepare_result(dangling)


@pytest.mark.spec("FED-12")
def test_what_a_killed_run_left_is_no_result(tmp_path: Path) -> None:
    """The next run begins with an empty folder; one that fails leaves none."""
    place = tmp_path / "model"
    (prepare_result(place) / "half").write_bytes(b"h")
    work = prepare_result(place)
    assert list(work.iterdir()) == []
    withdraw_result(place)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    """Before anything is trained."""
    with pytest.raises(ConfigError) as found:
        prepare_result(tmp_path / "no" / "model")
    assert found.value.code == "config.missing"


def test_an_app_cannot_write_the_record(tmp_path: Path) -> None:
    """Not even as a link to elsewhere."""
    place = tmp_path / "model"
    (prepare_result(place) / RECORD).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError) as found:
        publish_result(place, ENTRY)
    assert found.value.code == "config.exists"
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_has_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And any other trouble with the disk another; neither leaves a result."""
    place = tmp_path / "model"
    prepare_result(place)
    for number, kind in ((28, StorageFullError), (5, UnavailableError)):

        def fail(_descriptor: int, number: int = number) -> None:
            raise OSError(number, "")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(kind):
                publish_result(place, ENTRY)
        (place.with_name(".model.unfinished") / RECORD).unlink()
        assert not place.exists()
