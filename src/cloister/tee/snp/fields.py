"""The claims of an SNP report that a policy may judge, by AMD's names, and the strict defaults."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, Form, OneOf, Rule, Unchecked, Within

__all__ = ["FIELDS"]

_NO_POLICY: Final = Unchecked("no policy was given")
_FALSE: Final = OneOf((False,))
_TRUE: Final = OneOf((True,))
_ZERO: Final = OneOf((0,))


def _must(path: str, form: Form, default: Rule, about: str) -> Field:
    return Field(path, form, required=True, default=default, about=about)


def _may(path: str, form: Form, about: str, default: Rule = _NO_POLICY) -> Field:
    return Field(path, form, required=False, default=default, about=about)


FIELDS: Final = (
    _must("measurement", "bytes", _NO_POLICY, "MEASUREMENT: what was launched, 48 bytes"),
    _must("report_data", "bytes", _NO_POLICY, "REPORT_DATA: what the guest bound, 64 bytes"),
    _must("debug", "boolean", _FALSE, "POLICY.DEBUG: the host may read the guest"),
    _must("policy.migrate_ma", "boolean", _FALSE, "POLICY.MIGRATE_MA: an agent may move it"),
    _must("reported_tcb", "versions", _NO_POLICY, "REPORTED_TCB: versions the key is bound to"),
    _must("vmpl", "integer", _NO_POLICY, "VMPL: the privilege level that asked, 0 the highest"),
    _must("revocation_checked", "boolean", _TRUE, "AMD's revocation list was looked at"),
    _may("policy.unknown", "integer", "POLICY: bits that nobody here knows", _ZERO),
    _may("status", "text", "AMD says no word about a platform's version", OneOf(("",))),
    _may("advisories", "texts", "AMD names no advisories in evidence", Within(())),
    _may("security_version", "integer", "the SNP firmware's part of REPORTED_TCB"),
    _may("hardware_id", "bytes", "CHIP_ID, 64 bytes; empty where it is masked"),
    _may("chip_id_masked", "boolean", "CHIP_ID is zero"),
    _may("product", "text", "Milan, Genoa or Turin"),
    _may("report_version", "integer", "VERSION of the report"),
    _may("signing_key", "text", "VCEK, a chip's key, or VLEK, a provider's"),
    _may("csp_id", "text", "the provider that a VLEK is for; empty for a VCEK"),
    _may("guest_svn", "integer", "GUEST_SVN of the identity block"),
    _may("policy.abi", "versions", "POLICY: the least firmware interface that the guest accepts"),
    _may("policy.smt", "boolean", "POLICY.SMT: threads may share a core"),
    _may("policy.single_socket", "boolean", "POLICY.SINGLE_SOCKET"),
    _may("policy.cxl_allow", "boolean", "POLICY.CXL_ALLOW: memory may be behind CXL"),
    _may("policy.mem_aes_256_xts", "boolean", "POLICY.MEM_AES_256_XTS is asked for"),
    _may("policy.rapl_dis", "boolean", "POLICY.RAPL_DIS: no power meter is asked for"),
    _may("policy.ciphertext_hiding_dram", "boolean", "POLICY.CIPHERTEXT_HIDING_DRAM is asked for"),
    _may("policy.page_swap_disable", "boolean", "POLICY.PAGE_SWAP_DISABLE is asked for"),
    _may("platform_info.smt_en", "boolean", "PLATFORM_INFO.SMT_EN"),
    _may("platform_info.tsme_en", "boolean", "PLATFORM_INFO.TSME_EN"),
    _may("platform_info.ecc_en", "boolean", "PLATFORM_INFO.ECC_EN"),
    _may("platform_info.rapl_dis", "boolean", "PLATFORM_INFO.RAPL_DIS"),
    _may("platform_info.ciphertext_hiding_dram_en", "boolean", "PLATFORM_INFO: ciphertext hidden"),
    _may("platform_info.alias_check_complete", "boolean", "PLATFORM_INFO.ALIAS_CHECK_COMPLETE"),
    _may("platform_info.tio_en", "boolean", "PLATFORM_INFO.TIO_EN"),
    _may("platform_info.unknown", "integer", "PLATFORM_INFO: bits that nobody here knows"),
    _may("committed_tcb", "versions", "COMMITTED_TCB: nobody can go back behind it"),
    _may("current_tcb", "versions", "CURRENT_TCB: what runs now"),
    _may("launch_tcb", "versions", "LAUNCH_TCB: what ran when the guest was launched"),
    _may("current_version", "versions", "the firmware that runs now"),
    _may("committed_version", "versions", "the firmware behind which nobody can go back"),
    _may("family_id", "bytes", "FAMILY_ID of the identity block"),
    _may("image_id", "bytes", "IMAGE_ID of the identity block"),
    _may("host_data", "bytes", "HOST_DATA: what the host gave at launch, 32 bytes"),
    _may("id_key_digest", "bytes", "ID_KEY_DIGEST: who signed the identity block"),
    _may("author_key_en", "boolean", "AUTHOR_KEY_EN: somebody signed the identity key"),
    _may("author_key_digest", "bytes", "AUTHOR_KEY_DIGEST: who signed the identity key"),
    _may("report_id", "bytes", "REPORT_ID of this guest"),
    _may("report_id_ma", "bytes", "REPORT_ID_MA of its migration agent"),
    _may("cpuid.family", "integer", "CPUID family of the processor, version 3 and later"),
    _may("cpuid.model", "integer", "CPUID model"),
    _may("cpuid.stepping", "integer", "CPUID stepping"),
    _may("launch_mit_vector", "integer", "LAUNCH_MIT_VECTOR, version 5 and later"),
    _may("current_mit_vector", "integer", "CURRENT_MIT_VECTOR, version 5 and later"),
)
