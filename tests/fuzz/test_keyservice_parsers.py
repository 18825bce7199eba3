"""From hostile bytes, parsers raise MalformedError or below, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.attestation.evidence import Evidence
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, NotChecked, RuleHit
from cloister.crypto.aead import AEADKey
from cloister.crypto.digest import framed, sha256
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.kdf import derive_key
from cloister.crypto.keyring import KeyRing
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import (
    ConfigError,
    EvidenceError,
    IdentityError,
    MalformedError,
    ReleaseDeniedError,
    WitnessError,
)
from cloister.keyservice.admitting import StateKeyGrant
from cloister.keyservice.anchoring import AnchorReply, AnchorRequest, SealedAnchorRequest
from cloister.keyservice.approvals import NO_PREDECESSOR, Approval, Subject
from cloister.keyservice.budget_messages import (
    DEMAND_BYTES,
    DEMAND_LABEL,
    SpendDemand,
    SpendOutcome,
    padded,
)
from cloister.keyservice.bundle import Bundle, Lease, ListenerGrant, VolumeGrant
from cloister.keyservice.cosigning import Cosigner, Quorum, WitnessKey
from cloister.keyservice.export_messages import (
    ExportGrant,
    ExportRequest,
    SignedExportRequest,
)
from cloister.keyservice.genuine import AttestRequest, ServiceReference
from cloister.keyservice.kv2 import kv2_value
from cloister.keyservice.leases import AnchorMove
from cloister.keyservice.log import Checkpoint, LogEntry, Receipt, StateCommitment, read_leaf
from cloister.keyservice.member_messages import (
    MemberGrant,
    MemberRequest,
    RefusalNotice,
    SealedMemberRequest,
)
from cloister.keyservice.messages import (
    Challenge,
    ChallengeRequest,
    Failure,
    ReleaseRequest,
    Reply,
    SignedReply,
)
from cloister.keyservice.notes import Note
from cloister.keyservice.ownership import OwnerRequest, SignedOwnerRequest
from cloister.keyservice.platforms import Admission
from cloister.keyservice.policy.charter import charter_from_canonical
from cloister.keyservice.policy.secret_rules import ExternalForm
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.recovery_request import RecoveryRequest
from cloister.keyservice.recovery_shares import SealedShare, ShareFacts
from cloister.keyservice.refusals import Refusal
from cloister.keyservice.rekey import Rekey
from cloister.keyservice.renewal import Renewal
from cloister.keyservice.reset import Reset
from cloister.keyservice.roster import Expected, Roster, SignedRoster
from cloister.keyservice.source_messages import (
    ServiceFact,
    SourceFact,
    Trouble,
    read_address,
)
from cloister.keyservice.state.record import Head
from cloister.keyservice.view.issued import IssuedToken
from cloister.keyservice.view.token import ViewToken
from cloister.keyservice.view_grants import ViewGrant
from cloister.keyservice.witness import AddCheckpoint
from cloister.launcher.desk_frames import DeskAnswer, DeskQuestion
from cloister.tee.sim.layout import SignedReport, SimReport
from cloister.wire import decode, encode

LARGE: Final = "CLOISTER_FUZZ" in os.environ
KEY = SigningKey(b"k" * 32)
LAUNCH = LaunchMeasurement(b"c" * 32, b"r" * 32)
RECEIPT = Receipt(b"entry", 0, (b"h" * 32,), "note")
MOVE = AnchorMove(1, b"1" * 32, 2, b"2" * 32, 3)
ANCHOR = AnchorRequest(b"s" * 32, b"n" * 32, b"v" * 16, 3, "advance", MOVE)
APPROVAL = Approval.make(
    Subject(b"s" * 32, "policy", "lab", b"h" * 32, NO_PREDECESSOR), key=KEY, expires_at=9
)
CHARTER = encode(
    {
        "charter": "cloister/namespace/v1",
        "namespace": "lab",
        "predecessor": "none",
        "approvers": [KEY.public.text],
        "threshold": 1,
        "timeout": 60,
        "readers": [],
        "quotas": {
            "policies": 1,
            "volumes": 1,
            "secrets": 1,
            "members": 1,
            "requests_per_minute": 1,
        },
    }
)
RESET = Reset(KEY.public, KEY.public, 7, Head(5, b"h" * 32), 9)
PLAN = RecoveryPlan(KEY.public, 2, (b"1" * 32, b"2" * 32), 9)
RECOVERY = RecoveryRequest(
    KEY.public,
    KEY.public,
    HPKEPrivateKey(b"s" * 96).public,
    b"session",
    Evidence("a/b", b"evidence"),
)
ADMISSION = Admission(
    service=KEY.public,
    platform=KEY.public,
    root_of_trust="sim",
    measurements=(b"m" * 32,),
    minimum_svn=1,
    quorum=Quorum((Cosigner("w.example/1", KEY).public,), 1),
    at=9,
)
SHARE = ShareFacts(KEY.public, b"p" * 32, b"i" * 16, 1, "kept", b"r" * 32)
OWNER = OwnerRequest(
    b"s" * 32, b"n" * 32, KEY.public.raw, "volume.key", {"id": b"v" * 16}, b"h" * 1216
)
GRANT = VolumeGrant(
    name="data",
    id=b"i" * 16,
    keys=KeyRing(3, (b"j" * 32, b"k" * 32)),
    access="write",
    version=1,
    root=b"r" * 32,
    epoch=0,
    lease=Lease(1, b"s" * 32, 15),
)
BUNDLE = Bundle(
    policy=b"p" * 32,
    workload="train",
    instance="run-1",
    identity="spiffe://d/n/p/train/run-1",
    command=("python",),
    environment={"A": "b"},
    volumes={"/data": GRANT},
    listen={"api": ListenerGrant(0, ("spiffe://d/n/clients/ann/*",), "")},
    logs="pass",
    certificate=b"PEM",
    ca=b"PEM",
    result=b"result",
    receipt=RECEIPT,
)
RESULT = AttestationResult(
    policy=b"p" * 32,
    workload="train",
    root_of_trust="sim",
    hardware_rooted=False,
    anchor=b"a" * 32,
    measurement=b"m" * 32,
    security_version=1,
    debug=False,
    launch=LAUNCH,
    checked=(RuleHit("a", "b", "c"),),
    not_checked=(NotChecked("d", "e"),),
)
REQUEST = ReleaseRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    policy=b"p" * 32,
    workload="train",
    instance="run-1",
    hpke_key=b"h" * 1216,
    certificate_request=b"csr",
    measurement=LAUNCH,
    evidence=Evidence("a/b", b"evidence"),
)
NOTE = Checkpoint("example.test/log", 3, b"r" * 32).to_note(KEY)
WITNESS = Cosigner("w.example/1", SigningKey(b"w" * 32))
COSIGNED = Note.from_text(NOTE)
COSIGNED = Note(COSIGNED.body, (*COSIGNED.lines, WITNESS.cosign(COSIGNED, at=1)))


def open_reply(data: bytes) -> None:
    """As a client opens it."""
    with contextlib.suppress(IdentityError):
        SignedReply.from_bytes(data).open(path="/a", request=b"q", service=KEY.public)


def open_owner_request(data: bytes) -> None:
    """As the service opens it."""
    with contextlib.suppress(ReleaseDeniedError):
        SignedOwnerRequest.from_bytes(data).require(KEY.public)


def open_note(data: bytes) -> None:
    """As a client opens it."""
    with contextlib.suppress(IdentityError):
        Checkpoint.from_note(
            data.decode("utf-8", "replace"), service=KEY.public, origin="example.test/log"
        )


def read_note(data: bytes) -> None:
    """As a witness reads it before it knows whose it is."""
    Note.from_text(data.decode("utf-8", "replace"))


def open_cosigned(data: bytes) -> None:
    """As a reader counts witnesses."""
    with contextlib.suppress(WitnessError):
        Quorum((WITNESS.public,), 1).require(Note.from_text(data.decode("utf-8", "replace")))


def read_admission(data: bytes) -> None:
    """As approvers and the service read it."""
    with contextlib.suppress(ConfigError):  # witnesses that cannot be required
        Admission.from_text(data)


def read_witness_key(data: bytes) -> None:
    """As it is given on a command line."""
    WitnessKey.from_text(data.decode("utf-8", "replace"))


def read_answer(data: bytes) -> None:
    """A body that the service did sign, and that is still read strictly."""
    signature = KEY.sign(b"cloister/key-release/v1/reply", _covered(data))
    SignedReply(data, signature).open(path="/a", request=b"q", service=KEY.public)


FORM = ExternalForm(source="vault", path="a/data/b", field="c", max_bytes=9)
KV2 = b'{"data": {"data": {"c": "value"}, "metadata": {"destroyed": false, "deletion_time": ""}}}'
ISSUED = IssuedToken(
    KEY.public.raw, b"i" * 16, KEY.public.raw, namespace="lab", scope="view", expires=9
)
TROUBLE = Trouble("lab/p/a@1", "source.refused", "the source answered 403")


REFERENCE = ServiceReference(
    root_of_trust="sim",
    anchors=(KEY.public,),
    measurements=(b"m" * 32,),
    minimum_svn=1,
    debug=False,
)
EXPORT = ExportRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    namespace="feeds",
    policy="source",
    secret="key",  # a name
    epoch=1,
    part="",
    importer=KEY.public.raw,
    trust_domain="near.test",
    to_namespace="lab",
    to_policy="keeper",
    hpke_key=b"h" * 1216,
)


def open_export_request(data: bytes) -> None:
    """As the exporting service opens it."""
    with contextlib.suppress(EvidenceError):
        SignedExportRequest.from_bytes(data).open()


class Grants:
    """Knows every token, as issued."""

    def find(self, token: bytes) -> ViewGrant | None:
        """Return it."""
        return ViewGrant(token, KEY.public.raw, "lab", "view", 9, 0)


def open_token(data: bytes) -> None:
    """As the service reads an issued token."""
    with contextlib.suppress(IdentityError):
        IssuedToken.from_text(
            data.decode("utf-8", "replace"), service=KEY.public, grants=Grants(), at=1
        )


def read_source_address(data: bytes) -> None:
    """As an owner sends it."""
    read_address(data.decode("utf-8", "replace"))


def _covered(body: bytes) -> bytes:
    return framed(b"/a", sha256(b"q"), body)


MEMBERS = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "membership-v1"
ROSTER = json.loads((MEMBERS / "roster-ok.json").read_text("utf-8"))
MEMBER_GRANT = MemberGrant("d", "lab", "digits", 1, 9, b"s" * 32)
RENEWAL = Renewal(b"PEM", b"result", RECEIPT, MEMBER_GRANT)


def member_request(name: str) -> bytes:
    """A sealed request of the vectors."""
    return bytes.fromhex(json.loads((MEMBERS / f"{name}.json").read_text("utf-8"))["message"])


def open_member_request(data: bytes) -> None:
    """As the service opens it."""
    sealed = SealedMemberRequest.from_bytes(data)
    MemberRequest.from_bytes(sealed.body)
    with contextlib.suppress(ReleaseDeniedError):
        sealed.require(b"s" * 32)


def open_roster(data: bytes) -> None:
    """As somebody who pinned the service opens it."""
    want = ROSTER["expected"]
    expected = Expected(
        service=VerifyingKey(bytes.fromhex(want["service"])),
        domain=want["domain"],
        namespace=want["namespace"],
        name=want["name"],
        of=want["of"],
        epoch=want["epoch"],
        at=want["now"],
        max_age_s=want["max_age_s"],
    )
    with contextlib.suppress(IdentityError, EvidenceError):
        SignedRoster.from_bytes(data).verify(expected)


def open_view_token(data: bytes) -> None:
    """As the service reads what comes in a header."""
    text = data.decode("latin-1")
    with contextlib.suppress(IdentityError):
        ViewToken.from_text(text, service=KEY.public, owner=KEY.public, at=1_800_000_000)


def open_demand(data: bytes) -> None:
    """As the service opens it, when a member has sealed these bytes."""
    plain = data[:DEMAND_BYTES].ljust(DEMAND_BYTES, b"\0")
    key = AEADKey(derive_key(b"s" * 32, label=DEMAND_LABEL, salt=b"n" * 32))
    SpendDemand.opened(key.seal_random(plain, DEMAND_LABEL), b"s" * 32, b"n" * 32)


SPENDER = bytes.fromhex(json.loads((MEMBERS / "demand-ok.json").read_text("utf-8"))["secret"])
DEMAND = padded(encode({"number": 1, "budget": "q", "principal": "a", "amount": 1}), DEMAND_BYTES)

PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "demand": (open_demand, DEMAND),
    "desk's question": (DeskQuestion.from_frame, DeskQuestion("q", "a", 1).to_frame()),
    "desk's answer": (DeskAnswer.from_frame, DeskAnswer(0, "budget.spent", "so").to_frame()),
    "sealed demand": (
        lambda data: SpendDemand.opened(data, SPENDER, b"n" * 32),
        member_request("demand-ok"),
    ),
    "sealed outcome": (
        lambda data: SpendOutcome.opened(data, SPENDER, b"n" * 32),
        member_request("outcome-ok"),
    ),
    "member's demand": (open_member_request, member_request("request-ok-spend")),
    "member's request for a roster": (open_member_request, member_request("request-ok-roster")),
    "member's request for a token": (open_member_request, member_request("request-ok-token")),
    "member's request for refusals": (
        open_member_request,
        member_request("request-ok-refusals"),
    ),
    "notice of a refusal": (
        lambda data: RefusalNotice.from_value(decode(data, max_bytes=4096)),
        encode(RefusalNotice(1, 2, "w", "c").to_value()),
    ),
    "member's request to leave": (open_member_request, member_request("request-ok-leave")),
    "signed roster": (open_roster, bytes.fromhex(ROSTER["message"])),
    "roster": (Roster.from_bytes, SignedRoster.from_bytes(bytes.fromhex(ROSTER["message"])).body),
    "renewal": (Renewal.from_bytes, RENEWAL.to_bytes()),
    "attestation request": (AttestRequest.from_bytes, AttestRequest(b"n" * 32).to_bytes()),
    "view token": (
        open_view_token,
        ViewToken.make(KEY.public, scope="view", hours=1, at=1_800_000_000).signed(KEY).encode(),
    ),
    "challenge request": (ChallengeRequest.from_bytes, ChallengeRequest(b"n" * 32).to_bytes()),
    "challenge": (Challenge.from_bytes, Challenge(b"s" * 32, b"n" * 32, 60).to_bytes()),
    "release request": (ReleaseRequest.from_bytes, REQUEST.to_bytes()),
    "signed reply": (
        open_reply,
        SignedReply.make(Reply(1, b"x"), path="/a", request=b"q", key=KEY).to_bytes(),
    ),
    "reply": (read_answer, Reply(1, b"x").to_bytes()),
    "failure": (read_answer, Failure(1, "release.fenced", "x").to_bytes()),
    "bundle": (Bundle.from_bytes, BUNDLE.to_bytes()),
    "anchor request": (AnchorRequest.from_bytes, ANCHOR.to_bytes()),
    "sealed anchor request": (
        SealedAnchorRequest.from_bytes,
        ANCHOR.sealed(b"x" * 32).to_bytes(),
    ),
    "anchor reply": (AnchorReply.from_bytes, AnchorReply(1, 2, b"r" * 32, 1).to_bytes()),
    "owner request": (OwnerRequest.from_bytes, OWNER.to_bytes()),
    "approval": (Approval.from_bytes, APPROVAL.to_bytes()),
    "approval file": (Approval.from_text, APPROVAL.to_text().encode()),
    "charter": (charter_from_canonical, CHARTER),
    "reset": (Reset.from_text, RESET.to_text()),
    "rekey": (Rekey.from_text, Rekey(KEY.public, KEY.public, 9).to_text()),
    "admission": (read_admission, ADMISSION.to_text()),
    "state key grant": (
        StateKeyGrant.from_bytes,
        StateKeyGrant(KEY.public, b"r" * 32, b"sealed").to_bytes(),
    ),
    "recovery plan": (RecoveryPlan.from_text, PLAN.to_text()),
    "recovery request": (RecoveryRequest.from_bytes, RECOVERY.to_bytes()),
    "recovery share": (SealedShare.from_bytes, SealedShare(SHARE, b"sealed").to_bytes()),
    "signed owner request": (open_owner_request, OWNER.signed(KEY).to_bytes()),
    "log entry": (
        LogEntry.from_bytes,
        LogEntry(1, "release", "", b"p" * 32, "a", "b", b"e" * 32, b"r" * 32).to_bytes(),
    ),
    "state commitment": (StateCommitment.from_bytes, StateCommitment(1, b"d" * 32).to_bytes()),
    "answer of a source": (lambda data: kv2_value(200, data, FORM), KV2),
    "address of a source": (read_source_address, b"vault.example:8200"),
    "fact of a source": (
        lambda data: SourceFact.from_value(decode(data, max_bytes=4096)),
        encode(SourceFact("vault", "v:1", b"c" * 32, 1, (TROUBLE,)).to_value()),
    ),
    "fact of a service": (
        lambda data: ServiceFact.from_value(decode(data, max_bytes=4096)),
        encode(ServiceFact("a", "b:1", KEY.public.raw, "near.test", REFERENCE, 1, ()).to_value()),
    ),
    "export request": (ExportRequest.from_bytes, EXPORT.to_bytes()),
    "signed export request": (
        open_export_request,
        EXPORT.signed(Evidence("a/b", b"evidence"), KEY).to_bytes(),
    ),
    "export grant": (ExportGrant.from_bytes, ExportGrant(b"value", 600, RECEIPT).to_bytes()),
    "issued view token": (open_token, ISSUED.signed(KEY).encode()),
    "refusal": (
        lambda data: Refusal.from_value(decode(data, max_bytes=4096)),
        encode(Refusal(1, 2, b"p" * 32, "w", "i", "c", "r", "e", "f").to_value()),
    ),
    "leaf": (read_leaf, StateCommitment(1, b"d" * 32).to_bytes()),
    "receipt": (Receipt.from_bytes, RECEIPT.to_bytes()),
    "note": (open_note, NOTE.encode()),
    "note without a verifier": (read_note, NOTE.encode()),
    "cosigned note": (open_cosigned, COSIGNED.to_text().encode()),
    "witness key": (read_witness_key, WITNESS.public.text.encode()),
    "witness request": (
        AddCheckpoint.from_bytes,
        AddCheckpoint(3, (b"h" * 32, b"i" * 32), NOTE).to_bytes(),
    ),
    "result": (AttestationResult.from_bytes, RESULT.to_bytes()),
    "measurement": (LaunchMeasurement.from_bytes, LAUNCH.to_bytes()),
    "sim report": (
        SimReport.from_bytes,
        SimReport(b"a" * 32, b"m" * 32, b"d" * 64, debug=False, svn=1).to_bytes(),
    ),
    "sim evidence": (SignedReport.from_bytes, SignedReport(b"r", b"s" * 64).to_bytes()),
    "evidence": (Evidence.from_bytes, Evidence("a/b", b"body").to_bytes()),
}


def attempt(parse: Callable[[bytes], object], data: bytes) -> None:
    """Parse; only a MalformedError may come out."""
    with contextlib.suppress(MalformedError):
        parse(data)


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_a_good_message_is_read(name: str) -> None:
    """The seeds are what they say."""
    parse, seed = PARSERS[name]
    parse(seed)


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_every_prefix_is_malformed(name: str) -> None:
    """Cut anywhere."""
    parse, seed = PARSERS[name]
    for length in range(0, len(seed), max(1, len(seed) // 200)):
        attempt(parse, seed[:length])


@pytest.mark.parametrize("name", sorted(PARSERS))
@settings(max_examples=300 if LARGE else 40, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    """Bytes out of nowhere."""
    attempt(PARSERS[name][0], data)


@pytest.mark.parametrize("name", sorted(PARSERS))
@settings(max_examples=600 if LARGE else 60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 3),
    extra=st.binary(max_size=8),
)
def test_mutations_of_a_good_message(
    name: str, changes: list[tuple[int, int]], cut: int, extra: bytes
) -> None:
    """Bytes exchanged, a tail cut or grown."""
    parse, seed = PARSERS[name]
    data = bytearray(seed)
    for position, value in changes:
        data[position % len(data)] = value
    attempt(parse, bytes(data[: len(data) - cut]) + extra)


def test_a_note_with_another_key_of_the_same_id_is_refused() -> None:
    """The four bytes of a key id are a hint, not a check."""
    body, tail = NOTE.split("\n\n")
    blob = bytearray(base64.b64decode(tail.split(" ")[2]))
    blob[10] ^= 1
    forged = f"{body}\n\n\u2014 example.test/log {base64.b64encode(blob).decode()}\n"
    with pytest.raises(IdentityError) as e:
        Checkpoint.from_note(forged, service=KEY.public, origin="example.test/log")
    assert e.value.code == "identity.keyservice"
