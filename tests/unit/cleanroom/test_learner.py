"""What the process that learns is told; the process itself: attack/test_malicious_recipe.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.encoding import Limits, Message, decode, encode
from cloister.cleanroom.learner import Task
from cloister.errors import CloisterError
from cloister.testing.cleanroom import sample_agreement

TASK = Task(Room(sample_agreement()), 1, Path("/data"), Path("/recipe"), 2.5)


def test_a_task_comes_as_it_was_given() -> None:
    data = encode(TASK.to_message())
    read = Task.from_message(decode(data, Limits(message_bytes=len(data))))
    assert read == TASK
    assert read.room.digest == TASK.room.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"index": "1"},
        {"data": 3},
        {"recipe": None},
        {"ready_by": 1},
        {"terms": np.zeros(10, np.uint8)},
    ],
)
def test_what_is_no_task(changes: dict[str, Any]) -> None:
    """Terms that nobody signed are none."""
    good = TASK.to_message()
    terms = changes.pop("terms", good.arrays["terms"])
    with pytest.raises(CloisterError) as caught:
        Task.from_message(Message("learn", {**good.fields, **changes}, {"terms": terms}))
    assert caught.value.code in {"message.malformed", "terms.malformed"}
    with pytest.raises(CloisterError):
        Task.from_message(Message("learn", good.fields, {}))
