"""Readers of packages of cut models, each with good bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from cloister.partition.package import open_exposed, open_secret
from cloister.partition.plan import read_plan
from cloister.partition.report import read_report, write_report
from cloister.partition.sealing import (
    LABELS_FILE,
    PLAN_FILE,
    REPORT_FILE,
    memory_reading,
    read_label_list,
    read_labels,
)
from cloister.partition.thresholds import judge, read_thresholds
from cloister.partition.wiring import require_wiring
from cloister.testing.partition import SampleCut, sample_report

__all__ = ["PACKAGES"]

_SAMPLE: Final = SampleCut()
_FILES: Final = _SAMPLE.make()
_SHORT: Final = SampleCut(back=None, labels=None).make()
_THRESHOLDS: Final = read_thresholds(["default", "knock-off.fidelity.mean<=0.6"])


def _plan(data: bytes) -> object:
    found = read_plan(data, signers=(_SAMPLE.key.public,))
    require_wiring(found.plan)
    return found


def _report(data: bytes) -> object:
    """Read and judge: what is written again is the same report."""
    report = read_report(data)
    assert read_report(write_report(report)) == report
    return judge(report, front=2, back=3, thresholds=_THRESHOLDS)


def _package(data: bytes) -> object:
    """Put bytes in the place of a plan: nothing but the plan itself opens the package."""
    opened = open_exposed(
        memory_reading(_FILES.exposed | {PLAN_FILE: data}),
        signers=(_SAMPLE.key.public,),
        thresholds=_THRESHOLDS,
    )
    assert data == _FILES.exposed[PLAN_FILE]
    return open_secret(opened, memory_reading(_FILES.secret))


PACKAGES: Final[Sequence[tuple[Callable[[bytes], object], list[bytes]]]] = (
    (_plan, [_FILES.exposed[PLAN_FILE], _SHORT.exposed[PLAN_FILE]]),
    (_report, [_FILES.exposed[REPORT_FILE], write_report(sample_report(defences=()))]),
    (read_labels, [_FILES.secret[LABELS_FILE]]),
    (read_label_list, [b"zero\none\n", b'["zero", "one"]']),
    (_package, [_FILES.exposed[PLAN_FILE]]),
)
