"""A simulated NVIDIA: GPUs of two architectures, reports, manifests, revocation.

Example::

    maker = SimulatedNvidia("one", at=1_800_000_000)
    gpu = maker.gpu("HOPPER")
    evidence = gpu.evidence(nonce)
    claims = NvidiaVerifier(maker.anchors).verify(evidence, maker.endorsements(gpu), at=maker.at)

Everything but OCSP responses is the same for the same seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from cryptography import x509
from cryptography.x509 import OCSPNonce
from cryptography.x509.ocsp import OCSPCertStatus, load_der_ocsp_request

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate
from cloister.tee.nvidia.dice import COMPOSITE_DEVICE_ID, TCB_INFO
from cloister.tee.nvidia.endorsements import CHAIN_MEDIA_TYPE, CRL_MEDIA_TYPE, OCSP_MEDIA_TYPE
from cloister.tee.nvidia.evidence_list import (
    LIST_MEDIA_TYPE,
    PACKED_MEDIA_TYPE,
    DeviceEvidence,
    PackedDevice,
    devices_to_json,
    pack_devices,
)
from cloister.tee.nvidia.layout import OPAQUE, REPORT_MEDIA_TYPE, GpuReport, MeasurementBlock
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Resource, Rim, RimContent
from cloister.testing.manufacturers.device_pki import Authority, raw_signature, spki

__all__ = [
    "Architecture",
    "SimulatedGpu",
    "SimulatedNvidia",
    "evidence_list",
    "packed_evidence",
]

Architecture = Literal["HOPPER", "BLACKWELL"]

_CHIPS: Final[dict[Architecture, str]] = {"HOPPER": "GH100", "BLACKWELL": "GB100"}
_BLOCKS: Final = 64
_VBIOS_INDEXES: Final = range(12)
_DRIVER_INDEXES: Final = range(12, 40)
_DAY_S: Final = 86400
_FWID_HEAD: Final = bytes.fromhex("303d06096086480165030402020430")
_DEBUG_FLAG: Final = 0x10
_DIGEST_VALUE: Final = 0x33


@dataclass(frozen=True)
class SimulatedGpu:
    """One GPU, and what can be wrong with it.

    Attributes:
        maker: Who made it.
        architecture: Of which kind it is.
        device: Its firmware's key and path.
        above: The authorities above its own, the nearest first.
        driver_version: Its driver.
        vbios_version: Its VBIOS, six numbers in hexadecimal.
        fwid: The firmware that it reports.
        nvdec0: Whether the first decoder is on.
        altered: Indexes of manifests at which it measures something else.
    """

    maker: SimulatedNvidia
    architecture: Architecture
    device: Authority
    above: tuple[Authority, ...]
    driver_version: str
    vbios_version: str
    fwid: bytes
    nvdec0: bool
    altered: frozenset[int]

    @property
    def chip(self) -> str:
        """Its chip."""
        return _CHIPS[self.architecture]

    def report(self, nonce: bytes, *, board: tuple[str, str, str] | None = None) -> GpuReport:
        """Sign a report, which may name project, its SKU and the chip's SKU."""
        vbios = bytes.fromhex(self.vbios_version.replace(".", ""))
        opaque = {
            OPAQUE["vbios_version"]: vbios[3::-1] + vbios[4:] + bytes(3),
            OPAQUE["driver_version"]: self.driver_version.encode("ascii") + b"\x00",
            OPAQUE["nvdec0_status"]: b"\xaa" if self.nvdec0 else b"\x55",
            OPAQUE["fwid"]: self.fwid,
            OPAQUE["feature_flag"]: b"\x01\x00",
        }
        for name, value in zip(("project", "project_sku", "chip_sku"), board or (), strict=False):
            opaque[OPAQUE[name]] = value.encode("ascii") + b"\x00"
        blocks = tuple(
            MeasurementBlock(index + 1, _DIGEST_VALUE, self._measured(index))
            for index in range(_BLOCKS)
        )
        unsigned = GpuReport(nonce, blocks, hashlib.sha256(nonce).digest(), opaque, b"")
        return self.sign(unsigned)

    def sign(self, report: GpuReport) -> GpuReport:
        """Sign a report of any content."""
        return replace(report, signature=raw_signature(self.device.key, report.signed))

    def evidence(self, nonce: bytes) -> Evidence:
        """Return a report as evidence; its chain is an endorsement."""
        return Evidence(REPORT_MEDIA_TYPE, self.report(nonce).to_bytes())

    @property
    def chain(self) -> Endorsement:
        """The device's chain."""
        return Endorsement(CHAIN_MEDIA_TYPE, self.device.pem)

    def _measured(self, index: int) -> bytes:
        good = self.maker.measurement(self.architecture, index)
        return b"\xff" * 48 if index in self.altered else good


