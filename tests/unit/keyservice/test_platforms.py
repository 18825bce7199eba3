"""An admission: what is signed, and which witnesses a service needs afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.keyservice.cosigning import Quorum, WitnessKey
from cloister.keyservice.platform_records import Admitted
from cloister.keyservice.platforms import Admission, require_watched

SERVICE, FIRST, SECOND, THIRD = (SigningKey(bytes([n]) * 32).public for n in range(1, 5))
WITNESSES = tuple(
    WitnessKey(f"w.example/{n}", SigningKey(bytes([n]) * 32).public) for n in range(10, 13)
)
ADMISSION = Admission(
    service=SERVICE,
    platform=SECOND,
    root_of_trust="sim",
    measurements=(b"m" * 32,),
    minimum_svn=1,
    quorum=Quorum(WITNESSES, 2),
    at=1_800_000_000,
)


@pytest.mark.spec("BR-10", "BR-11", "BR-40")
def test_an_admission_is_read_back() -> None:
    """From the file that approvers read, and signed as what it is."""
    assert Admission.from_text(ADMISSION.to_text()) == ADMISSION
    assert ADMISSION.subject.kind == "platform"
    assert replace(ADMISSION, minimum_svn=0).subject != ADMISSION.subject
    assert ADMISSION.reference.anchors == (SECOND,)
    assert not ADMISSION.reference.debug
    with pytest.raises(MalformedError):
        Admission.from_text(ADMISSION.to_text().replace(b'"at"', b'"more": 1, "at"'))


@pytest.mark.spec("BR-40")
@pytest.mark.parametrize(
    "change",
    [
        {"quorum": Quorum(WITNESSES, 1)},
        {"quorum": Quorum(WITNESSES[:2], 1)},
        {"quorum": Quorum((), 0)},
        {"measurements": ()},
    ],
)
def test_what_would_let_two_logs_be_seen_is_refused(change: dict[str, object]) -> None:
    """Half of the witnesses are too few, none too; so is nothing to compare with."""
    with pytest.raises(MalformedError) as e:
        replace(ADMISSION, **change)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("BR-44")
def test_platforms_add_up() -> None:
    """The first one, the second, and each once; the newest witnesses hold for all."""
    texts = tuple(sorted(witness.text for witness in WITNESSES))
    one = ADMISSION.after(None, first=FIRST)
    assert one == Admitted((FIRST.raw, SECOND.raw), texts, 2)
    assert ADMISSION.after(one, first=FIRST) == one
    more = replace(ADMISSION, platform=THIRD, quorum=Quorum(WITNESSES[:1], 1))
    two = more.after(one, first=SECOND)
    assert two == Admitted((FIRST.raw, SECOND.raw, THIRD.raw), (WITNESSES[0].text,), 1)


@pytest.mark.spec("BR-45")
@pytest.mark.parametrize(
    "quorum",
    [
        None,
        Quorum((), 0),
        Quorum(WITNESSES[:2], 2),
        Quorum(WITNESSES, 1),
        Quorum((*WITNESSES[:2], WitnessKey("w.example/x", FIRST)), 2),
    ],
)
def test_without_its_witnesses_a_service_is_none(quorum: Quorum | None) -> None:
    """None, fewer, a smaller number, others."""
    present = ADMISSION.after(None, first=FIRST)
    with pytest.raises(UnavailableError) as e:
        require_watched(present, quorum)
    assert e.value.code == "keyservice.witnesses"


@pytest.mark.spec("BR-45")
def test_with_them_it_goes_on() -> None:
    """In any order, and with more of them required; one platform needs none."""
    present = ADMISSION.after(None, first=FIRST)
    require_watched(present, Quorum(WITNESSES[::-1], 2))
    require_watched(present, Quorum(WITNESSES, 3))
    require_watched(None, None)


def test_a_witness_twice_is_refused() -> None:
    """By whoever counts witnesses."""
    text = ADMISSION.to_text().replace(WITNESSES[0].text.encode(), WITNESSES[1].text.encode())
    with pytest.raises(CloisterError) as e:
        Admission.from_text(text)
    assert e.value.code == "config.value"
