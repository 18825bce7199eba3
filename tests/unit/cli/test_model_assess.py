"""`cloister model assess`, as far as no attack is run; `integration/test_assessment.py` runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloister.cli import model_assess
from cloister.cli.main import app
from cloister.errors import CloisterError
from cloister.partition.assess.state import Finished
from cloister.partition.report import read_report
from unit.partition.assess.report_cases import pictures, report


def _call(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


class _Assessment:
    """Finishes at once, or is stopped by a person."""

    doubts: tuple[str, ...] = ()
    stopped = False
    resumed: bytes | None = None
    short: tuple[str, ...] = ()

    def __init__(self, *_: Any, **__: Any) -> None:
        self.finished = Finished(pictures=pictures())

    def run(self, progress: Any, saved: Any) -> None:
        progress(0.5, "cut 1")
        saved()
        if self.stopped:
            raise KeyboardInterrupt

    def resume(self, data: bytes) -> bool:
        type(self).resumed = data
        return True

    def state(self) -> bytes:
        return b"state"

    def report(self) -> Any:
        return report(recommended=None if self.stopped else 4)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sample, and stand-ins for the model and the attacks."""
    images = np.random.default_rng(0).random((40, 8, 8, 1))
    np.savez(tmp_path / "sample.npz", images=images)
    monkeypatch.setattr("cloister.partition.importing.open_model", lambda _, **__: None)
    monkeypatch.setattr(
        "cloister.partition.assess.networks.Network",
        lambda _: type("N", (), {"image": (8, 8, 1), "classes": 10, "differentiable": False})(),
    )
    monkeypatch.setattr("cloister.partition.assess.run.Assessment", _Assessment)
    monkeypatch.setattr(_Assessment, "stopped", False)
    monkeypatch.setattr(_Assessment, "resumed", None)
    return tmp_path


def _words(folder: Path, *more: str) -> tuple[str | Path, ...]:
    files = ("--sample", folder / "sample.npz", "--out", folder / "report.json")
    return ("model", "assess", folder / "m.keras", *files, *more)


def test_a_report_and_a_page_are_written(prepared: Path) -> None:
    """Whole files, the state gone with the end, and the answer on standard output."""
    done = _call(*_words(prepared, "--page", str(prepared / "page.html"), "--json"))
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["recommended"] == 4
    cut_short = "decoder.ssim-gain.high: an attack that was cut short, not <= 0.5"
    assert record["default_thresholds"] == cut_short
    assert record["complete"] is True
    assert read_report((prepared / "report.json").read_bytes()) == report()
    assert (prepared / "page.html").read_bytes().startswith(b"<!doctype html>")
    names = {path.name for path in prepared.iterdir()}
    assert names == {"sample.npz", "report.json", "page.html"}


