"""A simulated Intel: root, PCK and TCB signing certificates, collateral, and quotes of any kind.

Everything follows from a seed and an instant, so that vectors can be made again. Its root is not
Intel's: verifiers take it as an anchor of the caller's, and say that no hardware vouches.

Example::

    intel = SimulatedIntel(b"seed", at=now)
    minted = intel.mint(IntelCase("tdx5", status="OutOfDate"))
    TdxVerifier((intel.anchor,)).verify(minted.evidence, minted.endorsements, at=now)
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import to_pem
from cloister.crypto.digest import framed, sha256, sha512
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.layout import (
    ECDSA_P256,
    INTEL_QE,
    PCK_CHAIN,
    PLAIN_PPID,
    PLATFORM_BYTES,
    SGX_BODY,
    TEE_SGX,
    TEE_TDX,
    EnclaveReport,
    Quote,
    QuoteHeader,
    QuoteSignature,
)
from cloister.tee.intel.pck import PCK_NAME, ROOT_NAME, SIGNER_NAME
from cloister.tee.sgx.layout import MEDIA_TYPE as SGX_TYPE
from cloister.tee.tdx.eventlog import Event as LogEvent
from cloister.tee.tdx.eventlog import replay
from cloister.tee.tdx.layout import (
    LOGGED_TYPE,
    LoggedQuote,
    TdExtended,
    TdReport,
    TdService,
)
from cloister.tee.tdx.layout import MEDIA_TYPE as TDX_TYPE

__all__ = ["CA_NAME", "IntelCase", "Kind", "Minted", "SimulatedIntel"]

Kind = Literal["sgx3", "sgx4", "sgx5", "tdx4", "tdx5", "tdx15", "tdx15ex"]
CA_NAME: Final = "Intel SGX PCK Platform CA"

_DAY_S: Final = 86400
_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_ARC: Final = bytes.fromhex("2a864886f84d010d01")
_LISTS: Final = "https://collateral.invalid/"
_SGX_SIGNER: Final = bytes.fromhex("5a" * 32)
_QE_ATTRIBUTES: Final = bytes([0x11]) + bytes(15)
_FORMS: Final[Mapping[str, tuple[int, int]]] = {
    "sgx3": (3, 1),
    "sgx4": (4, 1),
    "sgx5": (5, 1),
    "tdx4": (4, 2),
    "tdx5": (5, 2),
    "tdx15": (5, 3),
    "tdx15ex": (5, 4),
}


@dataclass(frozen=True, slots=True)
class IntelCase:
    """What one quote and its collateral say; each field that is set departs from a good case.

    Attributes:
        kind: Which TEE, quote version and body.
        report_data: What the evidence is for.
        measurement: MRENCLAVE, or MRTD; made from the seed where empty.
        mr_signer: Who signed the enclave.
        debug: Whether the TEE can be inspected.
        attributes: TD attributes besides debug; bit 28 is SEPT_VE_DISABLE.
        mr_service_td: In bodies of TDX 1.5.
        events: What RTMRs are made of.
        log: A log format and its bytes, that come along.
        padding: What follows the quote.
        vendor: The QE's vendor.
        key_type: The attestation key's type.
        certification_type: 5 for the PCK chain.
        qe_signer: The QE's MRSIGNER.
        qe_svn: The QE's version; levels are 8 and 5.
        qe_attributes: The QE's attributes.
        auth_data: What the QE binds beside the key.
        platform: Which chip: its key, PPID and instance follow from the name.
        fmspc: The platform's model.
        components: SVNs in the PCK certificate.
        tee_tcb_svn: SVNs of the TDX module and others.
        tee_tcb_svn2: The same now, in bodies of TDX 1.5.
        mr_signer_seam: Who signed the TDX module.
        level: SVNs that the platform's level needs.
        status: What that level says.
        advisories: What it lists.
        qe_status: What the QE's level says.
        module_levels: SVN and status of levels of TDX module 1, newest first.
        tcb: Members of TCB info that are otherwise.
        qe: Members of QE identity that are otherwise.
        revoked: Which of `pck`, `ca`, `signer` stand in their lists.
        windows: From when to when `root`, `ca`, `pck`, `signer`, `pck_crl`, `root_crl`,
            `tcb_info`, `qe_identity` count, where otherwise.
        names: Common names of `ca`, `pck`, `signer`, where otherwise.
        forged: Which of `quote`, `qe_report`, `key` (the QE vouches for another), `pck`, `ca`,
            `signer`, `pck_crl`, `root_crl`, `tcb_info`, `qe_identity` somebody else signed.
        statements_by: Whose certificate signs TCB info and QE identity: `signer`, or `pck`.
        curve: Which of `pck`, `ca`, `signer` have a key on P-384.
        flags: Dynamic platform, cached keys, SMT.
    """

    kind: Kind
    report_data: bytes = bytes(64)
    measurement: bytes = b""
    mr_signer: bytes = _SGX_SIGNER
    debug: bool = False
    attributes: int = 1 << 28
    mr_service_td: bytes = bytes(48)
    events: tuple[LogEvent, ...] = ()
    log: tuple[str, bytes] | None = None
    padding: bytes = b""
    vendor: bytes = INTEL_QE
    key_type: int = ECDSA_P256
    certification_type: int = PCK_CHAIN
    qe_signer: bytes = bytes.fromhex("8c" * 32)
    qe_svn: int = 8
    qe_attributes: bytes = _QE_ATTRIBUTES
    auth_data: bytes = bytes(range(32))
    platform: str = "platform"
    fmspc: bytes = bytes.fromhex("00906ed50000")
    components: tuple[int, ...] = (7,) * 16
    tee_tcb_svn: bytes = bytes([5, 1, 7]) + bytes(13)
    tee_tcb_svn2: bytes = bytes([5, 1, 7]) + bytes(13)
    mr_signer_seam: bytes = bytes(48)
    level: tuple[int, ...] = (7,) * 16
    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    qe_status: str = "UpToDate"
    module_levels: tuple[tuple[int, str], ...] = ((5, "UpToDate"), (2, "OutOfDate"))
    tcb: Mapping[str, Any] = field(default_factory=dict)
    qe: Mapping[str, Any] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    windows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    forged: frozenset[str] = frozenset()
    statements_by: Literal["signer", "pck"] = "signer"
    curve: frozenset[str] = frozenset()
    flags: tuple[bool, bool, bool] = (False, False, True)


@dataclass(frozen=True, slots=True)
class Minted:
    """Evidence with what it takes to judge it.

    Attributes:
        quote: The quote's bytes, with padding.
        bundle: The collateral's members.
        evidence: The quote as evidence, with its log where it has one.
        chain: DER of the PCK chain, leaf first.
    """

    quote: bytes
    bundle: Mapping[str, str]
    evidence: Evidence
    chain: tuple[bytes, ...]

    @property
    def collateral(self) -> bytes:
        """The bundle's bytes."""
        return json.dumps(self.bundle).encode()

    @property
    def endorsements(self) -> tuple[Endorsement, ...]:
        """The bundle as the one endorsement."""
        return (Endorsement(COLLATERAL_TYPE, self.collateral),)

    def with_quote(self, quote: bytes) -> Minted:
        """Return the same with other bytes of the quote."""
        return replace(self, quote=quote, evidence=Evidence(self.evidence.media_type, quote))


