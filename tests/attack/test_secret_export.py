"""Who is not entitled wants a secret of another key service; and that service itself misbehaves.

Two real services, each with its own domain, platform and log. `far` exports, `near` imports. Each
attempt is refused by its own code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.evidence import Attester, Evidence
from cloister.crypto.digest import digest_to_text
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, TamperedError
from cloister.keyservice.exchange import Call
from cloister.keyservice.export_messages import (
    EXPORT_CHALLENGE_PATH,
    EXPORT_PATH,
    ExportGrant,
    ExportRequest,
    SignedExportRequest,
    export_info,
)
from cloister.keyservice.fetching import fetch
from cloister.keyservice.genuine import ATTEST_PATH, AttestRequest, bind_service
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.messages import CHALLENGE_PATH, Failure, Reply, SignedReply
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_store import SecretStore
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.keyservice import HandClock, ServiceBench
from cloister.testing.secrets import (
    ask,
    export_entry,
    import_all,
    importer,
    pin_source,
    secret_policy,
)

VARIABLES = '{A: "${secret:key}"}'
REMOTE = """
  key: {remote: {source: partner, namespace: feeds, policy: source, secret: key, epoch: 1, \
max_bytes: 64}}
"""


@dataclass
class Scene:
    """Two services and the policy in force at each."""

    far: ServiceBench
    near: ServiceBench
    exported: bytes = b""
    policy: bytes = b""

    def export(self, *entries: str, secret: str = "", more: str = "") -> None:
        """Put the exporter's policy into force, in place of the one before."""
        export = f", export: [{', '.join(entries)}]" if entries else ""
        kind = secret or "password: {length: 32, alphabet: abcdefghijklmnop}"
        text = secret_policy(
            self.far,
            name="source",
            namespace="feeds",
            predecessor=self.exported or None,
            secrets=f"\n  key: {{{kind}{export}}}\n{more}",
        )
        self.exported = self.far.apply(text)

    def entry(self, **changes: str) -> str:
        """The entry that lets `near`'s policy have it."""
        return export_entry(self.near, **changes)

    def want(self, remote: str = REMOTE, **changes: str) -> None:
        """Put the importer's policy into force."""
        facts: dict[str, Any] = {"secrets": remote, "environment": VARIABLES} | changes
        text = secret_policy(self.near, predecessor=self.policy or None, **facts)
        self.policy = self.near.apply(text)

    def value(self) -> str:
        """What a release of the importing policy brings."""
        return ask(self.near, self.policy).environment["A"]

    def refused(self) -> str:
        """The code with which a release is refused."""
        with pytest.raises(CloisterError) as e:
            self.value()
        return e.value.code

    def fetch(self) -> list[str]:
        """Fetch now; the codes of what failed."""
        return import_all(self.near, self.far)

    def nonce(self, path: str = EXPORT_CHALLENGE_PATH) -> bytes:
        """A challenge of the exporter."""
        call = Call(self.far, self.far.pinned, self.far.clock, 0.0)
        return call.challenge(timeout_s=1.0, path=path)

    def request(self, **changes: Any) -> ExportRequest:
        """What the importing service would ask."""
        facts: dict[str, Any] = {
            "service": self.far.domain.identity.raw,
            "nonce": changes.get("nonce") or self.nonce(),
            "namespace": "feeds",
            "policy": "source",
            "secret": "key",
            "epoch": 1,
            "part": "",
            "importer": self.near.domain.identity.raw,
            "trust_domain": self.near.domain.name,
            "to_namespace": "lab",
            "to_policy": "keeper",
            "hpke_key": HPKEPrivateKey(b"h" * 96).public.raw,
        }
        return ExportRequest(**(facts | changes))

    def send(
        self,
        request: ExportRequest,
        *,
        key: SigningKey | None = None,
        attester: Attester | None = None,
        evidence: Evidence | None = None,
    ) -> tuple[str, bytes]:
        """Send it as signed and attested; the code of the refusal, or nothing, and the body."""
        proof = evidence or (attester or self.near.attester()).collect(request.report_data())
        body = request.signed(proof, key or near_key(self)).to_bytes()
        return self.post(body), body

    def post(self, body: bytes) -> str:
        """Post a body; the code of the refusal, or nothing."""
        data = self.far.post(EXPORT_PATH, body, timeout_s=1.0)
        answer = SignedReply.from_bytes(data).open(
            path=EXPORT_PATH, request=body, service=self.far.domain.identity
        )
        return answer.code if isinstance(answer, Failure) else ""

    def last(self, bench: ServiceBench) -> LogEntry:
        """The newest entry of a service's log."""
        (leaf,) = bench.store.entries(bench.store.log_size - 1, 1)
        entry = read_leaf(leaf)
        assert isinstance(entry, LogEntry)
        return entry


