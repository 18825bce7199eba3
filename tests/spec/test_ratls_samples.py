"""Genuine RA-TLS certificates of Gramine's and rats-tls's, as far as they are here.

They are those of CCC-Attestation/interoperable-ra-tls, folder `interoperability-tests`, in a folder
`ratls` beside the other genuine evidence.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from cloister.attestation.ratls import (
    DICE_EXTENSION,
    GRAMINE_EXTENSION,
    CertificateEvidence,
    read_certificate_evidence,
)
from cloister.cli import evidence
from cloister.crypto.carrier import CarrierCertificate
from cloister.errors import CloisterError
from cloister.tee.intel.layout import EnclaveReport, Quote
from evidence_samples import folder, mutations

SGX: Final = "application/vnd.cloister.sgx"
COLLATERAL: Final = "sgx-00606a000000-20230529-v3-eval15.json"
AT: Final = "2023-06-05T00:00:00Z"
NAMES: Final = ("gramine-cert.pem", "rats-tls-cert.pem")


def certificate(name: str) -> CarrierCertificate:
    """Read one, or skip the test."""
    path = folder("ratls") / name
    if not path.exists():
        pytest.skip(f"no {name} among the genuine certificates")
    return CarrierCertificate.from_pem(path.read_bytes())


def carried(found: CarrierCertificate) -> CertificateEvidence:
    """Open it when it was valid."""
    at = found.certificate.not_before
    return read_certificate_evidence(found, media_types={SGX}, at=at)


def reported(found: CertificateEvidence) -> bytes:
    """The report data of its quote, which nobody has verified here."""
    return EnclaveReport.from_bytes(Quote.from_bytes(found.evidence.body).body).report_data


@pytest.mark.spec("INT-20", "INT-24", "INT-26", "INT-35")
@pytest.mark.parametrize("name", NAMES)
def test_a_genuine_certificate_is_about_its_own_key(name: str) -> None:
    """Its own key signed it, and its quote reports its claims."""
    found = carried(certificate(name))
    assert (found.form, found.nonce) == ("interoperable", None)
    assert [reported(found)] == list(found.report_data)


@pytest.mark.spec("INT-21", "INT-29")
def test_gramines_older_form_is_about_the_same_key() -> None:
    """As if it stood alone; a quote of the other form binds nothing there."""
    whole = certificate("gramine-cert.pem")
    assert {DICE_EXTENSION, GRAMINE_EXTENSION} <= set(whole.certificate.extensions)
    # It is not signed so: what is changed is read past the signature.
    issued = dataclasses.replace(
        whole.certificate,
        issuer=b"another",
        extensions={GRAMINE_EXTENSION: whole.certificate.extensions[GRAMINE_EXTENSION]},
    )
    older = carried(dataclasses.replace(whole, certificate=issued))
    assert older.form == "gramine"
    assert [reported(older)] == list(older.report_data)
    assert reported(carried(whole)) not in older.report_data


@pytest.mark.spec("INT-31")
@pytest.mark.parametrize("name", NAMES)
def test_a_genuine_certificate_is_judged_whole(name: str) -> None:
    """Under Intel's own root: bound, and refused for what its machine is."""
    path: Path = folder("ratls") / name
    if not path.exists():
        pytest.skip(f"no {name} among the genuine certificates")
    words = ["verify", str(path), "--kind", "sgx", "--at", AT, "--json"]
    words += ["--endorsements", str(folder("dcap-collateral") / COLLATERAL)]
    done = CliRunner().invoke(evidence.app, words)
    record: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, record["hardware_rooted"], record["status"]) == (77, True, "OutOfDate")
    assert {each["code"] for each in record["reasons"]} == {"appraisal.claim"}
    assert "report_data" not in {each["rule"] for each in record["not_checked"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_certificate_is_never_about_another_key(name: str) -> None:
    """Whatever is changed, it is refused, or says the same."""
    whole = certificate(name)
    key, quote = whole.certificate.public_key, carried(whole).evidence
    for data in mutations((folder("ratls") / name).read_bytes(), count=300, seed=38):
        try:
            changed = CarrierCertificate.from_pem(data)
            found = carried(changed)
        except CloisterError:
            continue
        assert (changed.certificate.public_key, found.evidence) == (key, quote)
