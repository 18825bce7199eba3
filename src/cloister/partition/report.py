"""Leakage reports as files: strict JSON, one reading of a text or none.

A report is not signed by itself: a package's plan, which is, names its digest. Reading says that it
is well-formed and does not contradict itself; whether its numbers are good enough is
`thresholds.judge`'s to say.

Spec: leakage-report-v1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from cloister.errors import ConfigError
from cloister.partition.leakage import (
    FORMATS,
    INPUT_ATTACKS,
    KNOWLEDGE,
    METRICS,
    MODEL_ATTACKS,
    VERDICTS,
    Budget,
    CutReport,
    DefenceReport,
    LeakageReport,
    Measure,
    ModelFacts,
    PairReport,
    Sample,
)
from cloister.partition.report_fields import (
    CODE,
    MAX_COUNT,
    MAX_NAME,
    WHAT,
    count,
    digest,
    duration,
    fields_of,
    label,
    malformed,
    number,
    share,
    size,
    word,
)
from cloister.wire import Fields
from cloister.wire.strict_json import read_json, write_json

__all__ = [
    "FORMAT",
    "FORMATS",
    "INPUT_ATTACKS",
    "KNOWLEDGE",
    "MAX_REPORT_BYTES",
    "METRICS",
    "MODEL_ATTACKS",
    "VERDICTS",
    "Budget",
    "CutReport",
    "DefenceReport",
    "LeakageReport",
    "Measure",
    "ModelFacts",
    "PairReport",
    "Sample",
    "load_report",
    "read_report",
    "write_report",
]

FORMAT: Final = "cloister/leakage-report/v1"
MAX_REPORT_BYTES: Final = 8 * 2**20
MAX_CUTS: Final = 4096
MAX_PAIRS: Final = 4096
MAX_DEFENCES: Final = 1024
MAX_MEASURES: Final = 64
MAX_TENSORS: Final = 1024
MAX_NOTES: Final = 64
MAX_SENTENCE: Final = 2000
MAX_RANK: Final = 8
_DEPTH: Final = 6
_T = TypeVar("_T")


def read_report(data: bytes) -> LeakageReport:
    """Read a report from untrusted bytes.

    Raises:
        MalformedError: `report.malformed`, or `wire.too-large`.

    Spec: LR-1 to LR-12.
    """
    value = read_json(data, what=WHAT, max_bytes=MAX_REPORT_BYTES, max_depth=_DEPTH, code=CODE)
    fields = fields_of(value, WHAT)
    fields.constant("format", FORMAT)
    model = _model(fields.submap("model"))
    made = fields.integer("made")
    tool = label(fields, "tool")
    seed = fields.integer("seed")
    sample = _sample(fields.submap("sample"))
    budget = _budget(fields.submap("budget"))
    ends = fields.submap("ends")
    identity, noise = _end(ends, "identity"), _end(ends, "noise")
    ends.end()
    report = LeakageReport(
        model=model,
        made=made,
        tool=tool,
        seed=seed,
        sample=sample,
        budget=budget,
        identity=identity,
        noise=noise,
        cuts=_each(fields, "cuts", MAX_CUTS, _cut),
        pairs=_each(fields, "pairs", MAX_PAIRS, _pair),
        defences=_each(fields, "defences", MAX_DEFENCES, _defence),
        recommended=_position_or_none(fields, "recommended"),
        notes=tuple(fields.texts("notes", max_items=MAX_NOTES, max_length=MAX_SENTENCE)),
    )
    fields.end()
    _require_consistent(report)
    return report


def load_report(path: Path) -> bytes:
    """Return a report file's bytes, for `read_report`; one byte more than allowed at most.

    Raises:
        ConfigError: `config.file`: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_REPORT_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e


def write_report(report: LeakageReport) -> bytes:
    """Return a report's bytes; the same report gives the same bytes.

    Raises:
        MalformedError: `report.malformed`: it has a word or a number that no reader would take.

    Spec: LR-13.
    """
    try:
        data = write_json(_record(report)) + b"\n"
    except (TypeError, ValueError) as e:
        raise malformed("a number has no finite value, or something is no number") from e
    read_report(data)
    return data


def _require_consistent(report: LeakageReport) -> None:
    positions = [cut.position for cut in report.cuts]
    if any(left >= right for left, right in itertools.pairwise(positions)):
        raise malformed("cuts are not in ascending order of their positions")
    ends = [(pair.front, pair.back) for pair in report.pairs]
    if len(set(ends)) != len(ends):
        raise malformed("a pair of cuts stands twice")
    if any(back is not None and back <= front for front, back in ends):
        raise malformed("a pair ends before it begins")
    if report.sample.held_out_images > report.sample.images:
        raise malformed("more images are held out than there are")
    if report.recommended is not None:
        cut = report.cut(report.recommended)
        if cut is None or cut.verdict != "safe":
            raise malformed("the recommended cut is not one of the safe ones")


