"""Files that vouch are known by what is in them; a bare key counts where the user named it."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence
from cloister.cli.evidence_files import read_anchor, read_beside, read_evidence
from cloister.crypto.chain import Certificate
from cloister.errors import CloisterError
from cloister.tee.endorsement_files import read_endorsements
from cloister.testing.manufacturers.cca import SimulatedCca
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
    found = read_evidence(write(path, b" []"), "nvidia", event_log=None)
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
