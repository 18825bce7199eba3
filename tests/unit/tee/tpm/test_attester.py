"""Evidence of a TPM that is not ours, from the first command to the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence, ReportData
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError
from cloister.tee.tpm.attester import (
    PersistentAk,
    PrimaryAk,
    TemplateAk,
    TpmAttester,
    read_firmware_log,
)
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.event_log import EventLog, write
from cloister.tee.tpm.fields import FIELDS
from cloister.tee.tpm.layout import TpmEvidence
from cloister.tee.tpm.public import ak_template
from cloister.tee.tpm.transport import TpmTransport
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.tpm import SimulatedTpm, events
from cloister.testing.swtpm import SoftwareTpm

DATA = bytes(range(64))
HANDLE = 0x81010003
QUOTE, PCR_READ = 0x158, 0x17E


@dataclass
class Between:
    """A transport with somebody in between, who acts before commands of one kind."""

    inner: TpmTransport
    code: int
    acts: list[bytes] = field(default_factory=list)
    replaced: bytes = b""

    def exchange(self, command: bytes) -> bytes:
        """Let him act, or answer."""
        if int.from_bytes(command[6:10]) == self.code:
            if self.replaced:
                return self.replaced
            if self.acts:
                self.inner.exchange(self.acts.pop())
        return self.inner.exchange(command)


@pytest.fixture
def transport(swtpm: SoftwareTpm) -> Iterator[TpmTransport]:
    """A software TPM, open."""
    with swtpm.transport() as opened:
        yield opened


def judged(evidence: Evidence) -> Claims:
    """Judge it with its key pinned."""
    return TpmVerifier([sha256(TpmEvidence.from_bytes(evidence.body).ak)]).verify(
        evidence, [], at=0
    )


@pytest.mark.spec("TPM-10", "TPM-11")
@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_quote_is_accepted_with_its_key_pinned(transport: TpmTransport, kind: Any) -> None:
    """Over these 64 bytes, and not over others; by the same key each time."""
    attester = TpmAttester(Tpm(transport), PrimaryAk(kind))
    evidence = attester.collect(ReportData(DATA))
    claims = judged(evidence)
    rules = default_rules(FIELDS) | {"report_data": OneOf((DATA,))}
    assert appraise_claims(claims, FIELDS, rules).accepted
    rules["report_data"] = OneOf((DATA[::-1],))
    assert not appraise_claims(claims, FIELDS, rules).accepted
    again = attester.collect_all(b"n").evidence
    assert judged(again).report_data == b"n"
    assert judged(again).vendor["ak"] == claims.vendor["ak"]
    other = TpmAttester(Tpm(transport), PrimaryAk("rsa" if kind == "ecc" else "ecc"))
    assert judged(other.collect(ReportData(DATA))).vendor["ak"] != claims.vendor["ak"]


def test_an_extended_register_is_another_measurement(swtpm: SoftwareTpm) -> None:
    """A policy that pins the digest refuses what ran since."""

    def measured() -> Claims:
        with swtpm.transport() as opened:
            attester = TpmAttester(Tpm(opened), pcrs=(0, 4, 7))
            return judged(attester.collect(ReportData(DATA)))

    before = measured()
    rules = default_rules(FIELDS) | {"measurement": OneOf((before.measurement,))}
    assert appraise_claims(before, FIELDS, rules).accepted
    swtpm.extend(4, sha256(b"another loader"))
    verdict = appraise_claims(measured(), FIELDS, rules)
    assert not verdict.accepted
    assert [(each.code, each.detail[:11]) for each in verdict.reasons] == [
        ("appraisal.claim", "measurement")
    ]


@pytest.mark.spec("TPM-12")
def test_what_is_extended_between_reading_and_quoting_is_read_again(
    transport: TpmTransport,
) -> None:
    """Values and digest are of one moment, or there is no evidence."""
    extend = bytes.fromhex(
        "8002 00000041 00000182 00000004 00000009 40000009 0000 01 0000 00000001 000b"
    ) + sha256(b"late")
    for times in (1, 4):
        busy = Between(transport, QUOTE, acts=[extend] * times)
        claims = judged(TpmAttester(Tpm(busy), pcrs=(4,)).collect(ReportData(DATA)))
        assert claims.vendor["pcrs"]["sha256"]["4"] != bytes(32)
        assert busy.acts == []
    with pytest.raises(CloisterError) as e:
        TpmAttester(Tpm(Between(transport, QUOTE, acts=[extend] * 5)), pcrs=(4,)).collect(
            ReportData(DATA)
        )
    assert e.value.code == "attester.busy"


@pytest.mark.spec("TPM-13")
def test_a_quote_over_other_bytes_is_none(transport: TpmTransport) -> None:
    """And neither is one whose signature does not hold, or another statement."""
    tpm = Tpm(transport)
    taped: list[bytes] = []

    class Tape:
        def exchange(self, command: bytes) -> bytes:
            answer = transport.exchange(command)
            if int.from_bytes(command[6:10]) == QUOTE:
                taped.append(answer)
            return answer

    TpmAttester(Tpm(Tape())).collect(ReportData(DATA))
    [good] = taped
    for replaced, code in (
        (good, "attester.failed"),
        (good.replace(b"\xffTCG\x80\x18", b"\xffTCG\x80\x14"), "attester.failed"),
    ):
        with pytest.raises(CloisterError) as e:
            TpmAttester(Tpm(Between(transport, QUOTE, replaced=replaced))).collect(
                ReportData(DATA[::-1])
            )
        assert e.value.code == code
    flipped = bytearray(good)
    flipped[-10] ^= 1
    with pytest.raises(CloisterError) as forged:
        TpmAttester(Tpm(Between(transport, QUOTE, replaced=bytes(flipped)))).collect(
            ReportData(DATA)
        )
    assert forged.value.code == "evidence.signature"
    assert judged(TpmAttester(tpm).collect(ReportData(DATA))).report_data == DATA


@pytest.mark.spec("TPM-10")
def test_keys_that_others_left_in_the_tpm(swtpm: SoftwareTpm) -> None:
    """Under a persistent handle, and of a template in an NV index, with a certificate beside."""
    maker = SimulatedTpm(b"maker")
    public = swtpm.persist(HANDLE)
    certificate = maker.certificate(spki=public.spki)
    swtpm.store(0x01C101D0, certificate + bytes(100))
    swtpm.store(0x01C10001, ak_template("rsa"))
    for key in (PersistentAk(HANDLE), TemplateAk(0x01C10001)):
        with swtpm.transport() as opened:
            found = TpmAttester(Tpm(opened), key, certificate=0x01C101D0).collect_all(DATA[:32])
        [leaf] = found.endorsements
        chain = dataclasses.replace(
            leaf,
            body=leaf.body
            + maker.endorsements()[0].body.split(b"-----END CERTIFICATE-----\n", 1)[1],
        )
        lists = maker.endorsements()[1:]
        claims = TpmVerifier([maker.anchor]).verify(found.evidence, [chain, *lists], at=maker.now)
        assert claims.report_data == DATA[:32]
        assert claims.vendor["ak_subject"] == "Simulated attestation key"


@pytest.mark.spec("TPM-10")
def test_a_key_that_signs_anything_is_not_used(swtpm: SoftwareTpm) -> None:
    """Under a handle or of a template; what was loaded is unloaded."""
    unrestricted = bytearray(ak_template("ecc"))
    unrestricted[5] &= 0xFE
    swtpm.persist(HANDLE, template=bytes(unrestricted))
    swtpm.store(0x01C10001, bytes(unrestricted))
    with swtpm.transport() as opened:
        for key in (PersistentAk(HANDLE), *[TemplateAk(0x01C10001)] * 4):
            with pytest.raises(CloisterError) as e:
                TpmAttester(Tpm(opened), key).collect(ReportData(DATA))
            assert e.value.detail == "it is no restricted signing key"


def test_a_certificate_that_is_none_is_not_handed_out(swtpm: SoftwareTpm) -> None:
    """Whatever the index holds."""
    for data in (bytes(100), b"\x30\x82\xff\xff" + bytes(100), b"\x30"):
        swtpm.store(0x01C101D0, data)
        with swtpm.transport() as opened, pytest.raises(CloisterError) as e:
            TpmAttester(Tpm(opened), certificate=0x01C101D0).collect(ReportData(DATA))
        assert e.value.code == "certificate.malformed"


def test_what_is_not_there_says_so(transport: TpmTransport) -> None:
    """Keys, templates, certificates; nothing is left loaded."""
    tpm = Tpm(transport)
    for attester in (
        TpmAttester(tpm, PersistentAk(HANDLE)),
        TpmAttester(tpm, TemplateAk(0x01C10001)),
        *(TpmAttester(tpm, certificate=0x01C101D0) for _ in range(4)),
    ):
        with pytest.raises(CloisterError) as e:
            attester.collect(ReportData(DATA))
        assert e.value.code == "machine.attester"


@pytest.mark.parametrize(
    "changes",
    [
        {"pcrs": ()},
        {"pcrs": (1, 0)},
        {"pcrs": (1, 1)},
        {"pcrs": (24,)},
        {"bank": "md5"},
        {"certificate": 0x81000003},
    ],
)
def test_registers_and_places_that_there_are_not(changes: dict[str, Any]) -> None:
    """The user's mistake, before anything is asked."""

    class Nobody:
        def exchange(self, command: bytes) -> bytes:
            raise AssertionError(command)

    with pytest.raises(CloisterError) as e:
        TpmAttester(Tpm(Nobody()), **changes)
    assert e.value.code == "config.value"
    for wrong in (lambda: TemplateAk(0x81000003), lambda: PersistentAk(0x01C10001)):
        with pytest.raises(CloisterError):
            wrong()
    for data in (b"", bytes(65)):
        with pytest.raises(CloisterError) as length:
            TpmAttester(Tpm(Nobody())).collect_all(data)
        assert length.value.code == "caller.misuse"