def near_key(scene: Scene) -> SigningKey:
    """The importing service's own key, as its thief has it."""
    return importer(scene.near).key


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """`far` exports to `near`, which wants it; nothing has been fetched."""
    far = ServiceBench.create(tmp_path, "far.test")
    near = ServiceBench.create(tmp_path, "near.test")
    near.clock = far.clock
    scene = Scene(far, near)
    pin_source(near, far)
    scene.export(scene.entry())
    scene.want()
    yield scene
    far.close()
    near.close()


# -- what is meant to happen


@pytest.mark.spec("EXP-30", "EXP-31", "EXP-45", "EXP-60")
def test_a_value_comes_from_one_service_to_a_workload_of_the_other(scene: Scene) -> None:
    """It is the exporter's; both logs have it, the exporter's with the importer's identity."""
    assert scene.refused() == "keyservice.source"
    assert scene.fetch() == []
    there = scene.last(scene.far)
    assert (there.operation, there.code, there.subject, there.policy, there.instance) == (
        "secret.export",
        "",
        "feeds/source/key@1",
        scene.exported,
        scene.near.domain.identity.raw.hex(),
    )
    here = scene.last(scene.near)
    assert (here.operation, here.code, here.subject) == ("secret.fetch", "", "lab/keeper/key@1")
    assert len(scene.value()) == 32
    assert scene.near.owner().sources.services("lab")[0].waiting == ()
    scene.near.restart()
    assert len(scene.value()) == 32


@pytest.mark.spec("EXP-27")
@pytest.mark.parametrize(
    ("secret", "part", "begins"),
    [
        ("key_pair: {algorithm: ed25519}", "private", "-----BEGIN PRIVATE KEY"),
        ("key_pair: {algorithm: ed25519}", "public", "-----BEGIN PUBLIC KEY"),
        ("authority: {common_name: x, lifetime_days: 9}", "certificate", "-----BEGIN CERTIFICATE"),
    ],
)
def test_a_part_comes_across(scene: Scene, secret: str, part: str, begins: str) -> None:
    """Under an epoch of its own on both sides."""
    scene.export(scene.entry(), secret=f"{secret}, epoch: 2")
    scene.want(
        REMOTE.replace("epoch: 1", f"epoch: 2, part: {part}").replace(
            "max_bytes: 64}", "max_bytes: 4096}, epoch: 2"
        )
    )
    assert scene.fetch() == []
    assert scene.value().startswith(begins)


