"""Machines of simulated manufacturers, attested through a kernel's interface; policies for them.

Example::

    machine = TdMachine(SimulatedIntel(b"seed", at=now))
    text = section("tdx", anchors=[machine.anchor], measurement=machine.measurement)
    TdxAttester(TsmInterface(root=machine.root, files=machine.kernel()))
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from cloister.attestation.evidence import Endorsement, Evidence, ReportData
from cloister.crypto.chain import read_pem_chain
from cloister.tee.sgx.layout import MEDIA_TYPE as SGX_TYPE
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.amd import SimulatedAmd, SimulatedChip
from cloister.testing.manufacturers.intel import IntelCase, Minted, SimulatedIntel

__all__ = [
    "ROOT",
    "EnclaveMachine",
    "SnpMachine",
    "TdMachine",
    "host_table",
    "section",
    "with_gpus",
]

ROOT: Final = Path("/fake/tsm/report")
_LEFT_OUT: Final = "{unchecked: the test fixes other parts}"
_CLAIMS: Final[Mapping[str, Mapping[str, str]]] = {
    "tdx": {
        "rtmr0": _LEFT_OUT,
        "rtmr1": _LEFT_OUT,
        "rtmr2": _LEFT_OUT,
        "rtmr3": _LEFT_OUT,
        "sept_ve_disable": "{one_of: [set]}",
        "mr_service_td": f'{{one_of: ["", "{"00" * 48}"]}}',
        "migratable": "{one_of: [clear]}",
        "debug": "{one_of: [clear]}",
        "status": "{one_of: [UpToDate]}",
        "advisories": "{within: []}",
    },
    "sgx": {
        "debug": "{one_of: [clear]}",
        "status": "{one_of: [UpToDate]}",
        "advisories": "{within: []}",
    },
    "snp": {
        "debug": "{one_of: [clear]}",
        "policy.migrate_ma": "{one_of: [clear]}",
        "reported_tcb": "{at_least: {snp: 20, microcode: 200}}",
        "vmpl": "{one_of: [0]}",
        "revocation_checked": "{one_of: [set]}",
    },
    "nitro": {"debug": "{one_of: [clear]}"},
    "nvidia": {
        "measurement": "",
        "debug": "{one_of: [clear]}",
        "measres": "{one_of: [success]}",
        "revocation": "{one_of: [good]}",
    },
}


def with_gpus(part: str, anchors: Sequence[str], claims: Mapping[str, str] | None = None) -> str:
    """Write a processor's section with one about NVIDIA's GPUs below it."""
    own = section("nvidia", anchors=anchors, measurement=b"", claims=claims)
    return "\n".join([part, "    devices:", *(f"    {line}" for line in own.splitlines())])


def section(
    kind: str,
    *,
    anchors: Sequence[str],
    measurement: bytes,
    claims: Mapping[str, str] | None = None,
) -> str:
    """Write what goes below `roots_of_trust:` for one kind, strict but for what nobody knows.

    Args:
        kind: `tdx`, `sgx`, `snp`, `nitro`, `azure-snp` or `azure-tdx`.
        anchors: As in a policy.
        measurement: Of what was launched.
        claims: Other rules, as text; an empty one leaves the claim out.
    """
    inner = kind.removeprefix("azure-")
    own = _CLAIMS[inner]
    if inner != kind:
        kept = {"debug", "status", "advisories"}
        own = {name if name in kept else f"{inner}.{name}": rule for name, rule in own.items()}
    rules = {"measurement": f'{{one_of: ["{measurement.hex()}"]}}'} | dict(own) | dict(claims or {})
    lines = [f"  {kind}:", f"    anchors: [{', '.join(anchors)}]", "    claims:"]
    return "\n".join([*lines, *(f'      "{name}": {rule}' for name, rule in rules.items() if rule)])


@dataclass(frozen=True)
class TdMachine:
    """A machine whose kernel has the TDX module quote: the real attester runs on it.

    Attributes:
        intel: Who made it.
        case: What its quotes and collateral say.
    """

    intel: SimulatedIntel
    case: IntelCase = field(default_factory=lambda: IntelCase("tdx5", measurement=b"m" * 48))
    root: Path = ROOT

    @property
    def measurement(self) -> bytes:
        """MRTD."""
        return self.case.measurement

    @property
    def anchor(self) -> str:
        """Its manufacturer, as a policy names it."""
        return f"sha256:{self.intel.anchor.hex()}"

    @property
    def endorsements(self) -> tuple[Endorsement, ...]:
        """The manufacturer's collateral."""
        return self.minted.endorsements

    def kernel(self) -> FakeTsm:
        """What answers instead of the kernel."""
        return FakeTsm(self.root, "tdx_guest", self._quote, options=frozenset())

    @cached_property
    def minted(self) -> Minted:
        """A first quote, and the collateral."""
        return self.intel.mint(self.case)

    def _quote(self, report_data: bytes) -> bytes:
        return self.intel.requote(self.case, self.minted, report_data)


