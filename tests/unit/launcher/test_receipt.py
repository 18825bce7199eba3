"""Writing receipts; reading them is in tests/spec/test_receipt.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, MalformedError
from cloister.launcher.receipt import MAX_RECEIPT_BYTES, verify_run_receipt, write_receipt


def test_a_receipt_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    """Nothing but the receipt is left in its folder."""
    path = tmp_path / "new" / "receipt.json"
    write_receipt(path, b"first")
    write_receipt(path, b"second")
    assert [item.read_bytes() for item in path.parent.iterdir()] == [b"second"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """`config.file`."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        write_receipt(tmp_path / "file" / "receipt.json", b"")
    assert caught.value.code == "config.file"


@pytest.mark.spec("RR-1", "RR-10")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b" " * (MAX_RECEIPT_BYTES + 1), "wire.too-large"),
        (b"[" * 100000, "message.malformed"),
        (b'"\\ud800"', "message.malformed"),
        (b"1" * 5000, "message.malformed"),
        (b"[18446744073709551616]", "message.malformed"),
        (b"{}", "message.malformed"),
        (b"null", "message.malformed"),
        (b"\xff", "message.malformed"),
    ],
)
def test_hostile_bytes_are_malformed(data: bytes, code: str) -> None:
    """Whatever comes, the parser ends with its own error."""
    with pytest.raises(MalformedError) as caught:
        verify_run_receipt(
            data, ca=b"", service=SigningKey(b"s" * 32).public, origin="example.test"
        )
    assert caught.value.code == code
