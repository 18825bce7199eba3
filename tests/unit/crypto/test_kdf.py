"""Key derivation."""

from cloister.crypto.kdf import derive_key, random_bytes


def test_rfc5869_case_one() -> None:
    """Appendix A.1 of RFC 5869."""
    okm = derive_key(
        b"\x0b" * 22,
        label=bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
        salt=bytes.fromhex("000102030405060708090a0b0c"),
        length=42,
    )
    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_label_and_salt_separate() -> None:
    """Another label or salt is another key."""
    secret = random_bytes(32)
    keys = {derive_key(secret, label=a, salt=b) for a in (b"1", b"2") for b in (b"3", b"4")}
    assert len(keys) == 4
