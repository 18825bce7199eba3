"""Genuine TPM quotes, event logs and certificates of attestation keys."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.chain import Certificate, read_pem_chain
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, EndorsementError
from cloister.tee.tpm.endorsements import TpmEndorsements
from cloister.tee.tpm.event_log import EventLog
from cloister.tee.tpm.fields import FIELDS
from cloister.tee.tpm.layout import MEDIA_TYPE, Quote, QuoteParts, Signature, TpmEvidence
from cloister.tee.tpm.roots import TPM_ROOTS
from cloister.tee.tpm.verifier import TpmVerifier
from evidence_samples import folder, instant, load, mutations

SAMPLES: Final = ("gce-cos-85-nonce9009-sha256", "keylime-swtpm")
MUTATIONS: Final = 1000
_SCHEMES: Final = {"0x14": "RSASSA", "0x16": "RSAPSS", "0x18": "ECDSA"}
_BANKS: Final = {"0xb": "sha256", "0x4": "sha1", "0xc": "sha384"}


class Sample:
    """One folder."""

    def __init__(self, name: str) -> None:
        self.path: Final[Path] = folder("tpm") / name
        self.text: Final[dict[str, Any]] = load(self.path / "sample.json")
        self.quote: Final = Quote.from_bytes((self.path / "quote.msg").read_bytes())
        pem = (self.path / "ak_pub.pem").read_bytes().strip().splitlines()[1:-1]
        self.ak: Final = base64.b64decode(b"".join(pem))
        values = load(self.path / "pcrs.json")["pcrs"]
        log = self.path / "event_log.bin"
        self.parts: Final = QuoteParts(
            (self.path / "quote.msg").read_bytes(),
            (self.path / "quote.sig").read_bytes(),
            tuple(bytes.fromhex(values[str(index)]) for _, index in self.quote.places()),
            log.read_bytes() if log.exists() else b"",
        )

    def judge(self, body: bytes | None = None) -> Any:
        data = TpmEvidence(self.ak, self.parts).to_bytes() if body is None else body
        return TpmVerifier([sha256(self.ak)]).verify(Evidence(MEDIA_TYPE, data), [], at=0)


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each sample."""
    return Sample(request.param)


def test_every_sample_is_here() -> None:
    """None was added that nobody judges."""
    assert {path.parent.name for path in folder("tpm").glob("*/sample.json")} == set(SAMPLES)


@pytest.mark.spec("TPM-23", "TPM-24", "TPM-25", "TPM-29")
def test_verdicts(sample: Sample) -> None:
    """Accepted under the pinned key and the nonce, and under no other nonce."""
    expect = sample.text["expect"]
    claims = sample.judge()
    nonce = bytes.fromhex(expect["nonce"])
    rules = default_rules(FIELDS) | {"report_data": OneOf((nonce,))}
    assert appraise_claims(claims, FIELDS, rules).accepted == (
        expect["default_verdict"] == "accept"
    )
    rules["report_data"] = OneOf((nonce + b"\0",))
    assert not appraise_claims(claims, FIELDS, rules).accepted
    replays = [
        f"sha256:{name}" for name, good in expect.get("event_log_replays", {}).items() if good
    ]
    assert claims.vendor["replayed"] == replays
    assert not claims.hardware_rooted


@pytest.mark.spec("TPM-3", "TPM-4")
def test_every_field(sample: Sample) -> None:
    """What the sample says that a parser must find; written again as it was."""
    wanted, quote = sample.text["expected_fields"], sample.quote
    assert quote.to_bytes() == sample.parts.message
    assert quote.qualified_signer.hex() == wanted["qualified_signer"]
    assert quote.extra_data.hex() == wanted["extra_data"]
    assert (quote.clock, quote.reset_count) == (wanted["clock"], wanted["reset_count"])
    assert (quote.restart_count, quote.safe) == (wanted["restart_count"], bool(wanted["safe"]))
    assert f"{quote.firmware_version:016x}" == wanted["firmware_version"]
    assert quote.pcr_digest.hex() == wanted["pcr_digest"]
    assert [[each.bank, list(each.pcrs)] for each in quote.selections] == [
        [_BANKS[bank], pcrs] for bank, pcrs in wanted["pcr_selection"]
    ]
    signature = Signature.from_bytes(sample.parts.signature)
    assert signature.to_bytes() == sample.parts.signature
    assert signature.scheme == _SCHEMES[wanted["signature_algorithm"]]
    assert signature.digest == _BANKS[wanted["signature_hash"]]