@pytest.mark.spec("EXP-4", "EXP-62", "EXP-63")
def test_rotating_takes_an_epoch_on_both_sides(scene: Scene) -> None:
    """The old one stays readable, is asked for again, and goes when it is withdrawn."""
    assert scene.fetch() == []
    first = scene.value()
    scene.export(
        scene.entry(),
        secret="password: {length: 32, alphabet: abcdefghijklmnop}, epoch: 2, readable: [1]",
    )
    with pytest.raises(CloisterError) as e:
        scene.want(REMOTE.replace("epoch: 1", "epoch: 2"))
    assert e.value.code == "policy.epoch"
    both = REMOTE.replace("epoch: 1", "epoch: 2").replace("64}", "64}, epoch: 2, readable: [1]")
    scene.want(both, environment='{A: "${secret:key@1}${secret:key}"}')
    assert scene.refused() == "keyservice.source"
    assert scene.fetch() == []
    assert scene.value()[:32] == first != scene.value()[32:]
    for _ in range(3):
        scene.far.clock.move(1800)
        assert scene.fetch() == []
    assert scene.value()[:32] == first
    scene.export(
        scene.entry(), secret="password: {length: 32, alphabet: abcdefghijklmnop}, epoch: 2"
    )
    scene.far.clock.move(1800)
    assert scene.fetch() == ["release.secret-missing"]
    assert scene.refused() == "keyservice.source"


# -- the exporter's rule always applies


@pytest.mark.spec("EXP-23", "EXP-62", "EXP-63")
def test_withdrawing_an_export_stops_it(scene: Scene) -> None:
    """At once for who has nothing; for who has it when it asks again; then the value is erased."""
    assert scene.fetch() == []
    assert len(scene.value()) == 32
    scene.export()
    scene.far.clock.move(1799)
    assert scene.fetch() == []  # not due yet
    assert len(scene.value()) == 32
    scene.far.clock.move(1)
    assert scene.fetch() == ["release.secret-not-exported"]
    entry = scene.last(scene.near)
    assert (entry.operation, entry.code) == ("secret.fetch", "release.secret-not-exported")
    assert scene.refused() == "keyservice.source"
    size = scene.near.store.log_size
    assert scene.fetch() == ["release.secret-not-exported"]
    assert scene.near.store.log_size == size
    scene.export(scene.entry())
    assert scene.fetch() == []
    assert len(scene.value()) == 32


@pytest.mark.spec("EXP-60", "EXP-62")
def test_who_does_not_ask_again_has_it_no_longer(scene: Scene) -> None:
    """Cutting the exporter off keeps no value alive: it ends with the lifetime that it set."""
    assert scene.fetch() == []
    scene.far.down = True
    scene.far.clock.move(3600)
    assert scene.fetch() == ["keyservice.unreachable"]
    assert len(scene.value()) == 32
    scene.far.clock.move(1)
    assert scene.refused() == "keyservice.source"
    (fact,) = scene.near.owner().secrets.list(namespace="lab", policy="keeper")
    assert not fact.present
    scene.near.restart()
    assert scene.refused() == "keyservice.source"
    scene.far.down = False
    assert scene.fetch() == []
    assert len(scene.value()) == 32


@pytest.mark.spec("EXP-60")
def test_setting_the_clock_back_keeps_no_value_alive(scene: Scene) -> None:
    """Neither while the service runs nor across a restart: its state remembers the time."""
    scene.near.clock = HandClock()  # the importer's operator has a clock of his own
    assert scene.fetch() == []
    scene.far.down = True
    scene.near.clock.move(3601)
    assert scene.refused() == "keyservice.source"
    scene.near.clock.at -= 3601
    assert scene.refused() == "keyservice.source"
    scene.near.restart()
    assert scene.refused() == "keyservice.source"


@pytest.mark.spec("EXP-23", "EXP-63")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"minimum_svn": "2"}, "appraisal.svn"),
        ({"measurement": f"[{digest_to_text(b'o' * 32)!r}]"}, "appraisal.measurement"),
        ({"anchors": f"[{SigningKey(b'o' * 32).public.text!r}]"}, "endorsement.anchor"),
        ({"policy": "other"}, "release.secret-not-exported"),
        ({"namespace": "lab/deep"}, "release.secret-not-exported"),
        ({"trust_domain": "other.test"}, "release.secret-not-exported"),
        ({"service": SigningKey(b"o" * 32).public.text}, "release.secret-not-exported"),
    ],
)
def test_a_changed_rule_is_the_one_that_counts(
    scene: Scene, change: dict[str, str], code: str
) -> None:
    """For a new request, and for a value that was given before."""
    assert scene.fetch() == []
    scene.export(scene.entry(**change))
    assert scene.send(scene.request())[0] == code
    entry = scene.last(scene.far)
    assert (entry.operation, entry.code, entry.policy) == ("secret.export", code, scene.exported)
    scene.far.clock.move(1800)
    assert scene.fetch() == [code]
    assert scene.refused() == "keyservice.source"


