"""What a policy can say of a TD, and what is asked of one where there is no policy."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, OneOf
from cloister.tee.intel.fields import NO_POLICY, PLATFORM_FIELDS

__all__ = ["FIELDS"]

_NO_SERVICE_TD: Final = OneOf((b"", bytes(48)))

FIELDS: Final[tuple[Field, ...]] = (
    Field(
        "measurement",
        "bytes",
        required=True,
        default=NO_POLICY,
        about="MRTD: digest of the TD as it was built, in general its firmware",
    ),
    Field(
        "rtmr0",
        "bytes",
        required=True,
        default=NO_POLICY,
        about="RTMR0: firmware's configuration",
    ),
    Field("rtmr1", "bytes", required=True, default=NO_POLICY, about="RTMR1: boot loader, kernel"),
    Field(
        "rtmr2",
        "bytes",
        required=True,
        default=NO_POLICY,
        about="RTMR2: kernel's command line, initial disk",
    ),
    Field("rtmr3", "bytes", required=True, default=NO_POLICY, about="RTMR3: for the application"),
    Field(
        "sept_ve_disable",
        "boolean",
        required=True,
        default=OneOf((True,)),
        about="whether the host can make pages fault inside",
    ),
    Field(
        "mr_service_td",
        "bytes",
        required=True,
        default=_NO_SERVICE_TD,
        about="MRSERVICETD: TDs that serve this one; empty where the quote has no room for it",
    ),
    Field(
        "migratable",
        "boolean",
        required=True,
        default=OneOf((False,)),
        about="whether it may be moved to another machine",
    ),
    Field(
        "reserved_attributes",
        "integer",
        required=False,
        default=OneOf((0,)),
        about="TD attributes that have no name here",
    ),
    Field("lass", "boolean", required=False, default=NO_POLICY, about="linear address separation"),
    Field("pks", "boolean", required=False, default=NO_POLICY, about="supervisor protection keys"),
    Field("key_locker", "boolean", required=False, default=NO_POLICY, about="Key Locker"),
    Field("perfmon", "boolean", required=False, default=NO_POLICY, about="performance monitoring"),
    Field("xfam", "bytes", required=False, default=NO_POLICY, about="XFAM: processor features"),
    Field(
        "mr_config_id",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="MRCONFIGID: set by whoever launched it",
    ),
    Field(
        "mr_owner",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="MROWNER: set by whoever launched it",
    ),
    Field(
        "mr_owner_config",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="MROWNERCONFIG: set by whoever launched it",
    ),
    Field(
        "mr_seam", "bytes", required=False, default=NO_POLICY, about="MRSEAM: the TDX module itself"
    ),
    Field(
        "td_id",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="names this very TD, in quotes that have it",
    ),
    Field(
        "event_log.format",
        "text",
        required=False,
        default=NO_POLICY,
        about="which event log came along: none, ccel or dstack",
    ),
    Field(
        "event_log.system.compose-hash",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="dstack: digest of the application's description",
    ),
    Field(
        "event_log.system.app-id",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="dstack: which application",
    ),
    Field(
        "event_log.system.instance-id",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="dstack: which instance of it",
    ),
    Field(
        "event_log.system.key-provider",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="dstack: who gives it keys",
    ),
    *PLATFORM_FIELDS,
)