def test_the_firmwares_log_comes_along(swtpm: SoftwareTpm, tmp_path: Path) -> None:
    """Where it leads to the registers; a log of another boot is refused before anybody sees it."""
    boot = events([(number, 0x8, b"part %d" % number) for number in range(8)], ["sha256"])
    for event in boot:
        swtpm.extend(event.pcr, event.digests["sha256"])
    path = tmp_path / "binary_bios_measurements"
    path.write_bytes(write(boot, ["sha256"]))
    log = read_firmware_log(path)
    with swtpm.transport() as opened:
        attester = TpmAttester(Tpm(opened), pcrs=tuple(range(8)), log=log)
        claims = judged(attester.collect(ReportData(DATA)))
    assert claims.vendor["event_log"] is True
    assert len(EventLog.from_bytes(log).events) == 8
    swtpm.extend(4, sha256(b"not in the log"))
    with swtpm.transport() as opened, pytest.raises(CloisterError) as e:
        dataclasses.replace(attester, tpm=Tpm(opened)).collect(ReportData(DATA))
    assert e.value.code == "evidence.log"


def test_a_log_that_is_not_there_or_too_long_says_so(tmp_path: Path) -> None:
    """Nothing is left out silently."""
    with pytest.raises(CloisterError) as absent:
        read_firmware_log(tmp_path / "none")
    assert absent.value.code == "machine.attester"
    long = tmp_path / "long"
    for size, code in ((57345, "machine.attester"), (1 << 21, "attester.failed")):
        long.write_bytes(bytes(size))
        with pytest.raises(CloisterError) as e:
            read_firmware_log(long)
        assert e.value.code == code
    long.write_bytes(bytes(57344))
    assert len(read_firmware_log(long)) == 57344