@pytest.mark.spec("EXP-26")
def test_what_was_imported_is_not_passed_on(scene: Scene) -> None:
    """Neither by the schema, nor under a later epoch of another kind, here or elsewhere."""
    assert scene.fetch() == []
    with pytest.raises(CloisterError) as e:
        scene.want(REMOTE.replace("max_bytes: 64}", "max_bytes: 64}, export: []"))
    assert e.value.code == "policy.invalid"
    entry = export_entry(scene.far, policy="thief", namespace="lab")
    scene.want(
        "\n  key: {password: {length: 32, alphabet: abcdefghijklmnop}, epoch: 2, readable: [1],"
        f" export: [{{namespace: lab, policy: thief}}, {entry}]}}\n",
        environment='{A: "${secret:key@1}"}',
    )
    assert len(scene.value()) == 32  # it is still this policy's own
    thief = secret_policy(
        scene.near,
        name="thief",
        imports="\n  far: {namespace: lab, policy: keeper, secret: key}\n",
        environment='{A: "${secret:far@1}"}',
    )
    digest = scene.near.apply(thief)
    with pytest.raises(CloisterError) as e:
        ask(scene.near, digest)
    assert e.value.code == "release.secret-not-exported"
    back = Scene(scene.near, scene.far)
    request = back.request(
        namespace="lab", policy="keeper", to_policy="thief", trust_domain="far.test"
    )
    assert back.send(request)[0] == "release.secret-not-exported"
    assert back.send(replace(request, nonce=back.nonce(), epoch=2))[0] == ""


# -- somebody else asks


@pytest.mark.spec("EXP-13", "EXP-23")
def test_another_key_gets_nothing(scene: Scene) -> None:
    """Its own name is not in the rule; under the right name its signature does not hold."""
    thief = SigningKey.generate()
    assert scene.send(scene.request(importer=thief.public.raw), key=thief)[0] == (
        "release.secret-not-exported"
    )
    assert scene.send(scene.request(), key=thief)[0] == "evidence.signature"


@pytest.mark.spec("EXP-13")
def test_one_changed_byte_of_a_signed_request_is_noticed(scene: Scene) -> None:
    """Of what is asked and of the evidence, before the challenge is spent."""
    request = scene.request()
    other = replace(request, to_policy="other")
    evidence = scene.near.attester().collect(request.report_data())
    signed = request.signed(evidence, near_key(scene))
    body = replace(signed, body=other.to_bytes()).to_bytes()
    assert scene.post(body) == "evidence.signature"
    fresh = scene.near.attester().collect(other.report_data()).to_bytes()
    assert scene.post(replace(signed, evidence=fresh).to_bytes()) == "evidence.signature"
    assert scene.post(signed.to_bytes()) == ""