class SimulatedIntel:
    """A manufacturer whose keys follow from a seed, at one instant."""

    def __init__(self, seed: bytes, *, at: int) -> None:
        """Take the seed and the instant around which everything counts."""
        self._seed = seed
        self._at = at
        self.root: Final = self._certificate(IntelCase("sgx3"), "root", ROOT_NAME, "root")

    @property
    def root_der(self) -> bytes:
        """The root certificate."""
        return self.root.public_bytes(Encoding.DER)

    @property
    def anchor(self) -> bytes:
        """What a verifier that accepts this manufacturer pins."""
        return sha256(self.root_der)

    def mint(self, case: IntelCase) -> Minted:
        """Make evidence and collateral of one case."""
        authority = self._certificate(case, "ca", CA_NAME, "root")
        pck = self._certificate(case, "pck", PCK_NAME, "ca")
        chain = tuple(each.public_bytes(Encoding.DER) for each in (pck, authority, self.root))
        quote = self._quote(case, to_pem(chain)).to_bytes() + case.padding
        evidence = Evidence(SGX_TYPE if case.kind.startswith("sgx") else TDX_TYPE, quote)
        if case.log is not None:
            evidence = Evidence(LOGGED_TYPE, LoggedQuote(quote, *case.log).to_bytes())
        return Minted(quote, self._bundle(case, pck, authority), evidence, chain)

    def requote(self, case: IntelCase, minted: Minted, report_data: bytes) -> bytes:
        """Return a case's quote over other bytes: signed again, and otherwise as it was minted.

        For bodies that end with the report data: those of enclaves, and of TDX 1.0.
        """
        quote = Quote.from_bytes(minted.quote)
        changed = replace(quote, body=quote.body[: -len(report_data)] + report_data)
        signature = self._sign(case, "quote", "attestation", changed.signed)
        signed = replace(changed, signature=replace(changed.signature, signature=signature))
        return signed.to_bytes()

    def _key(self, case: IntelCase, name: str) -> ec.EllipticCurvePrivateKey:
        """Derive a key from the seed; a platform's keys are its own."""
        owner = case.platform if name in ("pck", "attestation") else "intel"
        material = sha512(framed(self._seed, owner.encode(), name.encode()))
        curve = ec.SECP384R1() if name in case.curve else ec.SECP256R1()
        return ec.derive_private_key(int.from_bytes(material[:31]) + 1, curve)

    def _signer(self, case: IntelCase, what: str, name: str) -> ec.EllipticCurvePrivateKey:
        return self._key(case, "impostor" if what in case.forged else name)

    def _sign(self, case: IntelCase, what: str, name: str, message: bytes) -> bytes:
        key = self._signer(case, what, name)
        der = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
        # A key on P-384 makes numbers that do not fit: its signatures are refused in any case.
        return b"".join(number.to_bytes(48)[-32:] for number in decode_dss_signature(der))

    def _window(self, case: IntelCase, name: str) -> tuple[int, int]:
        if name in ("root", "ca", "pck", "signer"):
            usual = (self._at - 365 * _DAY_S, self._at + 2555 * _DAY_S)
        else:
            usual = (self._at - _DAY_S, self._at + 29 * _DAY_S)
        return case.windows.get(name, usual)

    def _serial(self, case: IntelCase, name: str) -> int:
        return int.from_bytes(
            sha256(framed(self._seed, case.platform.encode(), name.encode()))[:19]
        )

    def _certificate(self, case: IntelCase, name: str, usual: str, issuer: str) -> x509.Certificate:
        """Issue `root`, `ca`, `pck` or `signer`."""
        ca = name in ("root", "ca")
        start, end = self._window(case, name)
        issuers = {"root": ROOT_NAME, "ca": case.names.get("ca", CA_NAME)}
        public = self._key(case, name).public_key()
        above = self._key(case, issuer).public_key()
        point = x509.UniformResourceIdentifier(f"{_LISTS}{issuer}.crl")
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(case.names.get(name, usual)))
            .issuer_name(_name(issuers[issuer]))
            .public_key(public)
            .serial_number(self._serial(case, name))
            .not_valid_before(_instant(start))
            .not_valid_after(_instant(end))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False
            )
            .add_extension(
                x509.CRLDistributionPoints([x509.DistributionPoint([point], None, None, None)]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_usage(ca=ca), critical=True)
            .add_extension(
                x509.BasicConstraints(ca=ca, path_length={"root": 1, "ca": 0}.get(name)),
                critical=True,
            )
        )
        if name == "pck":
            extension = x509.UnrecognizedExtension(_EXTENSION, self._sgx_extension(case))
            builder = builder.add_extension(extension, critical=False)
        key = self._signer(case, name, issuer)
        return builder.sign(key, SHA256(), ecdsa_deterministic=True)

    def _sgx_extension(self, case: IntelCase) -> bytes:
        """Write the extension of a PCK certificate of a platform."""
        tcb = b"".join(
            _pair(_ARC + bytes([2, number]), _integer(svn))
            for number, svn in enumerate((*case.components, 13), 1)
        ) + _pair(_ARC + bytes([2, 18]), _der(0x04, bytes(case.components)))
        flags = b"".join(
            _pair(_ARC + bytes([7, number]), _der(0x01, b"\xff" if flag else b"\x00"))
            for number, flag in enumerate(case.flags, 1)
        )
        values = (
            _der(0x04, self._name_of(case, "ppid")),
            _der(0x30, tcb),
            _der(0x04, bytes(2)),
            _der(0x04, case.fmspc),
            _der(0x0A, b"\x01"),
            _der(0x04, self._name_of(case, "instance")),
            _der(0x30, flags),
        )
        pairs = (_pair(_ARC + bytes([at]), value) for at, value in enumerate(values, 1))
        return _der(0x30, b"".join(pairs))

    def _name_of(self, case: IntelCase, what: str) -> bytes:
        return sha256(framed(self._seed, case.platform.encode(), what.encode()))[:16]

    def _quote(self, case: IntelCase, chain: bytes) -> Quote:
        version, body_type = _FORMS[case.kind]
        sgx = body_type == SGX_BODY
        header = QuoteHeader(
            version=version,
            att_key_type=case.key_type,
            tee_type=TEE_SGX if sgx else TEE_TDX,
            qe_svn=case.qe_svn if sgx else 0,
            pce_svn=13 if sgx else 0,
            qe_vendor_id=case.vendor,
            user_data=self._name_of(case, "qe") + bytes(4),
        )
        body = self._enclave(case).to_bytes() if sgx else self._td(case, body_type).to_bytes()
        key = _point(self._key(case, "attestation"))
        bound = _point(self._key(case, "impostor")) if "key" in case.forged else key
        report = replace(
            self._enclave(case),
            attributes=case.qe_attributes,
            mr_enclave=sha256(b"quoting enclave"),
            mr_signer=case.qe_signer,
            isv_prod_id=1 if sgx else 2,
            isv_svn=case.qe_svn,
            report_data=sha256(bound + case.auth_data) + bytes(32),
        ).to_bytes()
        unsigned = QuoteSignature(
            signature=bytes(64),
            attestation_key=key,
            qe_report=report,
            qe_report_signature=self._sign(case, "qe_report", "pck", report),
            qe_auth_data=case.auth_data,
            certification_type=case.certification_type,
            certification=self._certification(case, header, chain),
        )
        quote = Quote(header, body_type, body, unsigned)
        signature = self._sign(case, "quote", "attestation", quote.signed)
        return replace(quote, signature=replace(unsigned, signature=signature))

    def _certification(self, case: IntelCase, header: QuoteHeader, chain: bytes) -> bytes:
        """Return the chain, or what stands in its place; a PPID that is encrypted for nobody."""
        length = PLATFORM_BYTES.get(case.certification_type)
        if length is None:
            return chain
        ppid = self._name_of(case, "ppid")
        if case.certification_type != PLAIN_PPID:
            ppid = ppid.ljust(length - 20, b"\x01")
        svns = self._enclave(case).cpu_svn + header.pce_svn.to_bytes(2, "little")
        return ppid + svns + bytes(2)

    def _enclave(self, case: IntelCase) -> EnclaveReport:
        return EnclaveReport(
            cpu_svn=bytes(case.components),
            misc_select=0,
            reserved1=bytes(12),
            isv_ext_prod_id=bytes(16),
            attributes=bytes([0x05 | (2 if case.debug else 0)]) + bytes(7) + b"\xe7" + bytes(7),
            mr_enclave=case.measurement or sha256(self._seed + b"enclave"),
            reserved2=bytes(32),
            mr_signer=case.mr_signer,
            reserved3=bytes(32),
            config_id=bytes(64),
            isv_prod_id=3,
            isv_svn=4,
            config_svn=0,
            reserved4=bytes(42),
            isv_family_id=bytes(16),
            report_data=case.report_data,
        )

    def _td(self, case: IntelCase, body_type: int) -> TdReport:
        registers = replay(case.events)
        service = TdService(case.tee_tcb_svn2, case.mr_service_td)
        extended = TdExtended(
            vmid=0,
            td_id=sha256(self._seed + b"td"),
            dev_info=bytes(48),
            init_service_td_hash=bytes(48),
            init_service_td_attributes=bytes(8),
            init_cpu_svn=bytes(case.components),
            init_tee_tcb_svn=case.tee_tcb_svn,
            init_tee_fmspc=case.fmspc + bytes(6),
            cur_service_td_hash=bytes(48),
            cur_service_td_attributes=bytes(8),
        )
        return TdReport(
            tee_tcb_svn=case.tee_tcb_svn,
            mr_seam=sha512(b"module")[:48],
            mr_signer_seam=case.mr_signer_seam,
            seam_attributes=bytes(8),
            td_attributes=(case.attributes | int(case.debug)).to_bytes(8, "little"),
            xfam=bytes.fromhex("e700060000000000"),
            mr_td=case.measurement or sha512(self._seed + b"td")[:48],
            mr_config_id=bytes(48),
            mr_owner=bytes(48),
            mr_owner_config=bytes(48),
            rtmr0=registers[0],
            rtmr1=registers[1],
            rtmr2=registers[2],
            rtmr3=registers[3],
            report_data=case.report_data,
            service=service if body_type > 2 else None,  # noqa: PLR2004  # the format's numbers
            extended=extended if body_type > 3 else None,  # noqa: PLR2004  # the format's numbers
        )

    def _bundle(
        self, case: IntelCase, pck: x509.Certificate, authority: x509.Certificate
    ) -> dict[str, str]:
        signer = self._certificate(case, "signer", SIGNER_NAME, "root")
        root = self.root_der
        signers = [signer] if case.statements_by == "signer" else [pck, authority]
        path = to_pem([*(each.public_bytes(Encoding.DER) for each in signers), root]).decode()
        by = case.statements_by
        tcb_info, qe_identity = self._tcb_info(case), self._qe_identity(case)
        revoked = {"ca": authority, "signer": signer, "pck": pck}
        of_root = [revoked[name] for name in ("ca", "signer") if name in case.revoked]
        of_pck = [pck] if "pck" in case.revoked else []
        return {
            "pck_crl_issuer_chain": to_pem((authority.public_bytes(Encoding.DER), root)).decode(),
            "root_ca_crl": self._list(case, "root_crl", "root", of_root),
            "pck_crl": self._list(case, "pck_crl", "ca", of_pck),
            "tcb_info_issuer_chain": path,
            "tcb_info": tcb_info,
            "tcb_info_signature": self._sign(case, "tcb_info", by, tcb_info.encode()).hex(),
            "qe_identity_issuer_chain": path,
            "qe_identity": qe_identity,
            "qe_identity_signature": self._sign(
                case, "qe_identity", by, qe_identity.encode()
            ).hex(),
        }

    def _list(
        self, case: IntelCase, name: str, issuer: str, revoked: list[x509.Certificate]
    ) -> str:
        start, end = self._window(case, name)
        issuers = {"root": ROOT_NAME, "ca": case.names.get("ca", CA_NAME)}
        above = self._key(case, issuer).public_key()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name(issuers[issuer]))
            .last_update(_instant(start))
            .next_update(_instant(end))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False
            )
        )
        for certificate in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(_instant(start))
                .build()
            )
        signed = builder.sign(self._signer(case, name, issuer), SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(Encoding.DER).hex()

    def _tcb_info(self, case: IntelCase) -> str:
        tdx = case.kind.startswith("tdx")
        start, end = self._window(case, "tcb_info")

        def level(sgx: tuple[int, ...], status: str, advisories: tuple[str, ...]) -> Any:
            tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn} for svn in sgx], "pcesvn": 13}
            if tdx:
                needed = bytes([5, 0, 7]) if case.tee_tcb_svn[1] == 0 else bytes([0, 0, 7])
                tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in needed + bytes(13)]
            return {"tcb": tcb, **_says(status, advisories)}

        module = {
            "mrsigner": bytes(48).hex(),
            "attributes": bytes(8).hex(),
            "attributesMask": "FF" * 8,
        }
        info: dict[str, Any] = {
            "id": "TDX" if tdx else "SGX",
            "version": 3,
            "issueDate": _text(start),
            "nextUpdate": _text(end),
            "fmspc": case.fmspc.hex(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 18,
        }
        if tdx:
            levels = [
                {"tcb": {"isvsvn": svn}, **_says(status, ())} for svn, status in case.module_levels
            ]
            info["tdxModule"] = module
            info["tdxModuleIdentities"] = [{"id": "TDX_01", **module, "tcbLevels": levels}]
        info["tcbLevels"] = [
            level(case.level, case.status, case.advisories),
            level(tuple(svn // 2 for svn in case.level), "OutOfDate", ("INTEL-SA-00001",)),
        ]
        return json.dumps(info | dict(case.tcb), separators=(",", ":"))

    def _qe_identity(self, case: IntelCase) -> str:
        start, end = self._window(case, "qe_identity")
        tdx = case.kind.startswith("tdx")
        levels = ((8, case.qe_status, ()), (5, "OutOfDate", ("INTEL-SA-00002",)))
        identity = {
            "id": "TD_QE" if tdx else "QE",
            "version": 2,
            "issueDate": _text(start),
            "nextUpdate": _text(end),
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": _QE_ATTRIBUTES.hex(),
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": "8C" * 32,
            "isvprodid": 2 if tdx else 1,
            "tcbLevels": [
                {"tcb": {"isvsvn": svn}, **_says(status, advisories)}
                for svn, status, advisories in levels
            ],
        }
        return json.dumps(identity | dict(case.qe), separators=(",", ":"))


def _says(status: str, advisories: tuple[str, ...]) -> dict[str, Any]:
    said: dict[str, Any] = {"tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status}
    return said | ({"advisoryIDs": list(advisories)} if advisories else {})


def _instant(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _text(seconds: int) -> str:
    return _instant(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def _name(common: str) -> x509.Name:
    parts = (
        (x509.NameOID.COMMON_NAME, common),
        (x509.NameOID.ORGANIZATION_NAME, "Simulated manufacturer"),
        (x509.NameOID.COUNTRY_NAME, "US"),
    )
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=not ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:  # noqa: PLR2004  # the format's numbers
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def _pair(identifier: bytes, value: bytes) -> bytes:
    return _der(0x30, _der(0x06, identifier) + value)
