"""Files that vouch are known by what is in them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cloister.crypto.chain import read_pem_chain
from cloister.errors import CloisterError
from cloister.tee.endorsement_files import read_endorsements
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
