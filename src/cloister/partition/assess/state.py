"""What an assessment has finished, as bytes: for going on after it was stopped.

A state belongs to one model, one sample and one seed; whatever else it is asked for, it has
nothing. It is the owner's own file, and lies beside his report; it is read as strictly as one that
is not, since a report is made from it. Nothing signs it: its measures are believed, and verdicts
are not (`Assessment.resume`).
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError
from cloister.partition.assess.attack import Array, Examples
from cloister.partition.report import (
    CutReport,
    DefenceReport,
    LeakageReport,
    PairReport,
    read_report,
)
from cloister.partition.report import write_report as report_bytes
from cloister.wire import Fields
from cloister.wire.strict_json import read_json, write_json

__all__ = ["Finished", "read_state", "write_state"]

FORMAT: Final = "cloister/assessment-state/v1"
MAX_STATE_BYTES: Final = 2**29
_MAX_PICTURES: Final = 50_000
_MAX_SIDE: Final = 4096
_MAX_PIXELS: Final = 2**26
_CODE: Final = "assessment.state"
_WHAT: Final = "an assessment's state"


@dataclass(slots=True)
class Finished:
    """What is done; grows as cuts are finished.

    Attributes:
        cuts: By position.
        pairs: By front and back.
        defences: By position and name.
        pictures: By a name such as `cut/3/decoder/queries`.
        remarks: Sentences about one cut, pair or defence, by a name such as `cut/3`.
        skipped: What cannot be assessed and why, by a name such as `cut/3`.
        seconds: Time that the run had for all of it.
        again: What is to be tried once more, as there is more time now, by such a name.
    """

    cuts: dict[int, CutReport] = field(default_factory=dict)
    pairs: dict[tuple[int, int | None], PairReport] = field(default_factory=dict)
    defences: dict[tuple[int, str], DefenceReport] = field(default_factory=dict)
    pictures: dict[str, Examples] = field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: int = 0
    again: set[str] = field(default_factory=set)


def write_state(finished: Finished, report: LeakageReport, key: bytes) -> bytes:
    """Return what was finished as bytes.

    Args:
        finished: What goes with the report: pictures and remarks.
        report: The report so far; its cuts, pairs and defences are what is kept.
        key: What it belongs to, 32 bytes.
    """
    return write_json(
        {
            "format": FORMAT,
            "key": key.hex(),
            "report": report_bytes(report).decode(),
            "pictures": {
                name: {"originals": _packed(e.originals), "made": _packed(e.reconstructions)}
                for name, e in finished.pictures.items()
            },
            "remarks": {name: list(said) for name, said in finished.remarks.items()},
            "skipped": dict(finished.skipped),
            "again": sorted(finished.again),
        }
    )


def read_state(data: bytes, key: bytes) -> Finished | None:
    """Read what was finished; None where it belongs to something else.

    Raises:
        MalformedError: `assessment.state`, `report.malformed` or `wire.too-large`.
    """
    value = read_json(data, what=_WHAT, max_bytes=MAX_STATE_BYTES, max_depth=5, code=_CODE)
    if not isinstance(value, dict):
        raise _malformed("it is no object")
    fields = Fields(value, what=_WHAT, code=_CODE)
    fields.constant("format", FORMAT)
    if fields.text("key", max_length=64) != key.hex():
        return None
    report = read_report(fields.text("report", max_length=2**23).encode())
    pictures = _mapping(fields.anything("pictures"))
    remarks = _mapping(fields.anything("remarks"))
    skipped = _mapping(fields.anything("skipped"))
    again = _sentences(fields.anything("again"))
    fields.end()
    return Finished(
        cuts={cut.position: cut for cut in report.cuts},
        pairs={(pair.front, pair.back): pair for pair in report.pairs},
        defences={(each.position, each.name): each for each in report.defences},
        pictures={name: _examples(each) for name, each in pictures.items()},
        remarks={name: _sentences(each) for name, each in remarks.items()},
        skipped={name: _sentences([each])[0] for name, each in skipped.items()},
        seconds=report.budget.seconds,
        again=set(again),
    )


def _packed(array: Array) -> dict[str, Any]:
    values = np.ascontiguousarray(array, np.uint8)
    return {
        "shape": list(values.shape),
        "data": base64.b64encode(zlib.compress(values.tobytes(), 6)).decode(),
    }


def _unpacked(value: Any) -> Array:
    if not isinstance(value, dict) or set(value) != {"shape", "data"}:
        raise _malformed("a picture is none")
    shape, text = value["shape"], value["data"]
    good = (
        isinstance(shape, list)
        and len(shape) == 4  # noqa: PLR2004  # count, height, width, channels
        and all(type(size) is int and 0 < size <= _MAX_SIDE for size in shape)
        and isinstance(text, str)
    )
    if not good:
        raise _malformed("a picture has no shape")
    count = int(np.prod(shape, dtype=np.int64))
    if count > _MAX_PIXELS:
        raise _malformed("a picture is too large")
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(text, validate=True), count + 1)
    except (zlib.error, binascii.Error, ValueError) as e:
        raise _malformed("a picture's bytes are none") from e
    if len(data) != count:
        raise _malformed("a picture has more or fewer bytes than its shape says")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _examples(value: Any) -> Examples:
    if not isinstance(value, dict) or set(value) != {"originals", "made"}:
        raise _malformed("a picture is none")
    return Examples(_unpacked(value["originals"]), _unpacked(value["made"]))


def _sentences(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _malformed("a remark is no text")
    return tuple(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or len(value) > _MAX_PICTURES:
        raise _malformed("something that has names has none, or too many")
    return value


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"{_WHAT}: {problem}", code=_CODE)
