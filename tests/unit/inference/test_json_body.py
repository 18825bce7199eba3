"""JSON without its liberties."""

import pytest

from cloister.inference.json_body import read_body


def test_what_json_is() -> None:
    """As the library reads it."""
    assert read_body(b'{"a": [1, 2.5, true, null, "x"]}') == {"a": [1, 2.5, True, None, "x"]}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"NaN", b"[Infinity]", b'{"a":1,"a":1}', b"[" * 100_000, b"\xff"]
)
def test_what_it_is_not(data: bytes) -> None:
    """One kind of error for all."""
    with pytest.raises(ValueError):
        read_body(data)
