"""A simulated Azure: VMs on simulated SNP chips and TDs, with simulated vTPMs, from a seed.

Example::

    vm = SimulatedAzureVm(b"seed")
    claims = AzureSnpVerifier([vm.amd.anchor]).verify(
        Evidence(SNP_TYPE, vm.evidence(nonce)), vm.endorsements(), at=vm.amd.now
    )
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final

from cloister.attestation.evidence import Endorsement
from cloister.tee.azure.layout import AzureEvidence, HclReport
from cloister.tee.snp.layout import Product
from cloister.tee.tdx.layout import TdReport, read_quote
from cloister.tee.tpm.layout import QuoteParts
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, Minted, SimulatedIntel
from cloister.testing.manufacturers.tpm import SimulatedTpm

__all__ = ["SimulatedAzureTd", "SimulatedAzureVm", "runtime_data", "td_report"]

# REPORTDATA in the TDREPORT's REPORTMACSTRUCT.
_TD_REPORT_DATA: Final = slice(128, 192)


def runtime_data(ak_modulus: int, **changes: Any) -> dict[str, Any]:
    """Return runtime data about a key; `changes` are entries of it, None leaves one out."""
    found = {
        "keys": [_jwk("HCLAkPub", ak_modulus), _jwk("HCLEkPub", 3 << 2040 | 1)],
        "vm-configuration": {
            "console-enabled": True,
            "root-cert-thumbprint": "",
            "secure-boot": True,
            "tpm-enabled": True,
            "tpm-persisted": False,
            "vmUniqueId": "00000000-0000-4000-8000-000000000001",
        },
        "user-data": "00" * 64,
    } | changes
    return {name: value for name, value in found.items() if value is not None}


class SimulatedAzureVm:
    """One VM: the same seed makes the same bytes."""

    def __init__(self, seed: bytes, *, product: Product = "Milan", now: int = NOW) -> None:
        """Make chip and vTPM."""
        self.amd: Final = SimulatedAmd(seed, product, now=now)
        self.chip: Final = self.amd.chip()
        self.tpm: Final = SimulatedTpm(seed, now=now)

    def runtime(self, **changes: Any) -> dict[str, Any]:
        """Return the runtime data; `changes` are entries of it, None leaves one out."""
        return runtime_data(self.tpm.ak_modulus, **changes)

    def hcl(self, runtime: bytes, **report: Any) -> HclReport:
        """Return what the vTPM holds; `report` are fields of the SNP report."""
        bound = hashlib.sha256(runtime).digest().ljust(64, b"\0")
        fields: dict[str, Any] = {"report_data": bound, "version": 3} | report
        return HclReport("snp", self.chip.report(**fields), runtime)

    def evidence(
        self,
        nonce: bytes,
        *,
        runtime: bytes | None = None,
        quote: QuoteParts | None = None,
        **report: Any,
    ) -> bytes:
        """Return the body of evidence; `report` are fields of the SNP report."""
        data = json.dumps(self.runtime()).encode() if runtime is None else runtime
        hcl = self.hcl(data, **report)
        return AzureEvidence.of(hcl, quote or self.tpm.quote(nonce)).to_bytes()

    def endorsements(self) -> list[Endorsement]:
        """Return those of its report."""
        return self.amd.endorsements(self.chip)


def td_report(td: TdReport) -> bytes:
    """Return the TDREPORT that a quote of this TD was made of; its MAC is nobody's."""
    tcb_info = b"\xff" + bytes(7) + td.tee_tcb_svn + td.mr_seam + td.mr_signer_seam
    tcb_info = (tcb_info + td.seam_attributes).ljust(239, b"\0")
    info = td.td_attributes + td.xfam + td.mr_td + td.mr_config_id + td.mr_owner
    info = (info + td.mr_owner_config + b"".join(td.rtmrs)).ljust(512, b"\0")
    mac = b"\x81".ljust(16, b"\0") + bytes(16) + hashlib.sha384(tcb_info).digest()
    mac += hashlib.sha384(info).digest() + td.report_data + bytes(32) + b"\x4d" * 32
    return mac + tcb_info + bytes(17) + info


class SimulatedAzureTd:
    """One VM on TDX; its metadata service makes TD quotes."""

    def __init__(self, seed: bytes, *, now: int = NOW) -> None:
        """Make chip and vTPM."""
        self.intel: Final = SimulatedIntel(seed, at=now)
        self.tpm: Final = SimulatedTpm(seed, now=now)

    def hcl(self, runtime: bytes) -> HclReport:
        """Return what the vTPM holds: a TDREPORT that nobody elsewhere can verify."""
        data = hashlib.sha256(runtime).digest().ljust(64, b"\0")
        _, td = read_quote(self.intel.mint(IntelCase("tdx4", report_data=data)).quote)
        return HclReport("tdx", td_report(td), runtime)

    def mint(self, td_report: bytes, **case: Any) -> Minted:
        """Return what the quoting enclave makes of a TDREPORT, with collateral."""
        data = td_report[_TD_REPORT_DATA]
        return self.intel.mint(IntelCase("tdx4", report_data=data, **case))

    def evidence(self, nonce: bytes) -> tuple[bytes, list[Endorsement]]:
        """Return the body of evidence, and what vouches for it."""
        hcl = self.hcl(json.dumps(runtime_data(self.tpm.ak_modulus)).encode())
        minted = self.mint(hcl.hardware)
        body = AzureEvidence.of(hcl, self.tpm.quote(nonce), td_quote=minted.quote).to_bytes()
        return body, list(minted.endorsements)


def _jwk(name: str, modulus: int) -> dict[str, Any]:
    number = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    text = base64.urlsafe_b64encode(number).decode().rstrip("=")
    return {"kid": name, "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": text}