@pytest.mark.spec("EXP-24")
def test_the_right_key_in_the_wrong_place_gets_nothing(scene: Scene, tmp_path: Path) -> None:
    """Stolen from the importing service: another image, an inspectable, old or foreign platform."""
    image = SimAttester(scene.near.platform, image=b"o" * 32)
    assert scene.send(scene.request(), attester=image)[0] == "appraisal.measurement"
    scene.export(scene.entry(minimum_svn="2"))
    assert scene.send(scene.request())[0] == "appraisal.svn"
    measured = scene.near.attester().measurement
    foreign = SimPlatform.create(tmp_path / "foreign", svn=9, debug=False)
    scene.export(scene.entry())
    code, _ = scene.send(scene.request(), attester=SimAttester(foreign, image=measured))
    assert code == "endorsement.anchor"
    open_to_all = SimPlatform.create(tmp_path / "debug", svn=9, debug=True)
    scene.export(scene.entry(anchors=f"[{open_to_all.anchor.text!r}]"))
    attester = SimAttester(open_to_all, image=measured)
    assert scene.send(scene.request(), attester=attester)[0] == "appraisal.debug"


@pytest.mark.spec("EXP-12", "EXP-24")
def test_evidence_for_anything_else_is_none_for_this(scene: Scene) -> None:
    """For another request, for KR-95, and the exporter's own, reflected."""
    other = scene.near.attester().collect(scene.request().report_data())
    assert scene.send(scene.request(), evidence=other)[0] == "evidence.binding"
    request = scene.request()
    oracle = bind_service(
        service=scene.near.domain.identity.raw,
        hpke_key=request.hpke_key,
        nonce=request.nonce,
    )
    asked = scene.near.attester().collect(oracle)
    assert scene.send(request, evidence=asked)[0] == "evidence.binding"
    body = AttestRequest(b"n" * 32).to_bytes()
    data = scene.far.post(ATTEST_PATH, body, timeout_s=1.0)
    answer = SignedReply.from_bytes(data).open(
        path=ATTEST_PATH, request=body, service=scene.far.domain.identity
    )
    assert not isinstance(answer, Failure)
    own = Evidence.from_bytes(answer.result)
    assert scene.send(scene.request(), evidence=own)[0] == "endorsement.anchor"
    scene.export(scene.entry(anchors=f"[{scene.far.platform.anchor.text!r}]"))
    assert scene.send(scene.request(), evidence=own)[0] == "evidence.binding"


@pytest.mark.spec("EXP-20")
def test_a_service_exports_nothing_to_itself(scene: Scene) -> None:
    """Whoever makes it ask itself gets nothing, whatever its policy says."""
    scene.export(export_entry(scene.far))
    request = scene.request(importer=scene.far.domain.identity.raw, trust_domain="far.test")
    key, attester = importer(scene.far).key, scene.far.attester()
    assert scene.send(request, key=key, attester=attester)[0] == "evidence.binding"


@pytest.mark.spec("EXP-20")
def test_a_request_for_another_service_is_not_answered(scene: Scene) -> None:
    """Diverted from the service that it names."""
    elsewhere = SigningKey(b"e" * 32).public.raw
    assert scene.send(scene.request(service=elsewhere))[0] == "evidence.binding"


@pytest.mark.spec("EXP-21")
def test_a_recorded_request_is_answered_once(scene: Scene) -> None:
    """Also after a restart."""
    code, body = scene.send(scene.request())
    assert code == ""
    assert scene.post(body) == "evidence.replayed"
    scene.far.restart()
    assert scene.post(body) == "evidence.replayed"


@pytest.mark.spec("EXP-21")
def test_an_old_or_foreign_challenge_is_none(scene: Scene) -> None:
    """Over, of a release, or made up."""
    late = scene.request()
    scene.far.clock.move(61)
    assert scene.send(late)[0] == "evidence.expired"
    assert scene.send(scene.request(nonce=scene.nonce(CHALLENGE_PATH)))[0] == "evidence.expired"
    assert scene.send(scene.request(nonce=b"n" * 32))[0] == "evidence.expired"


