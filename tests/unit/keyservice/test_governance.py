"""Who governs a namespace, and who must approve a charter."""

import pytest

from cloister.crypto.signature import SigningKey
from cloister.keyservice.governance import (
    FOUNDER_TIMEOUT_S,
    asks_for_more,
    charter_panel,
    governing,
)
from cloister.keyservice.policy.charter import (
    charter_bytes,
    charter_from_canonical,
    charter_hash,
    parse_charter,
)
from cloister.keyservice.tenancy_records import CharterRecord

FOUNDER, ANN, BEN = (SigningKey(bytes([number]) * 32).public for number in (1, 2, 3))


def record(namespace: str, key: str, *, volumes: int = 5) -> CharterRecord:
    """A charter in force."""
    text = f"""\
charter: cloister/namespace/v1
namespace: {namespace}
predecessor: none
approvers: ["{key}"]
threshold: 1
timeout: 60
readers: []
quotas: {{policies: 1, volumes: {volumes}, secrets: 1, members: 1, requests_per_minute: 1}}
"""
    charter = parse_charter(text.encode(), source="c")
    return CharterRecord(namespace, charter_hash(charter), charter_bytes(charter), 0, b"", b"")


class InMemory:
    """Charters by namespace."""

    def __init__(self, *records: CharterRecord) -> None:
        self._records = {found.namespace: found for found in records}

    def charter(self, namespace: str) -> CharterRecord | None:
        return self._records.get(namespace)


@pytest.mark.spec("PA-3", "PA-4", "PA-53")
def test_the_nearest_charter_governs_and_else_the_founder() -> None:
    """With threshold 1, seven days and no quotas."""
    charters = InMemory(record("a", ANN.text), record("a/b/c", BEN.text))
    found = {
        name: governing(name, charters, founder=FOUNDER.raw).approvers
        for name in ("/", "x", "a", "a/b", "a/b/c", "a/b/c/d", "ab")
    }
    ann, ben, founder = (frozenset({key.raw}) for key in (ANN, BEN, FOUNDER))
    assert found == {
        "/": founder, "x": founder, "ab": founder,
        "a": ann, "a/b": ann, "a/b/c": ben, "a/b/c/d": ben,
    }  # fmt: skip
    governance = governing("/", charters, founder=FOUNDER.raw)
    assert (governance.board.threshold, governance.board.timeout) == (1, FOUNDER_TIMEOUT_S)
    assert governance.quotas is None


@pytest.mark.spec("PA-6", "PA-7")
def test_a_charters_panel() -> None:
    """Those above for the first; its own later; both where a quota rises."""
    present = record("a/b", BEN.text)
    charters = InMemory(record("a", ANN.text), present)

    def panel(namespace: str, volumes: int) -> frozenset[bytes]:
        text = record(namespace, FOUNDER.text, volumes=volumes).canonical
        charter = charter_from_canonical(text)
        return charter_panel(charter, charters, founder=FOUNDER.raw).approvers

    assert panel("a/c", 5) == {ANN.raw}
    assert panel("a/b", 5) == {BEN.raw}
    assert panel("a/b", 4) == {BEN.raw}
    assert panel("a/b", 6) == {BEN.raw, ANN.raw}
    assert panel("/", 5) == {FOUNDER.raw}
    assert panel("d", 5) == {FOUNDER.raw}


@pytest.mark.spec("PA-52")
def test_the_first_charter_asks_for_more_than_none() -> None:
    """So it too needs room above."""
    present = record("a", ANN.text)
    charter = charter_from_canonical(present.canonical)
    assert asks_for_more(None, charter)
    assert not asks_for_more(present, charter)
