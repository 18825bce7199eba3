"""The claims of NVIDIA GPUs: what a policy may judge, and what is asked where there is none.

Names are those of NVIDIA's own claims where it has one. Fields of several GPUs are lists of what
is found among them, each value once: `Within` says what may be in such a list.

Spec: nvidia-evidence-v1, clause NV-40.
"""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, Form, OneOf, Rule, Unchecked, Within

__all__ = ["FIELDS"]

_NO_POLICY: Final = Unchecked("no policy was given")


def _must(path: str, form: Form, default: Rule, about: str) -> Field:
    return Field(path, form, required=True, default=default, about=about)


def _may(path: str, form: Form, default: Rule, about: str) -> Field:
    return Field(path, form, required=False, default=default, about=about)


FIELDS: Final = (
    _must("report_data", "bytes", _NO_POLICY, "the nonce that every GPU signed"),
    _must("debug", "boolean", OneOf((False,)), "whether a GPU's certificate says debug"),
    _must(
        "measres",
        "text",
        OneOf(("success",)),
        "whether each GPU measures what the manifests of its driver and VBIOS say: success, fail,"
        " or unknown where a manifest was not given",
    ),
    _must(
        "revocation",
        "text",
        OneOf(("good",)),
        "whether lists or OCSP vouch for every certificate but the roots: good or unknown",
    ),
    _may(
        "measurement", "bytes", _NO_POLICY, "the firmware that signs for the GPUs, where the same"
    ),
    _may("dbgstat", "text", OneOf(("disabled",)), "disabled where the manifests show that"),
    _may("mismatched", "texts", Within(()), "measurements that differ, as manifest and index"),
    _may(
        "dice_flags",
        "texts",
        Within(("fixedWidth", "notConfigured")),
        "operational flags of the GPUs' certificates",
    ),
    _may("gpus", "integer", _NO_POLICY, "how many GPUs there are"),
    _may("arch", "texts", _NO_POLICY, "their architectures"),
    _may("hwmodel", "texts", _NO_POLICY, "their chips"),
    _may("ueid", "texts", _NO_POLICY, "serial numbers of their leaves, new with each firmware"),
    _may("chip_serial", "texts", _NO_POLICY, "serial numbers of their chips' certificates"),
    _may("driver_version", "texts", _NO_POLICY, "versions of their driver"),
    _may("vbios_version", "texts", _NO_POLICY, "versions of their VBIOS"),
    _may("fwid", "texts", _NO_POLICY, "firmware that signs for them"),
    _may("feature_flag", "texts", _NO_POLICY, "mode that the driver set, as in the report"),
    _may("protected_pcie_status", "texts", _NO_POLICY, "protected PCIe, as in the report"),
    _may("hardware_id", "bytes", _NO_POLICY, "the chip's serial number, where there is one GPU"),
)