@pytest.mark.spec("EXP-23")
def test_what_is_not_exported_and_what_is_not_there_look_the_same(scene: Scene) -> None:
    """One code, one sentence but for the names that were asked for."""
    scene.export(scene.entry(), more="  own: {symmetric: {bytes: 16}}\n")
    texts = set()
    for change in (
        {"secret": "own"},
        {"secret": "none"},
        {"policy": "none"},
        {"namespace": "none"},
    ):
        request = scene.request(**change)
        evidence = scene.near.attester().collect(request.report_data())
        body = request.signed(evidence, near_key(scene)).to_bytes()
        answer = SignedReply.from_bytes(scene.far.post(EXPORT_PATH, body, timeout_s=1.0)).open(
            path=EXPORT_PATH, request=body, service=scene.far.domain.identity
        )
        assert isinstance(answer, Failure)
        named = f"{request.namespace}/{request.policy} exports no secret {request.secret} "
        texts.add((answer.code, answer.message.replace(named, "")))
    assert texts == {("release.secret-not-exported", "policy to lab/keeper of near.test")}


@pytest.mark.spec("EXP-25")
def test_an_epoch_that_does_not_resolve_is_not_given(scene: Scene) -> None:
    """Erased, not made yet, not put yet, not fetched yet."""
    scene.export(
        scene.entry(), secret="password: {length: 32, alphabet: abcdefghijklmnop}, epoch: 3"
    )
    for epoch in (1, 4):
        assert scene.send(scene.request(epoch=epoch))[0] == "release.secret-missing"
    scene.export(scene.entry(), secret="opaque: {max_bytes: 9}, epoch: 4")
    assert scene.send(scene.request(epoch=4))[0] == "release.secret-missing"
    vault = "external: {source: v, path: a/data/b, field: c, max_bytes: 9}, epoch: 5"
    scene.export(scene.entry(), secret=vault)
    assert scene.send(scene.request(epoch=5))[0] == "keyservice.source"


@pytest.mark.spec("EXP-27")
@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("authority: {common_name: x, lifetime_days: 9}", "private"),
        ("authority: {common_name: x, lifetime_days: 9}", ""),
        ("key_pair: {algorithm: ed25519}", ""),
        ("key_pair: {algorithm: ed25519}", "certificate"),
        ("symmetric: {bytes: 16}", "private"),
    ],
)
def test_no_part_comes_out_that_the_kind_has_not(scene: Scene, secret: str, part: str) -> None:
    """An authority's key leaves the service on no path."""
    scene.export(scene.entry(), secret=f"{secret}, epoch: 2")
    assert scene.send(scene.request(epoch=2, part=part))[0] == "release.secret-form"


# -- the exporter, or who stands in its place, misbehaves


@pytest.mark.spec("EXP-41")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"measurements": (b"o" * 32,)}, "appraisal.measurement"),
        ({"minimum_svn": 2}, "appraisal.svn"),
        ({"anchors": (SigningKey(b"o" * 32).public,)}, "endorsement.anchor"),
    ],
)
def test_nothing_is_asked_of_a_service_that_is_not_what_was_pinned(
    scene: Scene, change: dict[str, Any], code: str
) -> None:
    """It gets one request, for evidence about itself."""
    scene.near.owner().sources.remove("lab", "partner")
    pin_source(scene.near, scene.far, reference=replace(scene.far.domain.service, **change))
    scene.far.requests.clear()
    assert scene.fetch() == [code]
    assert [path for path, _ in scene.far.requests] == [ATTEST_PATH]


@pytest.mark.spec("EXP-41")
def test_an_impostor_with_another_key_is_told_nothing(scene: Scene) -> None:
    """The address leads to another genuine service."""
    scene.near.owner().sources.remove("lab", "partner")
    pin_source(scene.near, scene.far, service=SigningKey(b"o" * 32).public)
    scene.far.requests.clear()
    assert scene.fetch() == ["identity.keyservice"]
    assert [path for path, _ in scene.far.requests] == [ATTEST_PATH]


