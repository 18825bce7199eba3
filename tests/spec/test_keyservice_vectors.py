"""Vectors of the attestation and key release formats, through the code that ships."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cloister.attestation.binding import bind
from cloister.attestation.endorsement_bundle import EndorsementBundle
from cloister.attestation.evidence import Evidence
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult
from cloister.crypto.digest import require_equal
from cloister.crypto.signature import VerifyingKey
from cloister.crypto.x509 import read_peer_certificate
from cloister.errors import CloisterError, EvidenceError
from cloister.keyservice.anchoring import AnchorRequest, SealedAnchorRequest
from cloister.keyservice.bundle import VolumeGrant
from cloister.keyservice.challenges import CHALLENGE_LABEL, NONCE_LIFETIME_S, Challenges
from cloister.keyservice.clock import Moment
from cloister.keyservice.log import Receipt, verify_receipt
from cloister.keyservice.messages import Challenge, Failure, ReleaseRequest, SignedReply
from cloister.keyservice.ownership import SignedOwnerRequest
from cloister.keyservice.state.key_rows import key_change, put_key_change
from cloister.keyservice.state.record import Head, StateKey
from cloister.keyservice.state.tables import Tables
from cloister.keyservice.statetime import StateTime
from cloister.keyservice.store import Store
from cloister.keyservice.view.issued import IssuedToken
from cloister.keyservice.view.token import ViewToken
from cloister.keyservice.view_grants import ViewGrant
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.sim.verifier import SimVerifier
from cloister.testing.state import MemoryFreshness, founded
from cloister.wire import Fields, encode

ROOT = Path(__file__).parents[2] / "docs" / "spec" / "vectors"
Case = dict[str, str]


def envelope(case: Case) -> None:
    """evidence-envelope-v1."""
    data = bytes.fromhex(case["envelope"])
    assert Evidence.from_bytes(data).to_bytes() == data


def binding(case: dict[str, Case]) -> None:
    """report-data-binding-v1."""
    parts = case["parts"]
    found = bind(
        service=bytes.fromhex(parts["service"]),
        nonce=bytes.fromhex(parts["nonce"]),
        policy=bytes.fromhex(parts["policy"]),
        workload=parts["workload"],
        instance=parts["instance"],
        hpke_key=bytes.fromhex(parts["hpke_key"]),
        certificate_request=bytes.fromhex(parts["certificate_request"]),
        measurement=LaunchMeasurement(
            bytes.fromhex(parts["code"]), bytes.fromhex(parts["runtime"])
        ),
    )
    require_equal(
        found.value,
        bytes.fromhex(case["report_data"]),
        error=EvidenceError("differs", code="evidence.binding"),
    )


def sim(case: Case) -> None:
    """sim-evidence-v1."""
    verifier = SimVerifier([VerifyingKey(bytes.fromhex(key)) for key in case["anchors"]])
    claims = verifier.verify(Evidence(case["media_type"], bytes.fromhex(case["body"])), (), at=0)
    assert not claims.hardware_rooted
    assert claims.report_data == b"d" * 64


def result(case: Case) -> None:
    """attestation-result-v1."""
    data = bytes.fromhex(case["result"])
    assert AttestationResult.from_bytes(data).to_bytes() == data


def certificate(case: Case) -> None:
    """shield-certificate-v1."""
    peer = read_peer_certificate(
        bytes.fromhex(case["leaf"]), ca_pem=case["ca"].encode(), at=int(case["at"])
    )
    assert peer.identity.uri == "spiffe://example.test/lab/digits/serve/run-1"
    assert (peer.policy_hash, peer.hardware_rooted) == (b"p" * 32, False)


def release(case: Case) -> None:
    """key-release-v1, by kind of message."""
    data = bytes.fromhex(case["message"])
    kind = case["kind"]
    if kind == "challenge":
        assert Challenge.from_bytes(data).to_bytes() == data
    elif kind == "nonce":
        spend(case)
    elif kind == "release-request":
        assert ReleaseRequest.from_bytes(data).to_bytes() == data
    elif kind == "reply":
        answer = SignedReply.from_bytes(data).open(
            path=case["path"],
            request=bytes.fromhex(case["request"]),
            service=VerifyingKey(bytes.fromhex(case["service"])),
        )
        if isinstance(answer, Failure):
            raise answer.error()
    elif kind == "anchor":
        sealed = SealedAnchorRequest.from_bytes(data)
        request = AnchorRequest.from_bytes(sealed.body)
        assert request.to_bytes() == sealed.body
        sealed.require(bytes.fromhex(case["secret"]))
    elif kind == "grant":
        fields = Fields.decode(data, what="grant", max_bytes=16384)
        assert encode(VolumeGrant.from_fields(fields).to_value()) == data
    elif kind == "owner":
        SignedOwnerRequest.from_bytes(data).require(VerifyingKey(bytes.fromhex(case["owner"])))
    else:
        service = VerifyingKey(bytes.fromhex(case["service"]))
        entry = verify_receipt(Receipt.from_bytes(data), service=service, origin=case["origin"])
        assert entry.at == 2


def spend(case: Case) -> None:
    """A challenge's nonce, as its service spends it."""
    with tempfile.TemporaryDirectory() as folder:
        platform = SimPlatform.create(Path(folder) / "platform", svn=1, debug=False)
        store = Store.load(founded(platform), platform, MemoryFreshness())
        challenges = Challenges(
            store,
            bytes.fromhex(case["secret"]),
            StateTime(store),
            label=CHALLENGE_LABEL,
            lifetime_s=NONCE_LIFETIME_S,
        )
        nonce, moment = bytes.fromhex(case["message"]), Moment(int(case["at"]), 0.0)
        if case["spent"]:
            challenges.spend(nonce, moment)
        challenges.spend(nonce, moment)
        store.close()


