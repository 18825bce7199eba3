"""The table of who may do what, by itself."""

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.authority import RULES, Target, Who, may_read, require_authority
from cloister.keyservice.governance import Governance
from cloister.keyservice.ownership import OPERATIONS
from cloister.keyservice.policy.model import Board

APPROVER, SECOND, READER, MEMBER, NAMED, STRANGER = (
    SigningKey(bytes([number]) * 32).public for number in range(1, 7)
)


def target(threshold: int = 2, registrant: bytes = b"") -> Target:
    """Two approvers and a reader govern; the policy names a member and a reader."""
    board = Board(approvers=(APPROVER.text, SECOND.text), threshold=threshold, timeout=60)
    return Target(
        Governance("lab", board, frozenset({READER.raw}), None),
        submitters=frozenset({MEMBER.raw}),
        readers=frozenset({NAMED.raw}),
        registrant=registrant,
    )


def allowed(operation: str, where: Target | None) -> set[bytes]:
    """Who may."""
    refused = {key.raw: "" for key in (APPROVER, SECOND, READER, MEMBER, NAMED, STRANGER)}
    for key in refused:
        try:
            require_authority(operation, key, where)
        except ReleaseDeniedError as e:
            refused[key] = e.code
    assert set(refused.values()) <= {"", RULES[operation].refusal}
    return {key for key, code in refused.items() if not code}


@pytest.mark.spec("KR-83")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_takes_the_keys_of_its_rule(operation: str) -> None:
    """And of nobody else; what is not there takes none."""
    approvers = {APPROVER.raw, SECOND.raw}
    everybody = approvers | {READER.raw, MEMBER.raw, NAMED.raw, STRANGER.raw}
    expected = {
        Who.APPROVER: approvers,
        Who.SUBMITTER: approvers | {MEMBER.raw},
        Who.READER: everybody - {STRANGER.raw},
        Who.HOLDER: set(),
        Who.KNOWN: everybody,
    }[RULES[operation].who]
    assert allowed(operation, target()) == expected
    assert allowed(operation, None) == (everybody if RULES[operation].who is Who.KNOWN else set())


@pytest.mark.spec("KR-83", "KR-84")
def test_a_volume_is_for_the_approver_who_registered_it() -> None:
    """With threshold 1 for any; one who is no approver any more is nobody."""
    assert allowed("volume.key", target(registrant=SECOND.raw)) == {SECOND.raw}
    assert allowed("volume.key", target(registrant=STRANGER.raw)) == set()
    assert allowed("volume.key", target(threshold=1)) == {APPROVER.raw, SECOND.raw}


@pytest.mark.spec("KR-83")
def test_an_operation_without_a_rule_is_nobodys() -> None:
    """Whoever forgets the rule gets a refusal, not a hole."""
    with pytest.raises(ReleaseDeniedError) as e:
        require_authority("volume.give-away", APPROVER.raw, target())
    assert e.value.code == "release.not-owner"


def test_readers_see_and_strangers_do_not() -> None:
    """The same rule decides about lists."""
    assert may_read(READER.raw, target())
    assert not may_read(STRANGER.raw, target())