@pytest.mark.spec("EXP-44")
@pytest.mark.parametrize("path", [ATTEST_PATH, EXPORT_CHALLENGE_PATH, EXPORT_PATH])
def test_one_changed_answer_is_no_answer(scene: Scene, path: str) -> None:
    """Nothing is kept."""

    def flip(asked: str, _: bytes, answer: bytes) -> bytes:
        return answer[:-1] + bytes([answer[-1] ^ 1]) if asked == path else answer

    scene.far.tap = flip
    assert scene.fetch() == ["identity.keyservice"]
    assert scene.refused() == "keyservice.source"


def signs_as(scene: Scene, result: bytes | CloisterError, path: str = EXPORT_PATH) -> None:
    """Have the genuine exporter's key sign something else."""
    key = importer(scene.far).key

    def lie(asked: str, body: bytes, answer: bytes) -> bytes:
        if asked != path:
            return answer
        at = scene.far.clock.at
        said = Reply(at, result) if isinstance(result, bytes) else Failure.of(result, at=at)
        return SignedReply.make(said, path=path, request=body, key=key).to_bytes()

    scene.far.tap = lie


@pytest.mark.spec("EXP-46")
@pytest.mark.parametrize("path", [ATTEST_PATH, EXPORT_CHALLENGE_PATH, EXPORT_PATH])
def test_an_exporter_does_not_stop_the_importer(scene: Scene, path: str) -> None:
    """Its word that a state was tampered with is nothing about ours."""
    signs_as(scene, TamperedError("stop", code="state.tampered"), path)
    assert scene.fetch() == ["source.refused"]


@pytest.mark.spec("EXP-44", "EXP-45", "EXP-46")
def test_a_grant_without_its_log_entry_is_none(scene: Scene) -> None:
    """The receipt of another decision, and one that is not in the log."""
    code, body = scene.send(scene.request())
    assert code == ""
    signed, _ = SignedExportRequest.from_bytes(body).open()
    again = replace(signed, nonce=scene.nonce())
    evidence = scene.near.attester().collect(again.report_data())
    body = again.signed(evidence, near_key(scene)).to_bytes()
    data = scene.far.post(EXPORT_PATH, body, timeout_s=1.0)
    answer = SignedReply.from_bytes(data).open(
        path=EXPORT_PATH, request=body, service=scene.far.domain.identity
    )
    assert not isinstance(answer, Failure)
    info = export_info(service=scene.far.domain.identity.raw, nonce=again.nonce, request=body)
    wrong = TamperedError("no", code="state.tampered")
    grant = ExportGrant.from_bytes(
        HPKEPrivateKey(b"h" * 96).open(answer.result, info=info, error=wrong)
    )
    for receipt, found in (
        (grant.receipt, "identity.keyservice"),
        (replace(grant.receipt, index=0), "source.refused"),
    ):
        reseal(scene, replace(grant, receipt=receipt))
        assert scene.fetch() == [found]
    assert scene.refused() == "keyservice.source"


def reseal(scene: Scene, grant: ExportGrant) -> None:
    """Have the genuine exporter answer the next request with another grant."""
    key = importer(scene.far).key

    def lie(asked: str, body: bytes, answer: bytes) -> bytes:
        if asked != EXPORT_PATH:
            return answer
        request, _ = SignedExportRequest.from_bytes(body).open()
        info = export_info(service=key.public.raw, nonce=request.nonce, request=body)
        sealed = HPKEPublicKey(request.hpke_key).seal(grant.to_bytes(), info=info)
        reply = Reply(scene.far.clock.at, sealed)
        return SignedReply.make(reply, path=EXPORT_PATH, request=body, key=key).to_bytes()

    scene.far.tap = lie


@pytest.mark.spec("EXP-44")
def test_a_recorded_grant_opens_for_nobody_else(scene: Scene) -> None:
    """What answered one request is no answer to the next."""
    recorded: list[bytes] = []

    def replay(asked: str, _: bytes, answer: bytes) -> bytes:
        if asked == EXPORT_PATH:
            recorded.append(answer)
            return recorded[0]
        return answer

    scene.far.tap = replay
    assert scene.fetch() == []
    scene.far.clock.move(1800)
    assert scene.fetch() == ["identity.keyservice"]


