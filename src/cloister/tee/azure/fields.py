"""The claims of Azure's confidential VMs that a policy may judge, and the strict defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from cloister.attestation.evidence_rules import Field, Form, OneOf, Rule, Unchecked
from cloister.tee.snp.fields import FIELDS as SNP_FIELDS
from cloister.tee.tpm.fields import quote_fields

__all__ = ["SNP_FIELDS_OF_AZURE", "azure_fields"]

_NO_POLICY: Final = Unchecked("no policy was given")
_COMMON: Final = frozenset(
    {"measurement", "debug", "security_version", "status", "advisories", "hardware_id"}
)


def _may(path: str, form: Form, about: str, default: Rule = _NO_POLICY) -> Field:
    return Field(path, form, required=False, default=default, about=about)


_AZURE: Final = (
    Field(
        "report_data",
        "bytes",
        required=True,
        default=_NO_POLICY,
        about="extraData of the vTPM's quote: the nonce",
    ),
    _may("ak", "bytes", "SHA-256 of the vTPM's attestation key's public key info"),
    _may("user_data", "bytes", "user-data that the guest asked to be covered, 64 bytes"),
    _may("vm_configuration.secure-boot", "boolean", "secure-boot of the VM"),
    _may("vm_configuration.console-enabled", "boolean", "console-enabled: a serial console"),
    _may("vm_configuration.tpm-enabled", "boolean", "tpm-enabled", OneOf((True,))),
    _may("vm_configuration.tpm-persisted", "boolean", "tpm-persisted: the vTPM's state is kept"),
    _may("vm_configuration.vmUniqueId", "text", "vmUniqueId"),
    _may("vm_configuration.root-cert-thumbprint", "text", "root-cert-thumbprint"),
)


def azure_fields(platform: str, inner: Sequence[Field]) -> tuple[Field, ...]:
    """Return the fields of a VM on a platform whose own fields are `inner`."""
    return (*_inner(platform, inner), *_AZURE, *quote_fields("tpm."))


def _inner(platform: str, inner: Sequence[Field]) -> Iterator[Field]:
    """Common claims keep their names; the platform's lie below its name."""
    for field in inner:
        if field.path in _COMMON:
            yield field
        elif field.path != "report_data":  # it binds the runtime data and says nothing more
            yield dataclasses.replace(field, path=f"{platform}.{field.path}")


SNP_FIELDS_OF_AZURE: Final = azure_fields("snp", SNP_FIELDS)
