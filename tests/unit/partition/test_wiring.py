"""Parts fit together, or there is no package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.partition.graph import Cut, TensorInfo
from cloister.partition.plan import read_plan
from cloister.partition.plan_facts import Plan
from cloister.partition.sealing import PLAN_FILE
from cloister.partition.wiring import require_wiring
from cloister.testing.partition import SampleCut


def plan(**changes: Any) -> Plan:
    data = SampleCut(**changes).make().exposed[PLAN_FILE]
    return read_plan(data, signers=(SigningKey(b"s" * 32).public,)).plan


def with_part(number: int, **changes: Any) -> Plan:
    good = plan()
    parts = list(good.parts)
    parts[number] = replace(parts[number], **changes)
    return replace(good, parts=tuple(parts))


def info(name: str, *shape: int, datatype: str = "float32") -> TensorInfo:
    return TensorInfo(name, datatype, shape or (-1, 8))


def refused(wrong: Plan) -> str:
    with pytest.raises(CloisterError) as caught:
        require_wiring(wrong)
    assert caught.value.code == "plan.malformed"
    return caught.value.public


def test_parts_that_fit() -> None:
    """With a back part and without one."""
    require_wiring(plan())
    require_wiring(plan(back=None))


def test_a_tensor_may_pass_by_the_middle() -> None:
    """What the back part reads of the front crosses both cuts, and the middle need not know it."""
    good = plan()
    front, middle, back = good.parts
    front = replace(front, outputs=(info("t2"), info("side")))
    back = replace(back, inputs=(info("t3"), info("side")))
    both = replace(
        good,
        parts=(front, middle, back),
        front=Cut(2, ("t2", "side")),
        back=Cut(3, ("side", "t3")),
    )
    require_wiring(both)
    assert "reads side" in refused(replace(both, back=Cut(3, ("t3",))))


@pytest.mark.parametrize(
    "wrong",
    [info("t9"), info("t2", -1, 9), info("t2", 1, 8), info("t2", datatype="float16")],
)
def test_a_part_reads_what_is_there_as_it_is(wrong: TensorInfo) -> None:
    """Name, shape and type."""
    assert "reads" in refused(with_part(1, inputs=(wrong,)))
    assert refused(with_part(0, outputs=(wrong,)))


def test_the_middle_gets_what_crosses_and_nothing_else() -> None:
    """Not the model's input, and not what the front made on its way."""
    good = plan()
    assert "reads t0" in refused(with_part(1, inputs=(info("t0"),)))
    front = replace(good.parts[0], outputs=(info("t1"), info("t2")))
    middle = replace(good.parts[1], inputs=(info("t1"),))
    assert "reads t1" in refused(replace(good, parts=(front, middle, good.parts[2])))


def test_the_input_itself_never_crosses() -> None:
    """A cut that shows the input hides nothing."""
    assert "input of the model" in refused(replace(plan(), front=Cut(2, ("t2", "t0"))))


def test_what_crosses_was_made() -> None:
    """A cut's tensors come from the parts before it."""
    assert "nobody made it" in refused(replace(plan(), front=Cut(2, ("t2", "t9"))))
    assert "nobody made it" in refused(replace(plan(), back=Cut(3, ("t1",))))


def test_nothing_is_made_twice() -> None:
    """The exposed part cannot replace what the front gave."""
    assert "again" in refused(with_part(1, outputs=(info("t3"), info("t2"))))


def test_the_parts_give_what_the_model_gives() -> None:
    """All of its outputs, in its shapes."""
    assert "no part gives" in refused(with_part(2, outputs=(info("t5"),)))
    assert "no part gives" in refused(replace(plan(), outputs=(info("t4", -1, 9),)))
