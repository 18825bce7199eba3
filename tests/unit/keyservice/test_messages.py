"""Messages of the release protocol: bytes, bounds, and the signature on replies."""

import dataclasses

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.signature import SigningKey
from cloister.errors import AppraisalError, IdentityError, MalformedError, TamperedError
from cloister.keyservice.messages import (
    MAX_ENDORSEMENT_BYTES,
    MAX_ENDORSEMENTS,
    Challenge,
    ChallengeRequest,
    Failure,
    ReleaseRequest,
    Reply,
    SignedReply,
    bundle_info,
    require_name,
)
from cloister.wire import decode, encode

KEY = SigningKey(b"k" * 32)
REQUEST = ReleaseRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    policy=b"p" * 32,
    workload="train",
    instance="run-1",
    hpke_key=b"h" * 1216,
    certificate_request=b"csr",
    measurement=LaunchMeasurement(b"c" * 32, b"r" * 32),
    evidence=Evidence("a/b", b"evidence"),
)


@pytest.mark.spec("KR-1")
def test_bytes_round_trip() -> None:
    """What was written is read."""
    assert ReleaseRequest.from_bytes(REQUEST.to_bytes()) == REQUEST
    challenge = Challenge(b"s" * 32, b"n" * 32, 60)
    assert Challenge.from_bytes(challenge.to_bytes()) == challenge
    ask = ChallengeRequest(b"n" * 32)
    assert ChallengeRequest.from_bytes(ask.to_bytes()) == ask


