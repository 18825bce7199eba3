"""Quotes made by a TPM that is not ours: swtpm, with the distribution's tools."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, EvidenceError
from cloister.tee.tpm.fields import FIELDS
from cloister.tee.tpm.layout import MEDIA_TYPE, Quote, QuoteParts, TpmEvidence
from cloister.tee.tpm.verifier import TpmVerifier

_PROGRAMS: Final = ("swtpm", "tpm2_createek", "tpm2_createak", "tpm2_quote", "tpm2_pcrextend")
_NONCE: Final = bytes(range(32))
pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in _PROGRAMS),
    reason="no software TPM here: tools/swtpm.sh (swtpm, tpm2-tools)",
)


class SoftwareTpm:
    """One running swtpm and a folder for what its tools write."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._environment = os.environ | {"TPM2TOOLS_TCTI": f"swtpm:host=127.0.0.1,port={port}"}

    def run(self, *arguments: str) -> None:
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env=self._environment,
            check=False,
            capture_output=True,
            timeout=60,
        )
        if done.returncode:
            raise OSError(f"{arguments[0]}: {done.stderr.decode(errors='replace')[-2000:]}")

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def _free_ports() -> int:
    """Return a port that is free, with the one after it."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)
    pytest.fail("no two free ports")


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """A TPM with an endorsement key."""
    folder, port = tmp_path_factory.mktemp("swtpm"), _free_ports()
    (folder / "state").mkdir()
    process = subprocess.Popen(
        [
            "swtpm",
            "socket",
            "--tpm2",
            "--tpmstate",
            f"dir={folder / 'state'}",
            "--server",
            f"type=tcp,port={port},bindaddr=127.0.0.1",
            "--ctrl",
            f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
            "--flags",
            "not-need-init,startup-clear",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    software = SoftwareTpm(folder, port)
    try:
        for attempt in range(100):
            try:
                software.run("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
                break
            except OSError:
                if attempt == 99 or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield software
    finally:
        process.terminate()
        process.wait(timeout=30)


def quoted(
    tpm: SoftwareTpm, kind: str, scheme: str, digest: str, selection: str
) -> tuple[bytes, QuoteParts]:
    """Make an attestation key and let it quote."""
    for name in ("ak.ctx", "ak.pem"):
        (tpm.folder / name).unlink(missing_ok=True)
    tpm.run("tpm2_flushcontext", "-t")
    tpm.run(
        *("tpm2_createak", "-C", "ek.ctx", "-c", "ak.ctx", "-G", kind, "-g", digest),
        *("-s", scheme, "-u", "ak.pem", "-f", "pem", "-n", "ak.name"),
    )
    tpm.run("tpm2_flushcontext", "-t")
    tpm.run(
        *("tpm2_quote", "-c", "ak.ctx", "-l", selection, "-q", _NONCE.hex(), "-g", digest),
        *("--scheme", scheme),
        *("-m", "quote.msg", "-s", "quote.sig", "-o", "quote.pcrs", "-F", "values"),
    )
    message = tpm.read("quote.msg")
    sizes = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
    values, joined = [], tpm.read("quote.pcrs")
    for bank, _ in Quote.from_bytes(message).places():
        values.append(joined[: sizes[bank]])
        joined = joined[sizes[bank] :]
    assert joined == b""
    key = load_pem_public_key(tpm.read("ak.pem"))
    ak = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ak, QuoteParts(message, tpm.read("quote.sig"), tuple(values), b"")


@pytest.mark.parametrize(
    ("kind", "scheme", "digest"),
    [
        ("rsa", "rsassa", "sha256"),
        ("rsa", "rsapss", "sha256"),
        ("rsa", "rsassa", "sha384"),
        ("ecc", "ecdsa", "sha256"),
    ],
)
def test_a_key_quotes_and_is_verified(
    tpm: SoftwareTpm, kind: str, scheme: str, digest: str
) -> None:
    """Each scheme; the same quote under another nonce, value or key is refused."""
    tpm.run("tpm2_pcrreset", "16")
    tpm.run("tpm2_pcrextend", "16:sha256=" + sha256(b"measured").hex())
    ak, parts = quoted(tpm, kind, scheme, digest, "sha256:0,7,16+sha1:16")
    verifier = TpmVerifier([sha256(ak)])
    body = TpmEvidence(ak, parts).to_bytes()
    claims = verifier.verify(Evidence(MEDIA_TYPE, body), [], at=0)
    wanted = sha256(bytes(32) + sha256(b"measured"))
    rules = default_rules(FIELDS) | {
        "report_data": OneOf((_NONCE,)),
        "pcrs.sha256.16": OneOf((wanted,)),
    }
    assert appraise_claims(claims, FIELDS, rules).accepted
    rules["report_data"] = OneOf((bytes(32),))
    assert not appraise_claims(claims, FIELDS, rules).accepted
    swapped = QuoteParts(parts.message, parts.signature, parts.values[::-1], b"")
    changed = Evidence(MEDIA_TYPE, TpmEvidence(ak, swapped).to_bytes())
    with pytest.raises(EvidenceError) as e:
        verifier.verify(changed, [], at=0)
    assert e.value.code == "evidence.parts"
    another, _ = quoted(tpm, kind, scheme, digest, "sha256:0")
    forged = Evidence(MEDIA_TYPE, TpmEvidence(another, parts).to_bytes())
    with pytest.raises(CloisterError) as refused:
        TpmVerifier([sha256(another)]).verify(forged, [], at=0)
    assert refused.value.code == "evidence.signature"
