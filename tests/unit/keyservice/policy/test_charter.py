"""Charters: read strictly, one spelling, every mistake by its code."""

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.charter import (
    MAX_CHARTER_BYTES,
    charter_bytes,
    charter_from_canonical,
    charter_hash,
    parse_charter,
)

A, B = "ed25519:" + "a1" * 32, "ed25519:" + "b2" * 32
TEXT = f"""\
charter: cloister/namespace/v1
namespace: clinic/imaging
predecessor: none
approvers: ["{A}", "{B}"]
threshold: 2
timeout: 604800
readers: []
quotas: {{policies: 20, volumes: 200, secrets: 50, members: 50, requests_per_minute: 600}}
"""


@pytest.mark.spec("PA-10", "PA-11", "PA-12")
def test_text_and_canonical_bytes_say_the_same() -> None:
    """Layout changes nothing; content changes the hash."""
    charter = parse_charter(TEXT.encode(), source="c.yaml")
    assert charter_from_canonical(charter_bytes(charter)) == charter
    assert charter.board.threshold == 2
    again = parse_charter(("# a comment\n" + TEXT).encode(), source="c.yaml")
    assert charter_hash(again) == charter_hash(charter)
    other = parse_charter(TEXT.replace("604800", "604801").encode(), source="c.yaml")
    assert charter_hash(other) != charter_hash(charter)


@pytest.mark.spec("PA-10")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("readers: []\n", ""),
        ("readers: []", "readers: []\nmore: 1"),
        ("threshold: 2", "threshold: 0"),
        ("threshold: 2", "threshold: 3"),
        ("threshold: 2", "threshold: 33"),
        ("604800", "59"),
        ("604800", "7776001"),
        (f'["{A}", "{B}"]', "[]"),
        (f'["{A}", "{B}"]', f'["{A}", "{A}"]'),
        (f'"{B}"', '"ed25519:00"'),
        ("clinic/imaging", "a/b/c/d/e"),
        ("clinic/imaging", "Clinic"),
        ("clinic/imaging", "clinic//imaging"),
        ("predecessor: none", "predecessor: first"),
        (", members: 50", ""),
        ("per_minute: 600", "per_minute: 0"),
        ("policies: 20", "policies: -1"),
        ("namespace/v1", "namespace/v2"),
    ],
)
def test_a_mistake_is_refused(old: str, new: str) -> None:
    """Nothing has a default, and nothing may be left out."""
    assert old in TEXT
    with pytest.raises(MalformedError) as e:
        parse_charter(TEXT.replace(old, new, 1).encode(), source="c.yaml")
    assert e.value.code == "charter.invalid"


@pytest.mark.spec("PA-11", "PA-12")
@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"a: &b c", b"a: 1\na: 2", b"#" * (MAX_CHARTER_BYTES + 1), b"--- 1\n--- 2"],
)
def test_a_text_that_cannot_be_read_is_malformed(data: bytes) -> None:
    """Before anybody asks what it says."""
    with pytest.raises(MalformedError) as e:
        parse_charter(data, source="c.yaml")
    assert e.value.code == "charter.malformed"


@pytest.mark.spec("PA-12")
def test_canonical_bytes_have_one_spelling() -> None:
    """Cut, lengthened, too long, or canonical and no charter."""
    good = charter_bytes(parse_charter(TEXT.encode(), source="c.yaml"))
    for bad in (good[:-1], good + b"\0", b"", bytes(MAX_CHARTER_BYTES + 1)):
        with pytest.raises(MalformedError) as e:
            charter_from_canonical(bad)
        assert e.value.code == "charter.malformed"
    with pytest.raises(MalformedError) as e:
        charter_from_canonical(b"\xa0")
    assert e.value.code == "charter.invalid"
