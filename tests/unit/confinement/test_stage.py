"""How failures of the stage are named; what the stage does is in tests/integration."""

from __future__ import annotations

import pytest

from cloister.confinement.stage import _Order, _Step, _StepError
from cloister.wire import Fields


def test_a_failed_step_carries_its_name_and_errno() -> None:
    """The launcher learns which step failed and what the kernel said of which path."""
    with pytest.raises(_StepError) as caught, _Step("root"):
        raise FileNotFoundError(2, "No such file", "/x")
    assert (caught.value.step, caught.value.number) == ("root", 2)
    assert caught.value.text == "No such file (/x)"


def test_a_step_lets_other_errors_through() -> None:
    """Only failed calls are renamed."""
    with pytest.raises(ZeroDivisionError), _Step("root"):
        raise ZeroDivisionError


def test_an_order_is_read_whole() -> None:
    """argv, environment, folder and listeners come from the launcher's message."""
    message: dict[str, object] = {
        "argv": ["/bin/x", "1"],
        "environment": {"A": "b"},
        "directory": "/code",
        "listeners": ["https"],
    }
    order = _Order.read(Fields(message, what="test"))  # type: ignore[arg-type]
    assert order == _Order(["/bin/x", "1"], {"A": "b"}, "/code", ["https"])
