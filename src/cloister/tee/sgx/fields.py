"""What a policy can say of an enclave, and what is asked of one where there is no policy."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field
from cloister.tee.intel.fields import NO_POLICY, PLATFORM_FIELDS

__all__ = ["FIELDS"]

FIELDS: Final[tuple[Field, ...]] = (
    Field(
        "measurement",
        "bytes",
        required=True,
        default=NO_POLICY,
        about="MRENCLAVE: digest of the enclave as it was built",
    ),
    Field(
        "mr_signer",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="MRSIGNER: digest of the key that signed the enclave",
    ),
    Field(
        "isv_prod_id",
        "integer",
        required=False,
        default=NO_POLICY,
        about="which product of its signer",
    ),
    Field(
        "isv_svn",
        "integer",
        required=False,
        default=NO_POLICY,
        about="the enclave's security version",
    ),
    Field(
        "attributes",
        "bytes",
        required=False,
        default=NO_POLICY,
        about="ATTRIBUTES: flags and XFRM",
    ),
    Field(
        "misc_select",
        "integer",
        required=False,
        default=NO_POLICY,
        about="MISCSELECT: what exceptions may tell the host",
    ),
    Field("config_id", "bytes", required=False, default=NO_POLICY, about="CONFIGID: set at launch"),
    Field(
        "config_svn", "integer", required=False, default=NO_POLICY, about="CONFIGSVN: set at launch"
    ),
    Field("isv_ext_prod_id", "bytes", required=False, default=NO_POLICY, about="extended product"),
    Field("isv_family_id", "bytes", required=False, default=NO_POLICY, about="product family"),
    *PLATFORM_FIELDS,
)
