"""Packages: made, written, opened; the attacks on them are in attack/test_cut_packages.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.partition.package import (
    PackageFiles,
    open_exposed,
    open_package,
    open_secret,
    write_exposed,
)
from cloister.partition.sealing import LABELS_FILE, PLAN_FILE, REPORT_FILE, memory_reading
from cloister.partition.thresholds import read_thresholds
from cloister.testing.partition import SampleCut, sample_report

THRESHOLDS = read_thresholds(["default"])


def laid_out(folder: Path, files: PackageFiles) -> tuple[Path, Path]:
    """Write both sides as plain folders, as a mounted volume shows the secret one."""
    exposed, secret = folder / "exposed", folder / "secret"
    write_exposed(exposed, files)
    secret.mkdir()
    for name, data in files.secret.items():
        (secret / name).write_bytes(data)
    return exposed, secret


def test_a_package_is_opened_as_it_was_made(tmp_path: Path) -> None:
    """Parts, labels, plan and report are those that went in."""
    sample = SampleCut()
    exposed, secret = laid_out(tmp_path, sample.make())
    found = open_package(exposed, secret, signers=(sample.key.public,), thresholds=THRESHOLDS)
    parts = sample.parts()
    assert (found.front, found.middle, found.back) == (parts.front, parts.middle, parts.back)
    assert found.labels == sample.labels
    assert found.report == sample.report
    assert found.plan.name == "sample"


def test_what_lies_on_which_side() -> None:
    """The exposed side has the middle, and nothing of the others."""
    files = SampleCut().make()
    assert sorted(files.exposed) == ["middle.onnx", PLAN_FILE, REPORT_FILE]
    assert sorted(files.secret) == ["back.onnx", "front.onnx", LABELS_FILE, PLAN_FILE]
    shown = b"".join(files.exposed.values())
    for secret in (b"front weights", b"back weights", b"seven", b"\x5a" * 32, b"5a" * 32):
        assert secret not in shown
    assert files.exposed[PLAN_FILE] == files.secret[PLAN_FILE]


def test_a_package_without_back_and_labels() -> None:
    """The middle may go to the model's end, and a model may have no labels."""
    sample = SampleCut(back=None, labels=None)
    files = sample.make()
    assert sorted(files.secret) == ["front.onnx", PLAN_FILE]
    opened = open_exposed(
        memory_reading(files.exposed), signers=(sample.key.public,), thresholds=THRESHOLDS
    )
    found = open_secret(opened, memory_reading(files.secret))
    assert (found.back, found.labels) == (None, None)


def test_the_numbers_that_passed_are_kept() -> None:
    """So that whoever opens a package can show them."""
    sample = SampleCut()
    opened = open_exposed(
        memory_reading(sample.make().exposed),
        signers=(sample.key.public,),
        thresholds=read_thresholds(["knock-off.fidelity.mean<=0.6", "decoder.ssim.high<=0.4"]),
    )
    assert [(each.threshold.name, each.value) for each in opened.held] == [
        ("knock-off.fidelity.mean", 0.55),
        ("decoder.ssim.high", 0.36),
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"thresholds": ("decoder.ssim.worst_decile<=0.3",)}, "model.refused"),
        ({"thresholds": ("knock-off.fidelity.mean<=0.9",)}, "model.refused"),
        ({"report": replace(sample_report().model, sha256=bytes(32))}, "config.value"),
        ({"report": replace(sample_report().model, format="keras")}, "config.value"),
        ({"labels": ()}, "plan.malformed"),
    ],
)
def test_what_would_not_be_opened_is_not_made(changes: dict[str, Any], code: str) -> None:
    """A report that does not pass, or is about another model."""
    if "report" in changes:
        changes = {"report": sample_report(model=changes["report"])}
    with pytest.raises(CloisterError) as caught:
        SampleCut(**changes).make()
    assert caught.value.code == code


def test_a_report_about_another_cut_of_the_model_is_refused() -> None:
    """Positions are those of one reading of the model: the tensors must be the same."""
    report = sample_report()
    cuts = (report.cuts[0], replace(report.cuts[1], tensors=("t2", "x")), report.cuts[2])
    with pytest.raises(CloisterError) as caught:
        SampleCut(report=replace(report, cuts=cuts)).make()
    assert caught.value.code == "config.value"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """Nothing is overwritten; a file in the folder's place neither."""
    files = SampleCut().make()
    (tmp_path / "there").write_bytes(b"x")
    for folder in (tmp_path, tmp_path / "there"):
        with pytest.raises(CloisterError) as caught:
            write_exposed(folder, files)
        assert caught.value.code == "config.exists"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
