"""Files that vouch are known by what is in them; a bare key counts where the user named it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.evidence import Evidence
from cloister.cli.evidence_files import (
    read_anchor,
    read_beside,
    read_endorsements,
    read_evidence,
)
from cloister.crypto.chain import Certificate, read_pem_chain
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, MalformedError
from cloister.tee.azure.layout import AzureEvidence, HclReport
from cloister.tee.tdx.layout import read_quote
from cloister.testing.manufacturers.azure import SimulatedAzureVm, td_report
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.manufacturers.tpm import SimulatedTpm

NOW = 1_800_000_000


def write(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path


def pem(der: bytes, what: str = "CERTIFICATE") -> bytes:
    """Write DER as PEM."""
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {what}-----\n{body}-----END {what}-----\n".encode()


def test_each_form_gets_its_media_type(tmp_path: Path) -> None:
    """Whatever the file is called."""
    tpm, nvidia = SimulatedTpm(b"seed", now=NOW), SimulatedNvidia("seed", at=NOW)
    gpu = nvidia.gpu("HOPPER")
    minted = SimulatedIntel(b"seed", at=NOW).mint(IntelCase("tdx5"))
    forms = {
        "application/pkix-cert": tpm.root,
        "application/pem-certificate-chain": pem(tpm.issuer) + pem(tpm.root),
        "application/pkix-crl": tpm.revocations("root"),
        "application/vnd.cloister.intel-collateral+json": json.dumps(dict(minted.bundle)).encode(),
        "application/swid+xml": nvidia.rims(gpu)[0].body,
        "application/ocsp-response": nvidia.ocsp_responses(gpu)[0].body,
        "application/jwk+json": SimulatedCca("seed").key.body,
    }
    for media_type, data in forms.items():
        given = read_endorsements([write(tmp_path / "file", data)])
        assert [each.media_type for each in given.endorsements] == [media_type]
    one = read_endorsements([write(tmp_path / "file", pem(tpm.root))])
    assert [(each.media_type, each.body) for each in one.endorsements] == [
        ("application/pkix-cert", tpm.root)
    ]


def test_words_between_certificates_vouch_for_nothing(tmp_path: Path) -> None:
    """Tools write subjects and attributes there; what is read is the certificates."""
    tpm = SimulatedTpm(b"seed", now=NOW)
    chain = pem(tpm.issuer) + pem(tpm.root)
    said = b"subject=x\n" + pem(tpm.issuer) + b"issuer=y\n" + pem(tpm.root) + b"words\n"
    for text in (chain, said, said.replace(b"\n", b"\r\n")):
        (found,) = read_endorsements([write(tmp_path / "file", text)]).endorsements
        assert [each.der for each in read_pem_chain(found.body)] == [tpm.issuer, tpm.root]
    for text in (b"words", pem(tpm.root, "X509 CRL"), pem(tpm.root)[:-5], pem(tpm.root) * 65):
        with pytest.raises(CloisterError) as e:
            read_endorsements([write(tmp_path / "file", text)])
        assert e.value.code == "endorsement.malformed"


def test_a_folder_gives_each_of_its_files_once(tmp_path: Path) -> None:
    """The same endorsement under two names is one."""
    tpm = SimulatedTpm(b"seed", now=NOW)
    for name in ("a", "b"):
        write(tmp_path / name, tpm.root)
    assert len(read_endorsements([tmp_path, tmp_path / "a"]).endorsements) == 1


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"{}", b"[1]", b"{", b"0\x82", b"0\x03\x01\x01\x00", b"\x00" * 40]
)
def test_what_vouches_for_nothing_is_refused(tmp_path: Path, data: bytes) -> None:
    """A mistake of the user's, before anything is judged."""
    with pytest.raises(CloisterError) as e:
        read_endorsements([write(tmp_path / "file", data)])
    assert e.value.code == "endorsement.malformed"


def test_a_key_that_was_named_is_pinned(tmp_path: Path) -> None:
    """As `--endorsements` or as `--anchor`; the digest is of its SubjectPublicKeyInfo."""
    tpm, cca = SimulatedTpm(b"seed", now=NOW), SimulatedCca("seed")
    key = write(tmp_path / "ak", pem(tpm.ak, "PUBLIC KEY"))
    assert read_endorsements([key]).pinned == [read_anchor(str(key))]
    jwk = write(tmp_path / "key.json", cca.key.body)
    assert read_endorsements([jwk]).pinned == [cca.anchor]
    # A folder that came with the evidence pins nothing of what lies in it.
    assert read_endorsements([tmp_path]).pinned == []
    assert [each.media_type for each in read_beside(tmp_path, "cca")] == ["application/jwk+json"]