class SimulatedNvidia:
    """A manufacturer made from a seed."""

    def __init__(self, seed: str, *, at: int) -> None:
        """Make the roots and the authorities below them, valid for a year around `at`."""
        self.seed = seed
        self.at = at
        self.validity = (at - 180 * _DAY_S, at + 180 * _DAY_S)
        self._root = Authority.root("Device Identity CA", f"{seed}/root", validity=self.validity)
        self._rim_root = Authority.root("RIM root", f"{seed}/rim", validity=self.validity)
        self._rim_ca = self._authority(self._rim_root, "RIM CA")
        self._identities = {
            chip: self._authority(self._root, f"{chip} Identity") for chip in _CHIPS.values()
        }

    @property
    def anchors(self) -> tuple[bytes, bytes]:
        """The roots' fingerprints: of devices, and of manifests."""
        return self._root.path[0].fingerprint, self._rim_root.path[0].fingerprint

    def measurement(self, architecture: Architecture, index: int) -> bytes:
        """Return what every healthy GPU of an architecture measures."""
        return hashlib.sha384(f"{self.seed}/{architecture}/{index}".encode()).digest()

    def gpu(
        self,
        architecture: Architecture,
        *,
        number: int = 1,
        boot: int = 1,
        debug: bool = False,
        nvdec0: bool = False,
        leaf_fwid: bytes | None = None,
        altered: Collection[int] = (),
        validity: tuple[int, int] | None = None,
        leaf_name: str | None = None,
        leaf_curve: str = "P-384",
        by_rim_root: bool = False,
    ) -> SimulatedGpu:
        """Make a GPU.

        Args:
            architecture: Of which kind.
            number: Different numbers are different devices.
            boot: Different boots of one device have different keys for signing reports.
            debug: Whether the leaf says debug; Blackwell only.
            nvdec0: Whether the first decoder is on.
            leaf_fwid: The firmware that the leaf names, where it is not the one that is reported.
            altered: Indexes at which it measures something else than manifests say.
            validity: Of the leaf.
            leaf_name: The leaf's common name.
            leaf_curve: The curve of the leaf's key.
            by_rim_root: Whether the authority for manifests issued it.
        """
        chip, seed = _CHIPS[architecture], f"{self.seed}/{architecture}/{number}"
        fwid = hashlib.sha384(f"{self.seed}/{architecture}/firmware".encode()).digest()
        above = self._rim_ca if by_rim_root else self._identities[chip]
        provisioner = self._authority(above, f"{chip} Provisioner ICA {number}")
        brom = self._authority(provisioner, f"{chip} A01 GSP BROM")
        leaf = brom.issue(
            leaf_name or f"{chip} A01 GSP FMC LF",
            f"{seed}/leaf/{boot}",
            validity=validity or self.validity,
            ca=False,
            extensions=(_dice(architecture, brom, leaf_fwid or fwid, debug=debug),),
            curve=leaf_curve,
        )
        versions = {"HOPPER": "96.00.9F.00.01", "BLACKWELL": "97.00.E4.00.11"}
        return SimulatedGpu(
            maker=self,
            architecture=architecture,
            device=leaf,
            above=(provisioner, above, self._rim_root if by_rim_root else self._root),
            driver_version="590.48.01",
            vbios_version=versions[architecture],
            fwid=fwid,
            nvdec0=nvdec0,
            altered=frozenset(altered),
        )

    def rim_content(self, gpu: SimulatedGpu, kind: Literal["driver", "vbios"]) -> RimContent:
        """Say what a GPU's driver or VBIOS measures when it is healthy."""
        active = _DRIVER_INDEXES if kind == "driver" else _VBIOS_INDEXES
        return RimContent(
            chip=gpu.chip,
            version=gpu.driver_version if kind == "driver" else gpu.vbios_version,
            tag_id=hashlib.sha384(f"{self.seed}/{gpu.chip}/{kind}".encode()).hexdigest(),
            resources=tuple(
                Resource(
                    index,
                    active=index in active,
                    hashes=(bytes(48), self.measurement(gpu.architecture, index)),
                )
                for index in range(_BLOCKS)
            ),
        )

    def rim(
        self,
        content: RimContent,
        *,
        validity: tuple[int, int] | None = None,
        signer: Authority | None = None,
    ) -> Endorsement:
        """Sign a manifest, by the authority for them or by another."""
        by = signer or self.signer(validity or self.validity)
        signature = raw_signature(by.key, Rim.to_be_signed(content))
        return Endorsement(RIM_MEDIA_TYPE, Rim.assemble(content, signature, by.path))

    def rims(self, gpu: SimulatedGpu) -> list[Endorsement]:
        """Return the manifests of a GPU's driver and VBIOS."""
        return [self.rim(self.rim_content(gpu, kind)) for kind in ("driver", "vbios")]

    def revocation_lists(
        self,
        *gpus: SimulatedGpu,
        revoked: Sequence[Certificate] = (),
        validity: tuple[int, int] | None = None,
    ) -> list[Endorsement]:
        """Return the lists of every authority above GPUs and manifests, but the GPUs' own."""
        above = [self._rim_root, self._rim_ca, *(each for gpu in gpus for each in gpu.above)]
        issuers = {each.path[0].der: each for each in above}
        return [
            Endorsement(
                CRL_MEDIA_TYPE,
                each.revocation_list(revoked, validity=validity or self.validity),
            )
            for each in issuers.values()
        ]

    def ocsp_responses(
        self,
        gpu: SimulatedGpu,
        *,
        status: OCSPCertStatus = OCSPCertStatus.GOOD,
        validity: tuple[int, int] | None = None,
    ) -> list[Endorsement]:
        """Return a response about each certificate above a GPU's leaf and below the roots."""
        return [
            Endorsement(
                OCSP_MEDIA_TYPE,
                authority.ocsp_response(each, status, validity=validity or self.validity),
            )
            for each, authority in self._issued(gpu)
        ]

    def ocsp_answer(
        self,
        gpu: SimulatedGpu,
        request: bytes,
        *,
        status: OCSPCertStatus = OCSPCertStatus.GOOD,
        validity: tuple[int, int] | None = None,
    ) -> bytes | None:
        """Answer a request with its nonce; None where it is about nobody above a GPU."""
        asked = load_der_ocsp_request(request)
        found = next(
            (each for each in self._issued(gpu) if each[0].serial == asked.serial_number), None
        )
        if found is None:
            return None
        nonces = [
            each.value.nonce for each in asked.extensions if isinstance(each.value, OCSPNonce)
        ]
        certificate, authority = found
        return authority.ocsp_response(
            certificate,
            status,
            validity=validity or self.validity,
            nonce=nonces[0] if nonces else b"",
        )

    def _issued(self, gpu: SimulatedGpu) -> list[tuple[Certificate, Authority]]:
        """Return each certificate above a GPU's leaf and below the roots, with its issuer."""
        signer = self.signer(self.validity)
        return [
            *zip(gpu.device.path[1:], gpu.above, strict=False),
            *zip(signer.path, (self._rim_ca, self._rim_root), strict=False),
        ]

    def endorsements(self, *gpus: SimulatedGpu) -> list[Endorsement]:
        """Return all that a verifier needs: manifests and lists, and the chain of a single GPU."""
        rims = {each.body: each for gpu in gpus for each in self.rims(gpu)}
        chain = [gpus[0].chain] if len(gpus) == 1 else []
        return [*chain, *rims.values(), *self.revocation_lists(*gpus)]

    def _authority(self, issuer: Authority, name: str) -> Authority:
        seed = f"{self.seed}/{issuer.path[0].common_name}/{name}"
        return issuer.issue(name, seed, validity=self.validity, ca=True)

    def signer(self, validity: tuple[int, int]) -> Authority:
        """Certify the key that signs manifests."""
        return self._rim_ca.issue("RIM Signer", f"{self.seed}/signer", validity=validity, ca=False)