@pytest.mark.spec("TPM-28")
@pytest.mark.filterwarnings("ignore")
def test_no_mutation_is_accepted(sample: Sample) -> None:
    """A thousand, in everything but the log's words; there, claims do not change."""
    good = sample.judge()
    quote = sample.parts
    plain = TpmEvidence(sample.ak, QuoteParts(quote.message, quote.signature, quote.values, b""))
    for changed in mutations(plain.to_bytes(), count=MUTATIONS, seed=1):
        with pytest.raises(CloisterError):
            sample.judge(changed)
    if not quote.event_log:
        return
    for log in mutations(quote.event_log, count=MUTATIONS, seed=2):
        parts = QuoteParts(quote.message, quote.signature, quote.values, log)
        try:
            found = sample.judge(TpmEvidence(sample.ak, parts).to_bytes())
        except CloisterError:
            continue
        assert found.vendor["secure_boot"] in (good.vendor["secure_boot"], "unknown")
        assert set(found.vendor["replayed"]) <= set(good.vendor["replayed"])
        rest = {"secure_boot": "", "replayed": []}
        assert found.vendor | rest == good.vendor | rest


@pytest.mark.spec("TPM-7", "TPM-8")
def test_the_log_of_a_real_machine() -> None:
    """It replays to what was quoted, and Secure Boot was on."""
    sample = Sample("gce-cos-85-nonce9009-sha256")
    log = EventLog.from_bytes(sample.parts.event_log)
    values = log.replay("sha256")
    assert sorted(values) == list(range(10))
    quoted = dict(
        zip((index for _, index in sample.quote.places()), sample.parts.values, strict=True)
    )
    assert values == {index: quoted[index] for index in values}
    assert log.secure_boot("sha256") is True


@pytest.mark.spec("TPM-22")
def test_genuine_certificates_of_attestation_keys() -> None:
    """They read, and without their root, which the samples do not have, are not accepted."""
    chains = folder("tpm") / "_ak_chains"
    index = load(chains / "index.json")
    anchors = [root.sha256 for root in TPM_ROOTS]
    for name, text in index.items():
        pem = (chains / name).read_bytes()
        blocks = [
            block + b"-----END CERTIFICATE-----\n"
            for block in pem.split(b"-----END CERTIFICATE-----\n")[:2]
        ]
        if name == "gce_ak.pem":
            path = read_pem_chain(pem)
            path[0].require_issued_by(path[1], [path[0].signature_algorithm])
        for block, each in zip(blocks, text["certificates"], strict=True):
            if not text["bytes_after_der"][blocks.index(block)]:
                leaf = read_pem_chain(block)[0]
                assert leaf.not_before == instant(each["not_before"])
                assert leaf.not_after == instant(each["not_after"])
        leaf = read_pem_chain(blocks[0])[0]
        with pytest.raises(EndorsementError) as e:
            TpmEndorsements(blocks[0], ()).require_vouched(leaf.public_key, anchors, at=1770000000)
        assert e.value.code == "endorsement.anchor"


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_the_samples_certificate_is_its_keys() -> None:
    """An older certificate of Google's, whose critical names are read."""
    sample = Sample("gce-cos-85-nonce9009-sha256")
    certificate = Certificate.from_der((sample.path / "ak_cert.der").read_bytes())
    assert certificate.public_key == sample.ak
    assert "2.5.29.17" in certificate.critical