@dataclass(frozen=True)
class EnclaveMachine:
    """An enclave, whose library OS has its quotes made; it collects by itself."""

    intel: SimulatedIntel
    case: IntelCase = field(default_factory=lambda: IntelCase("sgx3", measurement=b"e" * 32))

    @property
    def measurement(self) -> bytes:
        """MRENCLAVE."""
        return self.case.measurement

    @property
    def anchor(self) -> str:
        """Its manufacturer, as a policy names it."""
        return f"sha256:{self.intel.anchor.hex()}"

    @property
    def endorsements(self) -> tuple[Endorsement, ...]:
        """The manufacturer's collateral."""
        return self.intel.mint(self.case).endorsements

    def collect(self, report_data: ReportData) -> Evidence:
        """Return a quote over these 64 bytes."""
        minted = self.intel.mint(replace(self.case, report_data=report_data.value))
        return Evidence(SGX_TYPE, minted.quote)


@dataclass(frozen=True)
class SnpMachine:
    """A guest whose secure processor reports; the host puts a table of certificates beside.

    Attributes:
        amd: Who made it.
        measurement: What was launched.
        policy: The guest's policy bits; bit 19 is debug.
        revocations: The list in the host's table; None for the manufacturer's newest, empty for
            no list.
        tcb: Versions other than the usual.
    """

    amd: SimulatedAmd
    measurement: bytes = b"m" * 48
    policy: int = 0x30000
    revocations: bytes | None = None
    tcb: Mapping[str, int] = field(default_factory=dict)
    root: Path = ROOT

    @property
    def anchor(self) -> str:
        """Its manufacturer, as a policy names it."""
        return f"sha256:{self.amd.anchor.hex()}"

    @property
    def endorsements(self) -> tuple[Endorsement, ...]:
        """All that is in the host's table."""
        return tuple(self.amd.endorsements(self.chip, revocations=self.revocations))

    @cached_property
    def chip(self) -> SimulatedChip:
        """The processor."""
        return self.amd.chip(tcb=self.tcb)

    def kernel(self) -> FakeTsm:
        """What answers instead of the kernel."""
        return FakeTsm(self.root, "sev_guest", self._report, auxblob=host_table(self.endorsements))

    def _report(self, report_data: bytes) -> bytes:
        return self.chip.report(
            report_data=report_data, measurement=self.measurement, policy=self.policy
        )


_GUIDS: Final = {
    "vcek": "63da758d-e664-4564-adc5-f4b93be8accd",
    "ask": "4ab7b379-bbac-4fe4-a02f-05aef327c782",
    "ark": "c0b406a4-a803-4952-9743-3fb6014cd0ae",
    "crl": "92f81bc3-5811-4d3d-97ff-d19f88dc67ea",
}
_ENTRY: Final = struct.Struct("<16sII")


def host_table(endorsements: Sequence[Endorsement]) -> bytes:
    """Write endorsements as the table that a host gives to an SNP guest."""
    parts: dict[str, bytes] = {}
    for each in endorsements:
        if each.media_type == "application/pkix-cert":
            parts["vcek"] = each.body
        elif each.media_type == "application/pkix-crl":
            parts["crl"] = each.body
        else:
            ask, ark = read_pem_chain(each.body, max_certificates=2)
            parts |= {"ask": ask.der, "ark": ark.der}
    at, head, body = _ENTRY.size * (len(parts) + 1), b"", b""
    for name, data in parts.items():
        head += _ENTRY.pack(uuid.UUID(_GUIDS[name]).bytes_le, at + len(body), len(data))
        body += data
    return head + bytes(_ENTRY.size) + body