@pytest.mark.parametrize("trusted", [True, False])
def test_models_that_need_trust_are_opened_with_it(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    """As `cloister model cut` opens them, which asks for a report on the very same."""
    heard: list[bool] = []
    monkeypatch.setattr(
        "cloister.partition.importing.open_model", lambda _, *, trusted: heard.append(trusted)
    )
    done = _call(*_words(prepared, *(["--trusted"] if trusted else []), "--json"))
    assert done.exit_code == 0, done.output
    assert heard == [trusted]


def test_a_state_is_read_to_its_bound(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of any length is not taken into memory before its length is looked at."""
    monkeypatch.setattr("cloister.partition.assess.state.MAX_STATE_BYTES", 10)
    (prepared / "report.json.state").write_bytes(bytes(100))
    assert _call(*_words(prepared, "--resume")).exit_code == 0
    assert _Assessment.resumed == bytes(11)


def test_people_see_a_table(prepared: Path) -> None:
    """Cuts, the recommended one and why, and that failing attacks are no bound."""
    done = _call(*_words(prepared))
    assert done.exit_code == 0, done.output
    assert "recommended  4" in done.stdout
    assert "decoder.ssim-gain.high: an attack that was cut short" in done.stdout
    assert "no bound" in done.stdout
    assert "undecided" in done.stdout


def test_images_in_another_scale_are_refused_by_their_file(prepared: Path) -> None:
    """Metrics of clipped images would make attacks look weak."""
    done = _call(*_words(prepared, "--proxy", str(prepared / "sample.npz"), "--ends", "0:0.5"))
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.value"
    assert "sample.npz): pixels from 0.000" in done.exception.public
    assert "--ends" in (done.exception.hint or "")


def test_what_is_done_is_said_where_no_bar_is_drawn(prepared: Path) -> None:
    """On standard error, from the reading on; --json is silent."""
    done = _call(*_words(prepared))
    assert done.stderr.startswith("... reading the model\n... cut 1\n")
    done = _call(*_words(prepared, "--json"))
    assert done.stderr == ""
    assert json.loads(done.stdout)


def test_doubts_are_said_before_and_after(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a warning before it takes its time, and among the notes."""
    monkeypatch.setattr(_Assessment, "doubts", ("in another scale?",))
    done = _call(*_words(prepared))
    assert done.exit_code == 0, done.output
    assert "warning: in another scale?" in done.stderr
    assert "no bound" in done.stdout


def test_people_see_that_a_cut_saves_nothing(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the recommendation."""
    made = report()
    cuts = (*made.cuts[:-1], replace(made.cuts[-1], front_ms=1.16, whole_ms=1.0))
    monkeypatch.setattr(_Assessment, "report", lambda _: replace(made, cuts=cuts))
    assert "saves little or nothing" in _call(*_words(prepared)).stdout
    assert "1.16 ms" in json.loads(_call(*_words(prepared, "--json")).stdout)["little_saved"]


def test_people_see_what_was_left_out(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts that cannot be, and why; the words may be a model's."""
    finished = Finished(skipped={"cut/6": "\x1b[2J crosses", "cut/7": "t crosses"})
    monkeypatch.setattr(_Assessment, "finished", finished, raising=False)
    monkeypatch.setattr(_Assessment, "__init__", lambda *_, **__: None)
    done = _call(*_words(prepared))
    assert done.exit_code == 0, done.output
    assert "left out     6, 7: no place to cut (\ufffd[2J crosses)" in done.stdout


def test_what_a_person_stops_is_kept(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is of what is finished, the state stays, and --resume takes it."""
    monkeypatch.setattr(_Assessment, "stopped", True)
    done = _call(*_words(prepared, "--page", str(prepared / "page.html")))
    assert done.exit_code == 0, done.output
    assert "stopped; what is finished is kept" in done.stderr
    assert "--resume goes on" in done.stderr
    assert "none yet: not everything was run" in done.stdout
    assert "Somebody stopped it" in (prepared / "page.html").read_text()
    assert (prepared / "report.json.state").read_bytes() == b"state"
    assert not read_report((prepared / "report.json").read_bytes()).budget.complete
    monkeypatch.setattr(_Assessment, "stopped", False)
    assert _call(*_words(prepared, "--resume")).exit_code == 0
    assert _Assessment.resumed == b"state"
    assert not (prepared / "report.json.state").exists()


def test_who_had_too_little_time_is_told(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is finished stays for a run with more."""
    names = tuple(f"cut/{n}" for n in range(3, 13))
    monkeypatch.setattr(_Assessment, "short", names)
    done = _call(*_words(prepared))
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert f"not brought to an end: {', '.join(names[:8])}, ...; where time was short" in said
    assert (prepared / "report.json.state").read_bytes() == b"state"
    done = _call(*_words(prepared, "--json"))
    assert json.loads(done.stdout)["cut_short"] == list(names)


def test_nothing_to_go_on_from_is_said(prepared: Path) -> None:
    """It starts, and says that it starts anew."""
    done = _call(*_words(prepared, "--resume"))
    assert done.exit_code == 0
    assert "nothing to go on from" in done.stderr


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", ()), ("3", (3,)), ("8-10, 3,9", (3, 8, 9, 10)), ("5-4", ())],
)
def test_positions(text: str, wanted: tuple[int, ...]) -> None:
    """Numbers and ranges, in any order."""
    assert model_assess._positions(text) == wanted


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--cuts", "a"),
        ("--cuts", "1-"),
        ("--cuts", "1-999999999"),
        ("--ends", "1"),
        ("--ends", "1:0"),
        ("--ends", "nan:1"),
        ("--ends", "0:1e300"),
    ],
)
def test_values_that_cannot_be_meant(prepared: Path, option: str, value: str) -> None:
    """Refused before a model is read."""
    done = _call(*_words(prepared, option, value))
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.value"


def test_a_sample_that_is_not_there_or_none(prepared: Path) -> None:
    """The message names the file, and how one is written."""
    (prepared / "sample.npz").write_bytes(b"PK")
    done = _call(*_words(prepared))
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "sample.malformed"
    assert "savez" in (done.exception.hint or "")
    (prepared / "sample.npz").unlink()
    done = _call(*_words(prepared))
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.file"


def test_a_folder_that_is_not_there(prepared: Path) -> None:
    """A report that cannot be written is an error, and nothing half-written is left."""
    words = _words(prepared)
    done = _call(*words[:-1], prepared / "nowhere" / "report.json")
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.file"