def test_an_anchor_is_a_digest_or_a_file(tmp_path: Path) -> None:
    """Of a certificate in either form."""
    root = SimulatedTpm(b"seed", now=NOW).root
    digest = Certificate.from_der(root).fingerprint
    assert read_anchor("sha256:" + digest.hex()) == digest
    for data in (root, pem(root)):
        assert read_anchor(str(write(tmp_path / "root", data))) == digest
    for text in ("sha256:", "sha256:zz", "sha256:" + "00" * 33):
        with pytest.raises(CloisterError):
            read_anchor(text)


def test_an_envelope_is_taken_for_what_it_says(tmp_path: Path) -> None:
    """Bare bytes are the kind's plain form; a list of GPUs has its own."""
    envelope = Evidence("application/vnd.cloister.tdx+cbor", b"body")
    path = write(tmp_path / "file", envelope.to_bytes())
    assert read_evidence(path, "tdx", event_log=None) == envelope
    other = Evidence("application/vnd.cloister.sgx", b"body").to_bytes()
    found = read_evidence(write(path, other), "tdx", event_log=None)
    assert found == Evidence("application/vnd.cloister.tdx", other)
    for text in (b" []", b'{"evidences": []}'):
        found = read_evidence(write(path, text), "nvidia", event_log=None)
        assert found.media_type == "application/vnd.cloister.nvidia+json"


def test_an_event_log_goes_with_a_td_only(tmp_path: Path) -> None:
    """Its format is told by its first character."""
    quote, log = write(tmp_path / "quote", b"quote"), write(tmp_path / "log", b"[]")
    found = read_evidence(quote, "tdx", event_log=log)
    assert found.media_type == "application/vnd.cloister.tdx+cbor"
    with pytest.raises(CloisterError) as e:
        read_evidence(quote, "snp", event_log=log)
    assert e.value.code == "config.value"


def test_only_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    """Not devices, pipes, or whatever grows."""
    os.mkfifo(tmp_path / "pipe")
    large = tmp_path / "large"
    large.write_bytes(b"")
    os.truncate(large, (4 << 20) + 1)
    for path, code in [
        (tmp_path / "pipe", "config.file"),
        (large, "config.value"),
        (Path("/dev/zero"), "config.file"),
        (tmp_path / "absent", "config.file"),
    ]:
        with pytest.raises(CloisterError) as e:
            read_evidence(path, "tdx", event_log=None)
        assert e.value.code == code


def test_a_folder_without_evidence_says_what_is_missing(tmp_path: Path) -> None:
    """By the name that a sample's folder gives it."""
    with pytest.raises(CloisterError) as e:
        read_evidence(tmp_path, "snp", event_log=None)
    assert (e.value.code, "report.bin" in str(e.value)) == ("config.missing", True)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    """A folder named by mistake is not read to its end."""
    for number in range(65):
        write(tmp_path / str(number), b"x")
    for read in (lambda: read_endorsements([tmp_path]), lambda: read_beside(tmp_path, "snp")):
        with pytest.raises(CloisterError) as e:
            read()
        assert e.value.code == "config.value"


def test_what_lies_beside_evidence_and_vouches_for_nothing_is_passed_over(tmp_path: Path) -> None:
    """Notes, pictures, a description that is none."""
    tpm = SimulatedTpm(b"seed", now=NOW)
    for name, data in [("notes.txt", b"hello"), ("sample.json", b"{"), ("root.der", tpm.root)]:
        write(tmp_path / name, data)
    assert [each.body for each in read_beside(tmp_path, "snp")] == [tpm.root]


