"""What policies can say of every platform of Intel's, and how it stands in claims.

`security_version` is the date of the oldest TCB level that applies, as a number like 20240313.
`hardware_id` is the PPID: it names the processor package.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from cloister.attestation.evidence_rules import Field, OneOf, Unchecked, Within
from cloister.tee.intel.procedure import Vouched
from cloister.tee.intel.tcb import TcbStatus
from cloister.wire import Value

__all__ = ["NO_POLICY", "PLATFORM_FIELDS", "as_date", "platform_claims"]

NO_POLICY: Final = Unchecked("no policy was given")

PLATFORM_FIELDS: Final = (
    Field(
        "report_data", "bytes", required=True, default=NO_POLICY, about="what the evidence is for"
    ),
    Field(
        "debug",
        "boolean",
        required=True,
        default=OneOf((False,)),
        about="whether it can be inspected from outside",
    ),
    Field(
        "status",
        "text",
        required=True,
        default=OneOf(("UpToDate",)),
        about="Intel's word for the platform's version",
    ),
    Field(
        "advisories",
        "texts",
        required=True,
        default=Within(()),
        about="weaknesses that Intel lists for that version",
    ),
    Field(
        "security_version",
        "integer",
        required=False,
        default=NO_POLICY,
        about="date of the TCB level, as a number",
    ),
    Field(
        "hardware_id",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="PPID of the processor package",
    ),
    Field(
        "tcb_evaluation_data_number",
        "integer",
        required=False,
        default=NO_POLICY,
        about="which evaluation of Intel's was used",
    ),
    Field("fmspc", "bytes", required=False, default=NO_POLICY, about="the platform's model"),
    Field(
        "platform_instance_id",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="names a machine of several packages",
    ),
    Field(
        "sgx_type",
        "integer",
        required=False,
        default=NO_POLICY,
        about="how memory is protected: 0 standard, 1 scalable, 2 with integrity",
    ),
    Field(
        "smt_enabled",
        "boolean",
        required=False,
        default=NO_POLICY,
        about="whether hyperthreading is on",
    ),
    Field(
        "cached_keys",
        "boolean",
        required=False,
        default=NO_POLICY,
        about="whether Intel keeps the platform's root keys",
    ),
    Field(
        "dynamic_platform",
        "boolean",
        required=False,
        default=NO_POLICY,
        about="whether packages may be added to the machine",
    ),
    Field(
        "tcb",
        "versions",
        required=False,
        default=NO_POLICY,
        about="SVNs that the PCK certificate states",
    ),
    Field(
        "qe_svn", "integer", required=False, default=NO_POLICY, about="the quoting enclave's SVN"
    ),
)


def platform_claims(vouched: Vouched, platform: TcbStatus) -> dict[str, Value]:
    """Return the vendor's fields that are about the platform.

    Args:
        vouched: What the shared procedure established.
        platform: What is said of the platform's own level, before its parts were merged in.
    """
    pck = vouched.platform
    tcb: dict[str, Value] = {f"{number:02}": svn for number, svn in enumerate(pck.components, 1)}
    found: dict[str, Value] = {
        "tcb_evaluation_data_number": vouched.evaluation,
        "fmspc": pck.fmspc,
        "pceid": pck.pceid,
        "platform_instance_id": pck.platform_instance_id,
        "pck_authority": vouched.authority,
        "sgx_type": pck.sgx_type,
        "tcb": tcb | {"pcesvn": pck.pcesvn},
        "pck_cpu_svn": pck.cpusvn,
        "platform_tcb_status": platform.status,
        "platform_tcb_date": as_date(platform.date),
        "qe_tcb_status": vouched.qe.status,
        "qe_tcb_date": as_date(vouched.qe.date),
        "qe_svn": vouched.qe_svn,
        "valid_from": vouched.valid_from,
        "valid_until": vouched.valid_until,
    }
    return found | dict(pck.flags)


def as_date(instant: int) -> int:
    """Write an instant's day as a number that grows, such as 20240313."""
    return int(dt.datetime.fromtimestamp(instant, dt.UTC).strftime("%Y%m%d"))
