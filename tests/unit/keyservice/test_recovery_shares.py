"""Shares: each for one reader, and together the key, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.shamir import split_secret
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, MalformedError, ReleaseDeniedError
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.recovery_request import RecoveringPlatform, RecoveryRequest
from cloister.keyservice.recovery_shares import SealedShare, combine, give, split
from cloister.keyservice.state.record import StateKey
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform
from cloister.wire import decode, encode

SERVICE, STRANGER = SigningKey(b"s" * 32).public, SigningKey(b"o" * 32).public
HOLDERS = [HPKEPrivateKey.generate() for _ in range(3)]
PLAN = RecoveryPlan(SERVICE, 2, tuple(key.public.identity for key in HOLDERS), 1)
KEY = StateKey(b"k" * 32)


def kept() -> tuple[SealedShare, ...]:
    """A splitting."""
    return split(KEY, PLAN, [key.public for key in HOLDERS])


class Recovery:
    """A platform that recovers."""

    def __init__(self, folder: Path) -> None:
        platform = SimPlatform.create(folder, svn=1, debug=False)
        attester = SimAttester(platform, image=b"i" * 32)
        self.request = RecoveryRequest.make(SERVICE, platform, attester)
        self.key = self.request.private_key(platform)
        self.proved = RecoveringPlatform(SERVICE, self.request.hpke, self.request.digest)

    def given(self, shares: tuple[SealedShare, ...], *places: int) -> list[SealedShare]:
        """What holders give to it."""
        return [give(shares[place], HOLDERS[place], self.proved) for place in places]

    def refused(self, shares: list[SealedShare]) -> str:
        """The code with which it refuses shares."""
        with pytest.raises(ReleaseDeniedError) as e:
            combine(shares, self.request, self.key)
        return e.value.code


@pytest.fixture
def recovery(tmp_path: Path) -> Recovery:
    """One."""
    return Recovery(tmp_path / "platform")


@pytest.mark.spec("BR-22", "BR-23", "BR-24", "BR-27", "BR-28")
def test_enough_shares_give_the_key(recovery: Recovery) -> None:
    """Any two of three, or all; as files."""
    shares = tuple(SealedShare.from_bytes(each.to_bytes()) for each in kept())
    for places in ((0, 1), (2, 0), (0, 1, 2)):
        given = recovery.given(shares, *places)
        read = [SealedShare.from_bytes(each.to_bytes()) for each in given]
        found = combine(read, recovery.request, recovery.key)
        assert found.to_secret() == KEY.to_secret()


@pytest.mark.spec("BR-21")
def test_a_share_is_sealed_to_its_holder_only() -> None:
    """Nothing of the key, and no word of a mnemonic, can be read in the file."""
    shares = kept()
    frame = kept()[0].to_bytes()  # what every file says: some words are among them
    words = [w.encode() for w in shares[0].open(HOLDERS[0]).split() if w.encode() not in frame]
    for place, share in enumerate(shares):
        data = share.to_bytes()
        assert KEY.to_secret() not in data
        assert not any(word in data for word in words if len(word) > 4)
        for other, key in enumerate(HOLDERS):
            if other != place:
                with pytest.raises(ReleaseDeniedError) as e:
                    share.open(key)
                assert e.value.code == "recovery.share"


@pytest.mark.spec("BR-28")
def test_too_few_are_too_few(recovery: Recovery) -> None:
    """None, and one."""
    shares = kept()
    assert recovery.refused([]) == "recovery.too-few"
    assert recovery.refused(recovery.given(shares, 1)) == "recovery.too-few"


@pytest.mark.spec("BR-28")
def test_mixed_and_repeated_shares_are_refused(recovery: Recovery) -> None:
    """Of two splittings by the same plan, or one twice."""
    one, two = kept(), kept()
    assert recovery.refused(recovery.given(one, 0) + recovery.given(two, 1)) == "recovery.share"
    assert recovery.refused(recovery.given(one, 0, 0)) == "recovery.share"


@pytest.mark.spec("BR-24", "BR-27", "BR-28")
@pytest.mark.parametrize(
    "change",
    [
        {"service": STRANGER},
        {"plan": b"q" * 32},
        {"set_id": b"t" * 16},
        {"index": 2},
        {"purpose": "kept"},
        {"reader": b"r" * 32},
    ],
)
def test_what_is_public_of_a_share_cannot_be_changed(
    recovery: Recovery, change: dict[str, object]
) -> None:
    """It is bound to what is sealed."""
    shares = kept()
    first, second = recovery.given(shares, 0, 1)
    changed = SealedShare(replace(first.facts, **change), first.sealed)
    assert recovery.refused([changed, second]) == "recovery.share"
    other = {"purpose": "given"} if "purpose" in change else change
    facts = replace(shares[0].facts, **other)
    kept_one = SealedShare(facts, shares[0].sealed)
    with pytest.raises(ReleaseDeniedError) as e:
        give(kept_one, HOLDERS[0], recovery.proved)
    assert e.value.code == "recovery.share"


@pytest.mark.spec("BR-27")
def test_a_share_of_another_service_is_not_given(recovery: Recovery) -> None:
    """Though the holder can open it."""
    plan = replace(PLAN, service=STRANGER)
    shares = split(KEY, plan, [key.public for key in HOLDERS])
    with pytest.raises(ReleaseDeniedError) as e:
        give(shares[0], HOLDERS[0], recovery.proved)
    assert e.value.code == "recovery.share"


@pytest.mark.spec("BR-28")
def test_a_share_given_to_another_platform_is_of_no_use(recovery: Recovery, tmp_path: Path) -> None:
    """And one given to an earlier request of the same neither."""
    shares = kept()
    other = Recovery(tmp_path / "other")
    assert recovery.refused(other.given(shares, 0, 1)) == "recovery.share"
    readdressed = [
        SealedShare(replace(each.facts, reader=recovery.request.digest), each.sealed)
        for each in other.given(shares, 0, 1)
    ]
    assert recovery.refused(readdressed) == "recovery.share"


@pytest.mark.spec("BR-28", "BR-29")
@pytest.mark.parametrize(
    "words",
    ["", "no mnemonic", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 10, " ".join(["academic"] * 33)],
)
def test_a_holder_who_gives_something_else_gives_nothing(recovery: Recovery, words: str) -> None:
    """Sealed well, and no share."""
    [good, bad] = recovery.given(kept(), 0, 1)
    wrong = SealedShare.seal(words, bad.facts, recovery.request.hpke)
    assert recovery.refused([good, wrong]) == "recovery.share"


@pytest.mark.spec("BR-28")
def test_shares_of_a_shorter_secret_are_refused(recovery: Recovery) -> None:
    """Nobody has split a state key so."""
    facts = [each.facts for each in recovery.given(kept(), 0, 1)]
    words = split_secret(b"s" * 16, threshold=2, count=2)
    wrong = [
        SealedShare.seal(each, fact, recovery.request.hpke)
        for each, fact in zip(words, facts, strict=True)
    ]
    assert recovery.refused(wrong) == "recovery.share"


def test_other_holders_than_the_plans_are_refused() -> None:
    """Nobody is put in place of a holder."""
    with pytest.raises(ConfigError):
        split(KEY, PLAN, [key.public for key in HOLDERS[::-1]])


@pytest.mark.spec("BR-23")
@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"purpose": "lent"},
        {"index": 16},
        {"set": b"short"},
        {"more": 1},
        {"sealed": "text"},
    ],
)
def test_other_bytes_are_no_share(change: dict[str, object]) -> None:
    """Field by field."""
    tree = decode(kept()[0].to_bytes(), max_bytes=8192)
    assert isinstance(tree, dict)
    with pytest.raises(MalformedError):
        SealedShare.from_bytes(encode({**tree, **change}))
    with pytest.raises(MalformedError):
        SealedShare.from_bytes(b"x" * 8193)