def _azure_folder(folder: Path) -> tuple[SimulatedAzureVm, bytes]:
    """Write what a VM on TDX has; return it, and its TD quote."""
    vm = SimulatedAzureVm(b"folder", now=NOW)
    runtime = json.dumps(vm.runtime()).encode()
    bound = sha256(runtime).ljust(64, b"\0")
    quote = SimulatedIntel(b"folder", at=NOW).mint(IntelCase("tdx4", report_data=bound)).quote
    hcl = HclReport("tdx", td_report(read_quote(quote)[1]), runtime)
    parts = vm.tpm.quote(b"nonce")
    write(folder / "hcl_report.bin", hcl.to_bytes())
    write(folder / "td_quote.bin", quote)
    write(folder / "tpm_quote.msg", parts.message)
    write(folder / "tpm_quote.sig", parts.signature)
    values = {str(index): value.hex() for index, value in enumerate(parts.values)}
    write(folder / "pcrs.json", json.dumps({"bank": "sha256", "pcrs": values}).encode())
    write(folder / "ak_pub.pem", pem(vm.tpm.ak, "PUBLIC KEY"))
    return vm, quote


@pytest.mark.spec("AZ-5")
def test_a_folder_of_two_vms_is_refused(tmp_path: Path) -> None:
    """Another TD's quote beside the report, or another vTPM's key."""
    _, quote = _azure_folder(tmp_path)
    found = read_evidence(tmp_path, "azure-tdx", event_log=None)
    assert AzureEvidence.from_bytes(found.body).report == quote
    other = SimulatedIntel(b"folder", at=NOW).mint(IntelCase("tdx4")).quote
    for name, data in (
        ("td_quote.bin", other),
        ("ak_pub.pem", pem(SimulatedTpm(b"other", now=NOW).ak, "PUBLIC KEY")),
    ):
        good = (tmp_path / name).read_bytes()
        write(tmp_path / name, data)
        with pytest.raises(CloisterError) as e:
            read_evidence(tmp_path, "azure-tdx", event_log=None)
        assert e.value.code == "evidence.parts"
        write(tmp_path / name, good)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["pcrs"].update({"0": found["pcrs"]["0"].upper().replace("0", "A", 1)}),
        lambda found: found["pcrs"].update({"0": " " + found["pcrs"]["0"]}),
        lambda found: found["pcrs"].update({"24": "00" * 32}),
        lambda found: found["pcrs"].pop("7"),
        lambda found: found["pcrs"].update({"7": None}),
        lambda found: found.update({"bank": "sha1"}),
        lambda found: found.update({"bank": ["sha256"]}),
        lambda found: found.update({"more": 1}),
        lambda found: found.update({"pcrs": []}),
    ],
)
def test_registers_are_those_of_the_quote_and_in_one_spelling(
    tmp_path: Path, change: Callable[[Any], object]
) -> None:
    """Neither fewer nor more, and no other way to write them."""
    _azure_folder(tmp_path)
    path = tmp_path / "pcrs.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(MalformedError) as e:
        read_evidence(tmp_path, "azure-tdx", event_log=None)
    assert e.value.code == "evidence.malformed"


def test_registers_are_strict_json(tmp_path: Path) -> None:
    """A member twice, another encoding, or something behind it."""
    _azure_folder(tmp_path)
    path = tmp_path / "pcrs.json"
    good = path.read_bytes()
    for data in (
        good.replace(b"{", b'{"bank": "sha256", ', 1), b"\xef\xbb\xbf" + good, good * 2,
        good.decode().encode("utf-16"),
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(MalformedError):
            read_evidence(tmp_path, "azure-tdx", event_log=None)


def test_a_file_of_pem_has_one_block_and_nothing_else(tmp_path: Path) -> None:
    """Whatever else stands in it would be read by nobody."""
    key = pem(SimulatedTpm(b"seed", now=NOW).ak, "PUBLIC KEY")
    good = read_anchor(str(write(tmp_path / "key", key)))
    assert read_anchor(str(write(tmp_path / "key", key.replace(b"\n", b"\r\n")))) == good
    for data in (
        b"words\n" + key, key + b"words\n", key * 2, key.replace(b"END PUBLIC", b"END PUBLIK"),
        key.replace(b"END PUBLIC KEY", b"END CERTIFICATE"), key.replace(b"\n", b" \n"),
        key.replace(b"-----\n", b"-----\nProc-Type: 4\n\n", 1), key.replace(b"AQAB", b"AQAB="),
    ):  # fmt: skip
        with pytest.raises(MalformedError) as e:
            read_anchor(str(write(tmp_path / "key", data)))
        assert e.value.code == "certificate.malformed"