def state(case: Case) -> None:
    """keyservice-state-v1, by kind of row."""
    if case["kind"] == "row":
        key_row(case)
        return
    key = StateKey(bytes.fromhex(case["key"]))
    if case["kind"] == "name":
        assert key.name.hex() == case["name"]
        return
    sealed = bytes.fromhex(case["sealed"])
    if case["kind"] == "record":
        before = Head(int(case["sequence"]), bytes.fromhex(case["head"]))
        head, record = key.open_record(sealed, after=before)
        assert head == Head(before.sequence + 1, bytes.fromhex(case["new_head"]))
        plain = record.to_bytes()
    elif case["kind"] == "snapshot":
        plain = key.open_snapshot(sealed, sequence=int(case["sequence"]))[1].to_bytes()
    else:
        plain = key.open_entry(sealed, position=int(case["position"]))
    assert plain.hex() == case["plain"]


def key_row(case: Case) -> None:
    """The row that names the state key."""
    row = bytes.fromhex(case["row"])
    found = key_change(Tables({"meta": {b"state-key": row}}))
    assert found is not None
    assert (found.name.hex(), found.statement.hex(), found.at) == (
        case["name"],
        case["statement"],
        case["at"],
    )
    again = Tables()
    put_key_change(again, found)
    assert again.get("meta", b"state-key") == row


class Known:
    """A service that knows one issued token, or none."""

    def __init__(self, grant: Case) -> None:
        self._grant = grant

    def find(self, token: bytes) -> ViewGrant | None:
        """Return it, by its identity."""
        if not self._grant or token.hex() != self._grant["id"]:
            return None
        facts = {name: value for name, value in self._grant.items() if name != "id"}
        return ViewGrant(token, **facts | {"issuer": bytes.fromhex(facts["issuer"]), "at": 0})


def view_token(case: Case) -> None:
    """keyservice-http-v1."""
    service = VerifyingKey(bytes.fromhex(case["service"]))
    if "grant" in case:
        IssuedToken.from_text(
            case["token"], service=service, grants=Known(case["grant"]), at=int(case["at"])
        )
        return
    owner = VerifyingKey(bytes.fromhex(case["owner"]))
    token = ViewToken.from_text(case["token"], service=service, owner=owner, at=int(case["at"]))
    token.require("metrics" if case["scope"] == "metrics" else "view")


def bundle(case: Case) -> None:
    """endorsement-bundle-v1."""
    collectors = [VerifyingKey(bytes.fromhex(key)) for key in case["collectors"]]
    opened = EndorsementBundle.open(bytes.fromhex(case["bundle"]), collectors=collectors)
    assert opened.endorsements[0].media_type == "application/pkix-cert"


FORMATS: dict[str, Callable[..., None]] = {
    "evidence-envelope-v1": envelope,
    "report-data-binding-v1": binding,
    "endorsement-bundle-v1": bundle,
    "sim-evidence-v1": sim,
    "attestation-result-v1": result,
    "shield-certificate-v1": certificate,
    "key-release-v1": release,
    "keyservice-state-v1": state,
    "keyservice-http-v1": view_token,
}
CASES = [
    pytest.param(
        name,
        path,
        id=f"{name}/{path.stem}",
        marks=pytest.mark.spec(json.loads(path.read_text())["clause"]),
    )
    for name in FORMATS
    for path in sorted((ROOT / name).glob("*.json"))
]


@pytest.mark.parametrize(("name", "path"), CASES)
def test_vector(name: str, path: Path) -> None:
    """The code comes to the result that the vector expects."""
    case = json.loads(path.read_text())
    found = "ok"
    try:
        FORMATS[name](case)
    except CloisterError as e:
        found = e.code
    assert found == case["expect"], case["comment"]


@pytest.mark.parametrize("name", ["key-release-v1", "keyservice-http-v1"])
def test_a_second_reader_agrees(name: str) -> None:
    """Written from the page alone, with other libraries."""
    assert load(name, "reader").main() == []


def load(name: str, script: str) -> ModuleType:
    """A script beside the vectors of a page."""
    spec = importlib.util.spec_from_file_location(script, ROOT / name / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_generators_leave_no_diff(name: str, tmp_path: Path) -> None:
    """What is checked in is what the generator writes."""
    module = load(name, "generate")
    module.main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert written == {path.name: path.read_bytes() for path in (ROOT / name).glob("*.json")}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_at_least_half_of_the_vectors_fail(name: str) -> None:
    """Refusals are what vectors are for."""
    expected = [json.loads(path.read_text())["expect"] for path in (ROOT / name).glob("*.json")]
    assert 2 * expected.count("ok") <= len(expected)