def evidence_list(gpus: Sequence[SimulatedGpu], nonce: bytes) -> Evidence:
    """Return the reports of several GPUs as NVIDIA's list."""
    devices = tuple(
        DeviceEvidence(gpu.architecture, gpu.device.pem, gpu.report(nonce)) for gpu in gpus
    )
    return Evidence(LIST_MEDIA_TYPE, devices_to_json(devices))


def packed_evidence(gpus: Sequence[SimulatedGpu], nonce: bytes) -> Evidence:
    """Return the same, packed."""
    devices = [
        PackedDevice(gpu.report(nonce), tuple(each.der for each in gpu.device.path)) for gpu in gpus
    ]
    return Evidence(PACKED_MEDIA_TYPE, pack_devices(devices))


def _dice(
    architecture: Architecture, brom: Authority, fwid: bytes, *, debug: bool
) -> x509.UnrecognizedExtension:
    """Return the leaf's extension: of Hopper's form or of Blackwell's."""
    if architecture == "HOPPER":
        body = b"\x02\x01\x01" + spki(brom.key) + _FWID_HEAD + fwid
        return x509.UnrecognizedExtension(
            x509.ObjectIdentifier(COMPOSITE_DEVICE_ID), b"\x30\x81" + bytes([len(body)]) + body
        )
    fwids = (_FWID_HEAD + fwid) + (_FWID_HEAD + bytes(48))
    flags = bytes([0x80 | (_DEBUG_FLAG if debug else 0), 0, 0, 1])
    body = b"\xa6\x7e" + fwids + b"\x87\x05\x00" + flags
    return x509.UnrecognizedExtension(
        x509.ObjectIdentifier(TCB_INFO), b"\x30\x81" + bytes([len(body)]) + body
    )
