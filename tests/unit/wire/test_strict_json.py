"""Strict JSON: one reading of a text, or none."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloister.errors import MalformedError
from cloister.wire.strict_json import read_json, write_json


def read(data: bytes, *, max_bytes: int = 1000, max_depth: int = 4) -> Any:
    return read_json(
        data, what="thing", max_bytes=max_bytes, max_depth=max_depth, code="token.malformed"
    )


def test_what_was_written_is_read() -> None:
    """Compact, UTF-8, in the order given."""
    value = {"b": [1, -2, None, True, "ü"], "a": {"x": 1.5}}
    assert write_json(value) == '{"b":[1,-2,null,true,"ü"],"a":{"x":1.5}}'.encode()
    assert read(write_json(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{} {}",
        b"'a'",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'[{"a":{"b":1,"b":1}}]',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" * 500,
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'"a\nb"',
        "{}".encode("utf-16"),
        b"[1,]",
        b"01",
    ],
)
def test_another_reading_is_no_reading(data: bytes) -> None:
    """What readers disagree about, or Python alone accepts, is malformed."""
    with pytest.raises(MalformedError) as caught:
        read(data)
    assert caught.value.code == "token.malformed"


def test_limits_are_checked_before_anything_is_built() -> None:
    """Size, and depth however deep; brackets in texts do not count."""
    assert read(b'{"a":[[["[[[[[[\\"[[[["]]]}') == {"a": [[['[[[[[["[[[[']]]}
    for data in (b"[[[[[]]]]]", b"[" * 900, b'{"a":' * 150, b"[" * 500 + b"]" * 500):
        with pytest.raises(MalformedError) as caught:
            read(data)
        assert caught.value.code == "wire.too-large"
    with pytest.raises(MalformedError) as caught:
        read(b"[[[]]]", max_bytes=5)
    assert caught.value.code == "wire.too-large"


def test_numbers_at_their_bounds_are_read() -> None:
    """64 bits, signed or not."""
    assert read(b"[18446744073709551615,-9223372036854775808]") == [2**64 - 1, -(2**63)]


@pytest.mark.parametrize(
    "data", [b'\\"' * 32_000, b'["' + b'\\"' * 32_000, b'"\\' * 32_000, b'"x' * 32_000 + b"\\"]
)
def test_time_grows_with_the_length_alone(data: bytes) -> None:
    """Quotes that end nothing: some ten seconds where each was looked at to the end."""
    began = time.process_time()
    with pytest.raises(MalformedError) as caught:
        read(data, max_bytes=1 << 20)
    assert caught.value.code == "token.malformed"
    assert time.process_time() - began < 3
