"""Intel's pinned root: the SHA-256 of the certificate's DER, with where Intel publishes it."""

from __future__ import annotations

from typing import Final

__all__ = ["INTEL_ROOTS", "INTEL_SGX_ROOT_CA"]

# Intel SGX Root CA, valid 2018-05-21 to 2049-12-31, P-256; also the root of TDX. Published at
# https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer
INTEL_SGX_ROOT_CA: Final = bytes.fromhex(
    "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
)
INTEL_ROOTS: Final = frozenset({INTEL_SGX_ROOT_CA})
