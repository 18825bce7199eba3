"""How a site ends."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.training.federated.site import conclude, main


@pytest.mark.spec("FED-18")
def test_a_run_that_is_complete_is_the_only_good_end() -> None:
    """The link has to say so."""
    conclude({"ended": "completed"})


@pytest.mark.spec("FED-18")
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ({}, "federated.run"),
        ({"ended": "waiting"}, "federated.run"),
        ({"ended": "failed"}, "federated.run"),
        ({"ended": "lost"}, "federated.link"),
        (
            {
                "ended": "refused",
                "message": "m",
                "rule": "app",
                "expected": "a",
                "found": "b",
                "hint": "h",
            },
            "federated.other-app",
        ),
    ],
)
def test_every_other_end_is_an_error(ending: dict[str, Any], code: str) -> None:
    """No word at all, too."""
    with pytest.raises(CloisterError) as found:
        conclude(ending)
    assert found.value.code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sites", "0"],
        ["--sites", "3", "--index", "3"],
        ["--sites", "3", "--index", "-1"],
        ["--sites", "3", "--index", "0", "--wait", "0"],
        ["--sites", "3", "--index", "0", "--link", "nowhere"],
        ["--sites", "3", "--index", "0", "--set", "x"],
    ],
)
def test_arguments_that_cannot_be_meant_end_with_65(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Flower is loaded."""
    pytest.importorskip("flwr")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(arguments) == 65
    assert "[config.value]" in capsys.readouterr().err
