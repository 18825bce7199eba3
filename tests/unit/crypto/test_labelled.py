"""HKDF as RFC 5869 and RFC 9180 have it."""

from cloister.crypto.labelled import expand, extract, labelled_expand, labelled_extract


def test_the_first_case_of_rfc_5869() -> None:
    """Extract, then expand."""
    key = extract(bytes(range(13)), b"\x0b" * 22)
    assert key.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    made = expand(key, bytes(range(0xF0, 0xFA)), 42)
    assert made.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_labels_and_suites_keep_keys_apart() -> None:
    """Another suite, label, information or length gives other bytes."""
    base = labelled_extract(b"HPKE1", b"", b"secret", b"s")
    assert base != labelled_extract(b"HPKE2", b"", b"secret", b"s")
    assert base != labelled_extract(b"HPKE1", b"", b"other", b"s")
    first = labelled_expand(b"HPKE1", base, b"key", b"", 16)
    assert first != labelled_expand(b"HPKE1", base, b"exp", b"", 16)
    assert first != labelled_expand(b"HPKE1", base, b"key", b"x", 16)
    assert first != labelled_expand(b"HPKE1", base, b"key", b"", 32)[:16]
