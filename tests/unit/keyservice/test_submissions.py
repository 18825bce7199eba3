"""What is handed in, and how its fate is read from an answer."""

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.approvals import NO_PREDECESSOR
from cloister.keyservice.policy.canonical import canonical_bytes
from cloister.keyservice.policy.charter import charter_bytes, parse_charter
from cloister.keyservice.submissions import (
    NamespaceFacts,
    Submission,
    charter_subject,
    policy_subject,
)
from cloister.testing.policies import sample_policy
from cloister.wire import Fields
from unit.keyservice.policy.test_charter import TEXT

SERVICE = b"s" * 32
PENDING = {
    "state": "approval.pending",
    "hash": b"h" * 32,
    "approved": [b"a" * 32],
    "missing": [b"b" * 32],
    "lacking": 1,
    "deadline": 7,
}


def test_a_subject_is_what_the_bytes_say() -> None:
    """Kind, namespace, hash and predecessor, at one service."""
    policy = sample_policy()
    subject = policy_subject(canonical_bytes(policy), service=SERVICE)
    assert (subject.kind, subject.namespace) == ("policy", policy.namespace)
    assert subject.predecessor == NO_PREDECESSOR
    later = TEXT.replace("predecessor: none", 'predecessor: "sha256:' + "07" * 32 + '"')
    charter = charter_bytes(parse_charter(later.encode(), source="c"))
    subject = charter_subject(charter, service=SERVICE)
    assert (subject.kind, subject.predecessor) == ("charter", b"\x07" * 32)
    for read in (policy_subject, charter_subject):
        with pytest.raises(MalformedError):
            read(b"\xff", service=SERVICE)


def test_an_answer_says_whether_it_is_in_force() -> None:
    """And if not, who is missing."""
    done = Submission.from_fields(Fields({"state": "in-force", "hash": b"h" * 32}, what="x"))
    assert done == Submission(b"h" * 32, in_force=True)
    waiting = Submission.from_fields(Fields(PENDING, what="x"))
    assert (waiting.in_force, waiting.lacking, waiting.missing) == (False, 1, (b"b" * 32,))


@pytest.mark.parametrize(
    "change", [{"missing": [b"short"]}, {"missing": [1]}, {"lacking": 0}, {"hash": b""}, {"x": 1}]
)
def test_an_odd_answer_is_refused(change: dict[str, object]) -> None:
    """Strictly, like everything that is read."""
    with pytest.raises(MalformedError) as e:
        Submission.from_fields(Fields(PENDING | change, what="x"))
    assert e.value.code == "message.malformed"


def test_facts_of_a_namespace_are_read_strictly() -> None:
    """Nobody approves with a threshold of none."""
    facts = {
        "namespace": "lab",
        "canonical": b"",
        "approvers": [b"a" * 32],
        "threshold": 1,
        "ca": b"pem",
    }
    assert NamespaceFacts.from_fields(Fields(facts, what="x")).approvers == (b"a" * 32,)
    with pytest.raises(MalformedError):
        NamespaceFacts.from_fields(Fields(facts | {"threshold": 0}, what="x"))