@pytest.mark.spec("EXP-61")
def test_an_exporter_that_changes_its_mind_changes_nothing(scene: Scene) -> None:
    """An epoch names one value on both sides, while the importer has it."""
    assert scene.fetch() == []
    value = scene.value()

    with scene.far.store.transaction():
        SecretStore(scene.far.store).put(
            SecretRecord("feeds", "source", "key", 1, "password", {"value": b"other"}, 0)
        )
    scene.far.clock.move(1800)
    assert scene.fetch() == ["source.malformed"]
    assert scene.value() == value


@pytest.mark.spec("EXP-43")
def test_a_value_longer_than_the_policy_takes_is_not_kept(scene: Scene) -> None:
    """The importing policy says how long it may be."""
    scene.want(REMOTE.replace("max_bytes: 64}", "max_bytes: 31}, epoch: 2"))
    assert scene.fetch() == ["source.malformed"]
    assert scene.refused() == "keyservice.source"


@pytest.mark.spec("EXP-40")
def test_only_addresses_that_the_operator_named_are_reached(scene: Scene) -> None:
    """Nothing is dialled."""
    (errand,) = scene.near.service.external.errands()
    dialled: list[str] = []

    def dial(address: str) -> Any:
        dialled.append(address)
        return nullcontext(scene.far)

    asks = scene.near.service.importer(dial=dial, clock=scene.near.clock)
    for allowed in ((), ("far.test:8401",), ("far.test",), ("FAR.TEST:8400",)):
        with pytest.raises(CloisterError) as e:
            fetch(errand, never, asks, allowed=frozenset(allowed))
        assert e.value.code == "source.address"
    assert dialled == []


def never(*_: object, **__: object) -> tuple[int, bytes]:
    """No vault is there."""
    raise AssertionError


# -- other tenants of the importing service


@pytest.mark.spec("EXP-23", "EXT-41")
def test_another_tenant_of_the_importing_service_gets_nothing(scene: Scene) -> None:
    """He may pin the exporter too: the service says truly for whom it asks, and is refused."""
    eve = SigningKey.generate()
    scene.near.owner().propose_charter(scene.near.charter("other", (eve,)))
    client = scene.near.client(eve)
    pin_source(scene.near, scene.far, client, namespace="other")
    scene.near.owner_key = eve
    scene.near.apply(
        secret_policy(scene.near, namespace="other", secrets=REMOTE, environment=VARIABLES)
    )
    assert scene.fetch() == ["release.secret-not-exported"]
    assert len(scene.value()) == 32


def test_nothing_that_leaves_or_stays_shows_the_value(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Wire, owners' answers, log entries, log lines, `repr`s, both disks."""
    caplog.set_level(logging.DEBUG)
    wire: list[bytes] = []

    def tap(path: str, body: bytes, answer: bytes) -> bytes:
        del path
        wire.extend((body, answer))
        return answer

    scene.far.tap = scene.near.tap = tap
    (errand,) = scene.near.service.external.errands()
    assert scene.fetch() == []
    value = scene.value().encode()
    near, far = scene.near, scene.far
    texts = [
        repr(errand),
        repr(near.owner().sources.services("lab")),
        repr(near.owner().secrets.list(namespace="lab", policy="keeper")),
        repr(importer(near)),
        caplog.text,
    ]
    files = [each for bench in (near, far) for each in bench.domain.directory.rglob("*")]
    disk = [path.read_bytes() for path in files if path.is_file()]
    entries = [*near.store.entries(0, 100), *far.store.entries(0, 100)]
    for place in (*wire, *(text.encode() for text in texts), *entries, *disk):
        assert value not in place
    assert near_key(scene).to_secret().hex() not in "".join(texts)