def _model(fields: Fields) -> ModelFacts:
    found = ModelFacts(
        sha256=digest(fields, "sha256"),
        format=word(fields, "format", FORMATS),
        name=label(fields, "name"),
    )
    fields.end()
    return found


def _sample(fields: Fields) -> Sample:
    shape = fields.array("shape", max_items=MAX_RANK)
    found = Sample(
        sha256=digest(fields, "sha256"),
        images=count(fields, "images"),
        shape=tuple(size(each) for each in shape),
        proxy_sha256=digest(fields, "proxy_sha256"),
        proxy_images=count(fields, "proxy_images"),
        held_out_images=count(fields, "held_out_images"),
    )
    fields.end()
    return found


def _budget(fields: Fields) -> Budget:
    found = Budget(seconds=count(fields, "seconds"), complete=fields.boolean("complete"))
    fields.end()
    return found


def _end(ends: Fields, name: str) -> Mapping[str, float]:
    fields = ends.submap(name)
    names = fields.keys()
    if not set(names) <= set(METRICS):
        raise malformed(f"{name} has something that is no metric")
    return {metric: number(fields, metric) for metric in names}


def _cut(fields: Fields) -> CutReport:
    return CutReport(
        position=count(fields, "position"),
        tensors=_tensors(fields),
        values=count(fields, "values"),
        front_ms=duration(fields, "front_ms"),
        whole_ms=duration(fields, "whole_ms"),
        measures=_measures(fields, INPUT_ATTACKS),
        verdict=word(fields, "verdict", VERDICTS),
        because=fields.text("because", max_length=MAX_SENTENCE),
    )


def _pair(fields: Fields) -> PairReport:
    return PairReport(
        front=count(fields, "front"),
        back=_position_or_none(fields, "back"),
        measures=_measures(fields, MODEL_ATTACKS),
    )


def _defence(fields: Fields) -> DefenceReport:
    return DefenceReport(
        position=count(fields, "position"),
        name=label(fields, "name"),
        parameter=number(fields, "parameter"),
        accuracy_before=share(fields, "accuracy_before"),
        accuracy_after=share(fields, "accuracy_after"),
        measures=_measures(fields, INPUT_ATTACKS),
    )


def _measures(fields: Fields, attacks: Sequence[str]) -> tuple[Measure, ...]:
    found = _each(fields, "measures", MAX_MEASURES, lambda each: _measure(each, attacks))
    names = {(each.attack, each.knows, each.metric) for each in found}
    if len(names) != len(found):
        raise malformed("a measure stands twice")
    return found


def _measure(fields: Fields, attacks: Sequence[str]) -> Measure:
    found = Measure(
        attack=word(fields, "attack", attacks),
        knows=word(fields, "knows", KNOWLEDGE),
        metric=word(fields, "metric", tuple(METRICS)),
        worst_decile=number(fields, "worst_decile"),
        mean=number(fields, "mean"),
        low=number(fields, "low"),
        high=number(fields, "high"),
        examples=count(fields, "examples"),
        steps=count(fields, "steps"),
        complete=fields.boolean("complete"),
    )
    if found.low > found.high:
        raise malformed("an interval ends before it begins")
    return found


def _each(fields: Fields, name: str, maximum: int, read: Callable[[Fields], _T]) -> tuple[_T, ...]:
    found = []
    for value in fields.array(name, max_items=maximum):
        inner = fields_of(value, f"{WHAT}.{name}")
        found.append(read(inner))
        inner.end()
    return tuple(found)


def _tensors(fields: Fields) -> tuple[str, ...]:
    found = tuple(fields.texts("tensors", max_items=MAX_TENSORS, max_length=MAX_NAME))
    if not found or len(set(found)) != len(found):
        raise malformed("a cut has no tensors, or one of them twice")
    return found


def _position_or_none(fields: Fields, name: str) -> int | None:
    value = fields.anything(name)
    if value is None:
        return None
    return Fields({name: value}, what=WHAT, code=CODE).integer(name, maximum=MAX_COUNT)


def _record(report: LeakageReport) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": _plain(report.model),
        "made": report.made,
        "tool": report.tool,
        "seed": report.seed,
        "sample": _plain(report.sample),
        "budget": _plain(report.budget),
        "ends": {"identity": _sorted(report.identity), "noise": _sorted(report.noise)},
        "cuts": [_plain(each) for each in report.cuts],
        "pairs": [_plain(each) for each in report.pairs],
        "defences": [_plain(each) for each in report.defences],
        "recommended": report.recommended,
        "notes": list(report.notes),
    }


def _sorted(end: Mapping[str, float]) -> dict[str, float]:
    return {name: float(end[name]) for name in sorted(end)}


def _plain(value: Any) -> Any:
    """Return a part of a report as JSON has it; its fields in the order of their declaration."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        return value
    return {
        name: float(getattr(value, name)) if field.type == "float" else _plain(getattr(value, name))
        for name, field in fields.items()
    }
