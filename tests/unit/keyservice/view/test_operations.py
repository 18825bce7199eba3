"""The table of operations."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.view.operations import OPERATIONS, Parameter


@pytest.mark.spec("KH-3")
def test_a_number_has_one_spelling() -> None:
    """Leading zeros, signs, other digits and other bases are none."""
    parameter = Parameter("n", "A number.", minimum=1, maximum=20)
    assert parameter.read({"n": "20"}) == 20
    for text in ("", "0", "21", "07", "+7", "-7", "7 ", "\u0667", "0x7", "7e0", "1" * 400):
        with pytest.raises(MalformedError) as e:
            parameter.read({"n": text})
        assert e.value.code == "request.malformed"


def test_a_default_stands_in() -> None:
    """And what has none must be given."""
    assert Parameter("n", "A number.", default=7).read({}) == 7
    with pytest.raises(MalformedError) as e:
        Parameter("n", "A number.").read({})
    assert e.value.code == "request.malformed"


@pytest.mark.spec("KH-10", "KH-11")
def test_what_names_somebody_is_not_public() -> None:
    """Who may look at what, once more, so that a change of the table is a change here."""
    private = {each.path: each.scope for each in OPERATIONS if each.scope}
    assert private == {
        "/v1/log/entries": "view",
        "/v1/policies": "view",
        "/v1/policies/{hash}": "view",
        "/v1/volumes": "view",
        "/metrics": "metrics",
    }