@pytest.mark.parametrize(
    "change",
    [
        {"service": b"s"},
        {"nonce": b""},
        {"policy": b"p" * 33},
        {"workload": ""},
        {"workload": "../x"},
        {"workload": "a/b"},
        {"instance": "x" * 65},
        {"instance": "*"},
        {"hpke_key": b"h" * 1215},
        {"certificate_request": b""},
        {"certificate_request": b"x" * 8193},
    ],
)
def test_invalid_requests_cannot_be_built_or_read(change: dict[str, object]) -> None:
    """A message with a wrong part does not exist, whichever way it would come."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(REQUEST, **change)
    assert e.value.code == "message.malformed"
    value = decode(REQUEST.to_bytes(), max_bytes=10000)
    assert isinstance(value, dict)
    with pytest.raises(MalformedError) as read:
        ReleaseRequest.from_bytes(encode(value | change))
    assert read.value.code == "message.malformed"


def test_another_version_is_refused() -> None:
    """There is no negotiation to attack."""
    value = decode(REQUEST.to_bytes(), max_bytes=10000)
    assert isinstance(value, dict)
    with pytest.raises(MalformedError):
        ReleaseRequest.from_bytes(encode(value | {"version": 2}))


@pytest.mark.parametrize("lifetime", [0, 86401])
def test_a_challenge_has_a_sane_lifetime(lifetime: int) -> None:
    """Between a second and a day."""
    with pytest.raises(MalformedError):
        Challenge(b"s" * 32, b"n" * 32, lifetime)


@pytest.mark.parametrize("name", ["a", "run-1", "A.b_c", "x" * 64])
def test_plain_names_are_accepted(name: str) -> None:
    """Letters, digits, dots, underscores, dashes."""
    assert require_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "-x", "a b", "ä", "x" * 65, "a\n", "a\x00"])
def test_other_names_are_refused(name: str) -> None:
    """Nothing that a path or URI would read differently."""
    with pytest.raises(MalformedError) as e:
        require_name(name)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("KR-3")
def test_a_reply_is_signed_over_path_and_request() -> None:
    """An answer to another question is not an answer."""
    signed = SignedReply.make(Reply(5, b"yes"), path="/a", request=b"q", key=KEY)
    again = SignedReply.from_bytes(signed.to_bytes())
    assert again.open(path="/a", request=b"q", service=KEY.public) == Reply(5, b"yes")
    for path, request, service in (
        ("/b", b"q", KEY.public),
        ("/a", b"r", KEY.public),
        ("/a", b"q", SigningKey(b"x" * 32).public),
    ):
        with pytest.raises(IdentityError) as e:
            again.open(path=path, request=request, service=service)
        assert e.value.code == "identity.keyservice"


@pytest.mark.spec("KR-3")
def test_every_flipped_bit_of_a_reply_is_refused() -> None:
    """One bit anywhere in body or signature."""
    data = SignedReply.make(Reply(5, b"yes"), path="/a", request=b"q", key=KEY).to_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises((MalformedError, IdentityError)):
            SignedReply.from_bytes(bytes(changed)).open(path="/a", request=b"q", service=KEY.public)


@pytest.mark.spec("KR-7")
def test_a_failure_carries_code_and_sentence_and_no_detail() -> None:
    """Detail stays with the operator."""
    error = TamperedError("changed", code="state.tampered", detail="page 7")
    signed = SignedReply.make(Failure.of(error, at=1), path="/a", request=b"", key=KEY)
    assert b"page 7" not in signed.to_bytes()
    failure = signed.open(path="/a", request=b"", service=KEY.public)
    assert isinstance(failure, Failure)
    assert isinstance(failure.error(), TamperedError)


@pytest.mark.spec("KR-7")
def test_every_class_of_error_comes_back_as_itself() -> None:
    """Also the one with more fields."""
    assert isinstance(Failure(1, "appraisal.code", "x").error(), AppraisalError)
    assert Failure(1, "invented.code", "x").error().code == "protocol.remote"


@pytest.mark.parametrize(("code", "message"), [("A B", "x"), ("", "x"), ("x", "y" * 2001)])
def test_an_unbounded_failure_cannot_be_built(code: str, message: str) -> None:
    """Codes are plain, sentences short."""
    with pytest.raises(MalformedError):
        Failure(1, code, message)


def test_the_bundles_seal_names_service_nonce_and_request() -> None:
    """Each part changes the context."""
    base = bundle_info(service=b"s" * 32, nonce=b"n" * 32, request=b"r")
    others = {
        bundle_info(service=b"S" * 32, nonce=b"n" * 32, request=b"r"),
        bundle_info(service=b"s" * 32, nonce=b"N" * 32, request=b"r"),
        bundle_info(service=b"s" * 32, nonce=b"n" * 32, request=b"R"),
    }
    assert len(others | {base}) == 4


@pytest.mark.spec("KR-14")
def test_endorsements_travel_and_are_bounded() -> None:
    """In number, in all, and each of them says something; without any the field is absent."""
    some = (Endorsement("a/b", b"one"), Endorsement("a/b", b"two"))
    sent = dataclasses.replace(REQUEST, endorsements=some)
    assert ReleaseRequest.from_bytes(sent.to_bytes()) == sent
    assert sent.report_data() == REQUEST.report_data()
    assert b"endorsements" not in REQUEST.to_bytes()
    most = Endorsement("a/b", b"x" * (MAX_ENDORSEMENT_BYTES // 2))
    whole = dataclasses.replace(REQUEST, endorsements=(most, most))
    assert ReleaseRequest.from_bytes(whole.to_bytes()) == whole
    for wrong in (
        (Endorsement("a/b", b"x"),) * (MAX_ENDORSEMENTS + 1),
        (most, most, Endorsement("a/b", b"x")),
        (Endorsement("a/b", b""),),
        (Endorsement("", b"x"),),
    ):
        with pytest.raises(MalformedError) as e:
            dataclasses.replace(REQUEST, endorsements=wrong)
        assert e.value.code == "message.malformed"
    fields = decode(REQUEST.to_bytes(), max_bytes=1 << 20)
    assert isinstance(fields, dict)
    with pytest.raises(MalformedError):
        ReleaseRequest.from_bytes(encode(fields | {"endorsements": []}))
