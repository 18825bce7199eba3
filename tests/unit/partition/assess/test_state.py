"""What was finished comes back as it was, for the same run and for no other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.partition.assess.attack import Examples
from cloister.partition.assess.state import Finished, read_state, write_state
from unit.partition.assess.report_cases import pictures, report

KEY = bytes(range(32))


def _finished() -> Finished:
    made = report()
    return Finished(
        cuts={cut.position: cut for cut in made.cuts},
        pairs={(pair.front, pair.back): pair for pair in made.pairs},
        defences={(each.position, each.name): each for each in made.defences},
        pictures=pictures(),
        remarks={"cut/1": ("decoded by a network",)},
        skipped={"cut/9": "TensorFlow does not convert this part"},
    )


def _state() -> bytes:
    return write_state(_finished(), replace(report(), recommended=None), KEY)


def test_it_comes_back() -> None:
    """Numbers, pictures, remarks and what was left out."""
    found, was = read_state(_state(), KEY), _finished()
    assert found is not None
    assert (found.cuts, found.pairs, found.defences) == (was.cuts, was.pairs, was.defences)
    assert (found.remarks, found.skipped) == (was.remarks, was.skipped)
    assert set(found.pictures) == set(was.pictures)
    for name, examples in was.pictures.items():
        assert np.array_equal(found.pictures[name].originals, examples.originals)
        assert np.array_equal(found.pictures[name].reconstructions, examples.reconstructions)


def test_another_run_has_nothing() -> None:
    """A state of another model, sample, seed or budget is not gone on with."""
    assert read_state(_state(), bytes(32)) is None


def _changed(**fields: Any) -> bytes:
    record = json.loads(_state())
    return json.dumps(record | fields).encode()


PICTURE = json.loads(_state())["pictures"]["cut/1/maps"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        _state()[:-1],
        _changed(format="cloister/assessment-state/v2"),
        _changed(key=7),
        _changed(pictures=[]),
        _changed(pictures={"a": 1}),
        _changed(pictures={"a": PICTURE | {"more": 1}}),
        _changed(pictures={"a": PICTURE | {"made": {"shape": [1, 8, 8, 1], "data": "AAAA"}}}),
        _changed(pictures={"a": PICTURE | {"made": PICTURE["made"] | {"shape": [1, 8, 8, 2]}}}),
        _changed(pictures={"a": PICTURE | {"made": PICTURE["made"] | {"shape": [6, 8, 8]}}}),
        _changed(pictures={"a": PICTURE | {"made": PICTURE["made"] | {"shape": [4096] * 4}}}),
        _changed(pictures={"a": PICTURE | {"made": PICTURE["made"] | {"data": "?"}}}),
        _changed(remarks={"cut/1": "no list"}),
        _changed(skipped={"cut/1": 5}),
        _changed(extra=1),
    ],
)
def test_what_is_no_state_is_refused(data: bytes) -> None:
    """Nothing is taken from a file that was not written here."""
    with pytest.raises(MalformedError) as caught:
        read_state(data, KEY)
    assert caught.value.code == "assessment.state"


def test_its_report_is_read_as_strictly_as_any() -> None:
    """A verdict that no report has is refused by the report's own reader."""
    text = json.loads(_state())["report"].replace('"safe"', '"certain"')
    with pytest.raises(MalformedError) as caught:
        read_state(_changed(report=text), KEY)
    assert caught.value.code == "report.malformed"


def test_pictures_are_those_of_examples() -> None:
    """A read picture is of bytes and has its shape."""
    found = read_state(_state(), KEY)
    assert found is not None
    examples = found.pictures["cut/1/optimisation/weights"]
    assert isinstance(examples, Examples)
    assert examples.originals.shape == (3, 130, 130, 3)
    assert examples.originals.dtype == np.uint8
