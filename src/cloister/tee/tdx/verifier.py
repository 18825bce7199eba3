"""Judge a TD's quote: genuine under an accepted root, on a platform and module that Intel knows.

Spec: intel-evidence-v1, clauses INTEL-30 to INTEL-46, INTEL-51 and INTEL-60 to INTEL-65.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import EndorsementError, EvidenceError
from cloister.tee.anchors import require_anchors
from cloister.tee.intel.fields import as_date, platform_claims
from cloister.tee.intel.layout import TEE_TDX, Quote
from cloister.tee.intel.procedure import Tee, Vouched, vouch
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.intel.tcb import (
    UP_TO_DATE,
    TcbStatus,
    choose_platform,
    choose_svn,
    merge,
    with_relaunch,
)
from cloister.tee.intel.tcb_info import ModuleIdentity, TcbInfo
from cloister.tee.tdx.eventlog import Event, read_log, require_registers, system_events
from cloister.tee.tdx.layout import (
    LOGGED_TYPE,
    MEDIA_TYPE,
    LoggedQuote,
    TdAttributes,
    TdReport,
    read_quote,
)
from cloister.wire import Value

__all__ = ["TdxVerifier"]

_TEE: Final = Tee(TEE_TDX, "TDX", "TD_QE")


class TdxVerifier:
    """Accepts quotes of TDs whose platform leads to one of the given roots."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take the SHA-256 of each accepted root certificate.

        Raises:
            ConfigError: None was given (`config.missing`).
        """
        self._anchors: Final = require_anchors(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine quote says; status and attributes are for a policy to judge.

        Args:
            evidence: Untrusted, exactly as received: a quote, or a quote with its event log.
            endorsements: One bundle of Intel's collateral, untrusted.
            at: The instant, in seconds since the epoch, at which everything must count.

        Raises:
            MalformedError: Evidence or collateral does not parse.
            EvidenceError: Another kind, a signature that does not hold, parts of different origin,
                a log that does not give the registers.
            EndorsementError: No accepted root, expired, revoked, or about another platform.
            UnavailableError: Collateral is missing or does not count at that time.
        """
        # 1. The kind is ours, and it parses.
        logged = _read(evidence)
        quote, report = read_quote(logged.quote)
        # 2. It is genuine, by a platform and a quoting enclave that Intel vouches for.
        vouched = vouch(quote, endorsements, _TEE, anchors=self._anchors, at=at)
        # 3. Intel made the TDX module, lists its version and the platform's; none is revoked.
        platform, module, tcb = _judge(vouched, report, report.tee_tcb_svn)
        if report.service is not None:
            _, _, running = _judge(vouched, report, report.service.tee_tcb_svn2)
            tcb = with_relaunch(tcb, running)
        # 4. A log that came along explains the runtime registers.
        events = read_log(logged.log_format, logged.log) if logged.log_format else ()
        if logged.log_format:
            require_registers(events, report.rtmrs)
        attributes = TdAttributes.of(report.td_attributes)
        return Claims(
            root_of_trust="tdx",
            anchor=vouched.anchor,
            hardware_rooted=vouched.anchor in INTEL_ROOTS,
            measurement=report.mr_td,
            report_data=report.report_data,
            debug=attributes.debug,
            security_version=as_date(tcb.date),
            status=tcb.status,
            advisories=tcb.advisories,
            hardware_id=vouched.platform.ppid,
            vendor={
                **_report_claims(quote, report, attributes),
                "tdx_module_status": module.status,
                "event_log": _log_claims(logged.log_format, events),
                **platform_claims(vouched, platform),
            },
        )


def _read(evidence: Evidence) -> LoggedQuote:
    """Read either kind of body; a bare quote has no log."""
    if evidence.media_type == MEDIA_TYPE:
        return LoggedQuote(evidence.body, "", b"")
    if evidence.media_type == LOGGED_TYPE:
        return LoggedQuote.from_bytes(evidence.body)
    raise EvidenceError("not TDX evidence", code="evidence.kind")


def _judge(
    vouched: Vouched, report: TdReport, tee_tcb_svn: bytes
) -> tuple[TcbStatus, TcbStatus, TcbStatus]:
    """Return what is said of the platform, of the TDX module, and of all parts together."""
    pck, info = vouched.platform, vouched.tcb_info
    identity = _module_of(info, tee_tcb_svn[1])
    if (
        report.mr_signer_seam != identity.mrsigner
        or _masked(report.seam_attributes, identity) != _masked(identity.attributes, identity)
        or any(report.seam_attributes)
    ):
        raise EvidenceError("the TDX module is not one that Intel names", code="evidence.parts")
    platform = choose_platform(info.levels, pck.components, pck.pcesvn, tee_tcb_svn)
    if not identity.id:
        # Version 0: the platform's level judges the module along with the rest.
        module = TcbStatus(UP_TO_DATE, platform.date, ())
    else:
        module = choose_svn(identity.levels, tee_tcb_svn[0], "the TDX module's version")
    return platform, module, merge(platform, (module, vouched.qe))


def _module_of(info: TcbInfo, version: int) -> ModuleIdentity:
    """Find the identity of a TDX module by the major version in TEE_TCB_SVN."""
    name = f"TDX_{version:02X}"
    candidates = info.modules if version else tuple(filter(None, (info.module,)))
    for identity in candidates:
        if not version or identity.id == name:
            return identity
    raise EndorsementError(
        "TCB info does not know the TDX module",
        code="endorsement.mismatch",
        detail=name,
    )


def _masked(value: bytes, identity: ModuleIdentity) -> bytes:
    return bytes(have & bits for have, bits in zip(value, identity.attributes_mask, strict=True))


def _report_claims(quote: Quote, report: TdReport, attributes: TdAttributes) -> dict[str, Value]:
    found: dict[str, Value] = {
        "quote_version": quote.header.version,
        "body_type": quote.body_type,
        "rtmr0": report.rtmr0,
        "rtmr1": report.rtmr1,
        "rtmr2": report.rtmr2,
        "rtmr3": report.rtmr3,
        "mr_config_id": report.mr_config_id,
        "mr_owner": report.mr_owner,
        "mr_owner_config": report.mr_owner_config,
        "mr_seam": report.mr_seam,
        "mr_signer_seam": report.mr_signer_seam,
        "seam_attributes": report.seam_attributes,
        "td_attributes": report.td_attributes,
        "sept_ve_disable": attributes.sept_ve_disable,
        "migratable": attributes.migratable,
        "lass": attributes.lass,
        "pks": attributes.pks,
        "key_locker": attributes.key_locker,
        "perfmon": attributes.perfmon,
        "reserved_attributes": attributes.reserved,
        "xfam": report.xfam,
        "tee_tcb_svn": report.tee_tcb_svn,
        # A report of TDX 1.0 has no room for service TDs: it says neither yes nor no.
        "mr_service_td": b"" if report.service is None else report.service.mr_service_td,
    }
    if report.service is not None:
        found["tee_tcb_svn2"] = report.service.tee_tcb_svn2
    if report.extended is not None:
        found |= {name: getattr(report.extended, name) for name in report.extended.__slots__}
    return found


def _log_claims(log_format: str, events: Sequence[Event]) -> dict[str, Value]:
    """Tell what a log that was checked says; the format is `none` where there was no log."""
    if not log_format:
        return {"format": "none"}
    found: dict[str, Value] = {"format": log_format, "events": len(events)}
    return found | {"system": dict(system_events(events))} if log_format == "dstack" else found
