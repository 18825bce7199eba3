"""A quote under a given key."""

import dataclasses
from typing import Any

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.tpm.event_log import write
from cloister.tee.tpm.layout import BANKS, QuoteParts, Signature
from cloister.tee.tpm.quote import judge_quote
from cloister.testing.manufacturers.tpm import SECURE_BOOT, SimulatedTpm

TPM = SimulatedTpm(b"quote")
PARTS = TPM.quote(b"nonce")


def refused(code: str, parts: QuoteParts, ak: bytes = TPM.ak) -> None:
    with pytest.raises(EvidenceError) as e:
        judge_quote(parts, ak)
    assert e.value.code == code


@pytest.mark.spec("TPM-23")
@pytest.mark.parametrize("scheme", ["RSASSA", "RSAPSS", "ECDSA"])
def test_signatures_of_each_scheme(scheme: Any) -> None:
    """They hold for these bytes and this key."""
    tpm, other = SimulatedTpm(b"quote", scheme=scheme), SimulatedTpm(b"other", scheme=scheme)
    parts = tpm.quote(b"nonce")
    quote, _ = judge_quote(parts, tpm.ak)
    assert quote.extra_data == b"nonce"
    refused("evidence.signature", parts, other.ak)
    changed = tpm.quote(b"another").message
    refused("evidence.signature", dataclasses.replace(parts, message=changed), tpm.ak)


@pytest.mark.spec("TPM-23")
def test_a_scheme_is_not_another() -> None:
    """The same number under another name, and a key of another kind."""
    value = Signature.from_bytes(PARTS.signature)
    pss = dataclasses.replace(value, scheme="RSAPSS").to_bytes()
    refused("evidence.signature", dataclasses.replace(PARTS, signature=pss))
    sha384 = dataclasses.replace(value, digest="sha384").to_bytes()
    refused("evidence.signature", dataclasses.replace(PARTS, signature=sha384))
    with pytest.raises(MalformedError) as e:
        judge_quote(PARTS, SimulatedTpm(b"quote", scheme="ECDSA").ak)
    assert e.value.code == "certificate.malformed"
    with pytest.raises(MalformedError) as e:
        judge_quote(SimulatedTpm(b"quote", scheme="ECDSA").quote(b""), TPM.ak)
    assert e.value.code == "certificate.malformed"


def test_numbers_too_long_for_the_curve() -> None:
    """They are no signature, and no crash."""
    tpm = SimulatedTpm(b"quote", scheme="ECDSA")
    long = Signature("ECDSA", "sha256", b"\1" * 33, b"\1" * 32).to_bytes()
    refused("evidence.signature", dataclasses.replace(tpm.quote(b""), signature=long), tpm.ak)


@pytest.mark.spec("TPM-24")
def test_values_are_those_that_were_quoted() -> None:
    """In the order of the selection, all of them, each of its bank's length."""
    values = PARTS.values
    for wrong in (
        values[:-1],
        (*values, bytes(32)),
        values[::-1],
        (values[0][:-1], values[0][-1:] + values[1], *values[2:]),
        (b"".join(values),),
        (),
    ):
        refused("evidence.parts", dataclasses.replace(PARTS, values=tuple(wrong)))
    refused("evidence.parts", TPM.quote(b"nonce", pcr_digest=bytes(32)))


@pytest.mark.spec("TPM-24")
def test_banks_follow_each_other() -> None:
    """The digest is over all of them; claims are told by bank and index."""
    parts = TPM.quote(b"nonce", selection={"sha384": (7,), "sha256": (0, 23), "sha1": (1,)})
    _, claims = judge_quote(parts, TPM.ak)
    assert claims["pcrs"] == {
        "sha384": {"7": TPM.pcrs("sha384")[7]},
        "sha256": {"0": TPM.pcrs("sha256")[0], "23": bytes(32)},
        "sha1": {"1": bytes(20)},
    }
    assert claims["replayed"] == ["sha384:7", "sha256:0"]
    assert [len(value) for value in parts.values] == [
        BANKS[b] for b in ("sha384", "sha256", "sha256", "sha1")
    ]


@pytest.mark.spec("TPM-24")
def test_a_pcr_that_anybody_can_reset_is_no_other() -> None:
    """The same value at another index is another claim, and another measurement."""
    honest, _ = judge_quote(TPM.quote(b"", selection={"sha256": (7,)}), TPM.ak)
    moved = TPM.quote(b"", selection={"sha256": (7,)})
    quote, claims = judge_quote(TPM.quote(b"", selection={"sha256": (16,)}, log=b""), TPM.ak)
    assert claims["pcrs"] == {"sha256": {"16": bytes(32)}}
    assert quote.info_bytes() != honest.info_bytes()
    same = dataclasses.replace(quote, pcr_digest=honest.pcr_digest)
    assert same.info_bytes() != honest.info_bytes()
    assert moved.values == (TPM.pcrs("sha256")[7],)


@pytest.mark.spec("TPM-25")
def test_the_log_leads_to_the_values() -> None:
    """What it explains is told; one event less, more or changed is refused."""
    _, claims = judge_quote(PARTS, TPM.ak)
    assert claims["replayed"] == ["sha256:0", "sha256:4", "sha256:7", "sha256:9"]
    assert claims["secure_boot"] == "on"
    boot = [(each.pcr, each.kind, each.data) for each in TPM.events]
    boots = [
        [*boot[:-1], (9, 0xD, b"other")],
        [*boot, (4, 8, b"more")],
        [each for each in boot if each[2] != SECURE_BOOT],
        [each for each in boot if each[0] != 7],
        [each for each in boot if each[0] != 0],
    ]
    for changed in boots:
        other = SimulatedTpm(b"quote", boot=changed).log()
        refused("evidence.log", dataclasses.replace(PARTS, event_log=other))


@pytest.mark.spec("TPM-25")
def test_without_a_log_nothing_is_explained() -> None:
    """The claims say so; a log that explains nothing of the quote is refused."""
    _, claims = judge_quote(dataclasses.replace(PARTS, event_log=b""), TPM.ak)
    assert (claims["replayed"], claims["secure_boot"]) == ([], "unknown")
    assert claims["event_log"] is False
    assert judge_quote(PARTS, TPM.ak)[1]["event_log"] is True
    refused("evidence.log", TPM.quote(b"", selection={"sha256": (23,)}))
    refused("evidence.log", TPM.quote(b"", selection={"sha512": ()}))


@pytest.mark.spec("TPM-25")
def test_the_log_has_every_quoted_bank() -> None:
    """One with the weakest digests alone does not stand for the others, nor by itself for much."""
    weak = write(TPM.events, ("sha1",))
    for selection in ({"sha256": (7,)}, {"sha1": (7,), "sha256": (7,)}):
        refused("evidence.log", TPM.quote(b"", selection=selection, log=weak))
    _, claims = judge_quote(TPM.quote(b"", selection={"sha1": (7,)}, log=weak), TPM.ak)
    assert (claims["replayed"], claims["event_log"]) == (["sha1:7"], False)


@pytest.mark.spec("TPM-25")
def test_secure_boot_needs_its_pcr() -> None:
    """Where PCR 7 was not quoted, or only in SHA-1, the log's words are nothing."""
    for selection in ({"sha256": (0, 4)}, {"sha1": (7,)}):
        _, claims = judge_quote(TPM.quote(b"", selection=selection), TPM.ak)
        assert claims["secure_boot"] == "unknown"
