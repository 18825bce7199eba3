"""A simulated Azure: VMs on simulated SNP chips, with simulated vTPMs, from a seed.

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
from cloister.tee.tdx.layout import TdReport
from cloister.tee.tpm.layout import QuoteParts
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.tpm import SimulatedTpm

__all__ = ["SimulatedAzureVm", "td_report"]


class SimulatedAzureVm:
    """One VM: the same seed makes the same bytes."""

    def __init__(self, seed: bytes, *, product: Product = "Milan", now: int = NOW) -> None:
        """Make chip and vTPM."""
        self.amd: Final = SimulatedAmd(seed, product, now=now)
        self.chip: Final = self.amd.chip()
        self.tpm: Final = SimulatedTpm(seed, now=now)

    def runtime(self, **changes: Any) -> dict[str, Any]:
        """Return the runtime data; `changes` are entries of it, None leaves one out."""
        found = {
            "keys": [_jwk("HCLAkPub", self.tpm.ak_modulus), _jwk("HCLEkPub", 3 << 2040 | 1)],
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
        bound = hashlib.sha256(data).digest().ljust(64, b"\0")
        fields: dict[str, Any] = {"report_data": bound, "version": 3} | report
        body = self.chip.report(**fields)
        hcl = HclReport("snp", body, data)
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


def _jwk(name: str, modulus: int) -> dict[str, Any]:
    number = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    text = base64.urlsafe_b64encode(number).decode().rstrip("=")
    return {"kid": name, "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": text}
