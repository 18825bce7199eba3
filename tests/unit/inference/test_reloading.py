"""What is served follows the catalogue."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from cloister.errors import ConfigError, MalformedError, MissingExtraError, UnavailableError
from cloister.inference.catalogue import Key, ModelFiles
from cloister.inference.registry import Registry, Served
from cloister.inference.reloading import Reloader
from unit.inference.served import Half, served
from unit.inference.test_catalogue import put


class Loading:
    """Loads a number as a model; refuses `bad`, is busy for `busy`."""

    def __init__(self) -> None:
        self.loaded: list[Key] = []
        self.full = False

    def load(self, key: Key, files: ModelFiles) -> Served:
        self.loaded.append(key)
        if self.full:
            raise MemoryError
        if files.data == b"bad":
            raise MalformedError("damaged", code="model.malformed")
        if files.data == b"bare":
            raise MissingExtraError("no runtime", code="extra.missing", hint="install it")
        if files.data == b"busy":
            raise UnavailableError("later", code="server.busy")
        return served(key[0], str(key[1]), Half(float(files.data)))


class Bench:
    """A catalogue, a registry, and what keeps one as the other is."""

    def __init__(self, folder: Path, latest: int = 1) -> None:
        self.folder = folder
        self.registry = Registry()
        self.loading = Loading()
        self.changes: list[str] = []
        self.reloader = Reloader(
            folder, self.registry, loader=self.loading, latest=latest, changed=self.changes.append
        )

    def steps(self, count: int = 2) -> None:
        for _ in range(count):
            self.reloader.step()

    def served(self) -> dict[str, float]:
        zero = {"x": np.zeros(1, np.float32)}
        return {
            f"{each.name}/{each.version}": float(each.line.predict(zero, until=None)["y"][0])
            for each in self.registry.all()
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    put(tmp_path, "m", "1", b"1")
    found = Bench(tmp_path)
    found.reloader.step(settled=True)
    return found


@pytest.mark.spec("SRV-44")
def test_a_new_version_takes_the_place_of_the_old(bench: Bench) -> None:
    """Once it has stood still for a look; the old one lives for those who hold it."""
    held = bench.registry.find("m")
    put(bench.folder, "m", "2", b"2")
    bench.steps(1)
    assert bench.served() == {"m/1": 1}
    bench.steps(1)
    assert bench.served() == {"m/2": 2}
    assert held is not None
    assert held.line.predict({"x": np.zeros(1, np.float32)}, until=None)["y"].tolist() == [1]
    bench.steps(3)
    assert bench.loading.loaded == [("m", 1), ("m", 2)]
    assert bench.changes == ["loaded", "dropped", "loaded"]


@pytest.mark.spec("SRV-44")
def test_a_version_that_is_being_written_is_left_alone(bench: Bench) -> None:
    """While its files change from look to look."""
    place = put(bench.folder, "m", "2", b"2")
    for size in range(3):
        (place / "labels.json").write_text(json.dumps(["x"] * (size + 1)))
        bench.steps(1)
        assert bench.served() == {"m/1": 1}
    bench.steps(1)
    assert bench.served() == {"m/2": 2}


@pytest.mark.spec("SRV-44")
def test_a_version_whose_files_are_replaced_is_loaded_anew(bench: Bench) -> None:
    """Under the same number."""
    (bench.folder / "m" / "1" / "model.onnx").write_bytes(b"1.5")
    bench.steps()
    assert bench.served() == {"m/1": 1.5}


@pytest.mark.spec("SRV-45")
def test_a_broken_version_is_refused_and_the_old_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Named once in log, index and numbers; tried again when its files change."""
    place = put(bench.folder, "m", "2", b"bad")
    with caplog.at_level(logging.INFO):
        bench.steps(5)
    assert bench.served() == {"m/1": 1}
    assert bench.registry.refused == {("m", 2): "model.malformed"}
    assert bench.loading.loaded.count(("m", 2)) == 1
    assert caplog.text.count("model refused version=m/2 code=model.malformed") == 1
    assert bench.changes == ["loaded", "model.malformed"]
    (place / "model.onnx").write_bytes(b"22")
    bench.steps()
    assert bench.served() == {"m/2": 22}
    assert bench.registry.refused == {}


