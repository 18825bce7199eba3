"""Leakage reports: what is written is read again, and what is no report is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.partition.report import MAX_REPORT_BYTES, load_report, read_report, write_report
from cloister.testing.partition import measure, sample_report

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> bytes:
    """A good report's file after a change."""
    value = json.loads(write_report(sample_report()))
    change(value)
    return json.dumps(value).encode()


def code_of(data: bytes) -> str:
    with pytest.raises(CloisterError) as caught:
        read_report(data)
    return caught.value.code


def test_what_is_written_is_read() -> None:
    """A report comes back as it was, and its bytes are the same whenever it is written."""
    report = sample_report()
    data = write_report(report)
    assert read_report(data) == report
    assert write_report(read_report(data)) == data
    assert write_report(sample_report(noise=dict(reversed(report.noise.items())))) == data


def test_cuts_and_pairs_are_found_by_position() -> None:
    """A position that was not assessed has nothing; the model's end is a place of its own."""
    report = sample_report()
    assert report.cut(2) == report.cuts[1]
    assert report.cut(4) is None
    assert report.pair(2, None) == report.pairs[1]
    assert report.pair(1, 3) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(format="cloister/leakage-report/v2"),
        lambda r: r.update(more=1),
        lambda r: r.pop("seed"),
        lambda r: r.update(seed=-1),
        lambda r: r.update(seed=True),
        lambda r: r["model"].update(sha256="A" * 64),
        lambda r: r["model"].update(sha256="a" * 63),
        lambda r: r["model"].update(format="pickle"),
        lambda r: r["model"].update(name=""),
        lambda r: r["sample"].update(shape=[8, 0]),
        lambda r: r["sample"].update(shape=[8, 1.0]),
        lambda r: r["sample"].update(held_out_images=201),
        lambda r: r["budget"].update(complete=1),
        lambda r: r["ends"]["noise"].update(beauty=0.1),
        lambda r: r["ends"].pop("identity"),
        lambda r: r["cuts"].reverse(),
        lambda r: r["cuts"].append(r["cuts"][-1]),
        lambda r: r["cuts"][0].update(tensors=[]),
        lambda r: r["cuts"][0].update(tensors=["a", "a"]),
        lambda r: r["cuts"][0].update(front_ms=-0.1),
        lambda r: r["cuts"][0].update(front_ms="0.1"),
        lambda r: r["cuts"][0].update(verdict="fine"),
        lambda r: r["cuts"][0].update(note=""),
        lambda r: r["cuts"][0]["measures"].append(r["cuts"][0]["measures"][0]),
        lambda r: r["cuts"][0]["measures"][0].update(attack="knock-off"),
        lambda r: r["cuts"][0]["measures"][0].update(knows="everything"),
        lambda r: r["cuts"][0]["measures"][0].update(metric="beauty"),
        lambda r: r["cuts"][0]["measures"][0].update(low=0.9, high=0.1),
        lambda r: r["cuts"][0]["measures"][0].update(examples=0.5),
        lambda r: r["cuts"][0]["measures"][0].pop("complete"),
        lambda r: r["pairs"][0]["measures"][0].update(attack="decoder"),
        lambda r: r["pairs"].append(r["pairs"][0]),
        lambda r: r["pairs"][0].update(back=2),
        lambda r: r["pairs"][0].update(back="end"),
        lambda r: r["defences"][0].update(accuracy_after=1.1),
        lambda r: r.update(recommended=1),
        lambda r: r.update(recommended=9),
        lambda r: r.update(recommended=True),
        lambda r: r.update(notes=[1]),
        lambda r: r.update(notes=["n"] * 65),
        lambda r: r.update(cuts={}),
    ],
)
def test_what_is_no_report_is_refused(change: Change) -> None:
    """Unknown words, missing or further keys, numbers out of bounds, contradictions."""
    assert code_of(changed(change)) == "report.malformed"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-Infinity"])
def test_numbers_are_finite(number: str) -> None:
    """A number that compares with nothing cannot pass a threshold by being there."""
    data = write_report(sample_report()).replace(b'"worst_decile":0.81', b'"worst_decile":%s')
    assert code_of(data.replace(b"%s", number.encode())) == "report.malformed"


def test_a_key_stands_once() -> None:
    """The last of two values is not the one that counts; neither is."""
    data = write_report(sample_report()).replace(b'"seed":7', b'"seed":7,"seed":8')
    assert code_of(data) == "report.malformed"


def test_length_and_depth_are_bounded() -> None:
    """Before anything is built."""
    assert code_of(b" " * (MAX_REPORT_BYTES + 1)) == "wire.too-large"
    assert code_of(b'{"cuts":' + b"[" * 7 + b"]" * 7 + b"}") == "wire.too-large"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much"])
def test_what_nobody_could_read_is_not_written(value: Any) -> None:
    """The writer holds to the same form."""
    wrong = sample_report(identity={"ssim": value})
    with pytest.raises(CloisterError) as caught:
        write_report(wrong)
    assert caught.value.code == "report.malformed"


def test_a_word_that_nobody_knows_is_not_written() -> None:
    """A measure of another attack is refused when it is written, not by who reads it."""
    cut = sample_report().cuts[0]
    wrong = replace(cut, measures=(measure("telepathy"),))
    with pytest.raises(CloisterError) as caught:
        write_report(sample_report(cuts=(wrong,), recommended=None))
    assert caught.value.code == "report.malformed"


def test_a_file_is_read_so_far_as_a_report_may_be_long(tmp_path: Path) -> None:
    """A file that is missing is said so; one that is longer is cut where it is too long."""
    with pytest.raises(CloisterError) as caught:
        load_report(tmp_path / "none")
    assert caught.value.code == "config.file"
    (tmp_path / "long").write_bytes(b" " * (MAX_REPORT_BYTES + 100))
    assert len(load_report(tmp_path / "long")) == MAX_REPORT_BYTES + 1