@pytest.mark.spec("SRV-45")
@pytest.mark.usefixtures("caplog")
def test_a_server_that_starts_goes_back_to_what_is_whole(tmp_path: Path) -> None:
    """The newest are broken: the one before them is served, and its number counts."""
    for number, data in ((1, b"1"), (2, b"2"), (3, b"bad"), (4, b"bad")):
        put(tmp_path, "m", str(number), data)
    bench = Bench(tmp_path)
    bench.reloader.step(settled=True)
    assert bench.served() == {"m/2": 2}
    assert set(bench.registry.refused) == {("m", 3), ("m", 4)}
    bench.steps(3)
    assert bench.loading.loaded == [("m", 4), ("m", 3), ("m", 2)]


@pytest.mark.spec("SRV-45")
@pytest.mark.usefixtures("caplog")
def test_a_version_that_breaks_in_place_goes_on_as_it_was(bench: Bench) -> None:
    """Its files are damaged; what was loaded is not."""
    (bench.folder / "m" / "1" / "model.onnx").write_bytes(b"bad")
    bench.steps()
    assert bench.served() == {"m/1": 1}
    assert bench.registry.refused == {("m", 1): "model.malformed"}


@pytest.mark.spec("SRV-44")
@pytest.mark.usefixtures("caplog")
def test_of_two_versions_the_older_stays(tmp_path: Path) -> None:
    """As the rule says; and with it, older ones stand in for one that is broken."""
    for number in (1, 2):
        put(tmp_path, "m", str(number), str(number).encode())
    bench = Bench(tmp_path, latest=2)
    bench.reloader.step(settled=True)
    assert bench.served() == {"m/1": 1, "m/2": 2}
    put(tmp_path, "m", "3", b"bad")
    bench.steps()
    assert bench.served() == {"m/1": 1, "m/2": 2}
    put(tmp_path, "m", "4", b"4")
    bench.steps()
    assert bench.served() == {"m/2": 2, "m/4": 4}
    (tmp_path / "m" / "versions.json").write_text('{"latest": 1, "labels": {"stable": 1}}')
    bench.steps()
    assert bench.served() == {"m/1": 1, "m/4": 4}
    stable = bench.registry.find("m", None, "stable")
    assert stable is not None
    assert stable.version == "1"


@pytest.mark.spec("SRV-46")
@pytest.mark.usefixtures("caplog")
def test_what_cannot_be_looked_at_changes_nothing(bench: Bench) -> None:
    """A rule that is none, a folder that is away; a model that is gone is gone."""
    rule = bench.folder / "m" / "versions.json"
    rule.write_text("[]")
    bench.steps()
    assert bench.served() == {"m/1": 1}
    assert "strange" in bench.changes
    rule.unlink()
    put(bench.folder, "n", "1", b"7")
    bench.steps()
    assert bench.served() == {"m/1": 1, "n/1": 7}
    shutil.rmtree(bench.folder / "n")
    bench.steps(1)
    assert bench.served() == {"m/1": 1}
    away = bench.folder.with_name("away")
    bench.folder.rename(away)
    with pytest.raises(ConfigError):
        bench.reloader.step()
    assert bench.served() == {"m/1": 1}


@pytest.mark.usefixtures("caplog")
def test_what_cannot_be_tried_now_is_tried_again(bench: Bench) -> None:
    """No process, no memory: that is no verdict about a model."""
    place = put(bench.folder, "m", "2", b"busy")
    bench.steps(3)
    assert bench.loading.loaded.count(("m", 2)) == 2
    bench.loading.full = True
    (place / "model.onnx").write_bytes(b"3")
    bench.steps(3)
    assert bench.served() == {"m/1": 1}
    bench.loading.full = False
    bench.steps(1)
    assert bench.served() == {"m/2": 3}


@pytest.mark.spec("SRV-45")
def test_a_refusal_is_logged_with_the_next_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A runtime that is not installed is no damage, and can be had."""
    put(tmp_path, "m", "1", b"bare")
    with caplog.at_level(logging.INFO):
        Bench(tmp_path).steps()
    expected = "model refused version=m/1 code=extra.missing reason=no runtime; next: install it"
    assert expected in caplog.text
