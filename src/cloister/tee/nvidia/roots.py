"""NVIDIA's pinned roots: SHA-256 of each certificate's DER.

Source: NVIDIA/nvtrust, `guest_tools/gpu_verifiers/local_gpu_verifier/src/verifier/certs/`,
`verifier_device_root.pem` and `verifier_RIM_root.pem`
(https://github.com/NVIDIA/nvtrust/tree/main/guest_tools/gpu_verifiers/local_gpu_verifier).
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEVICE_ROOTS", "NVIDIA_ROOTS", "RIM_ROOTS"]

# CN=NVIDIA Device Identity CA: vouches for GPUs.
DEVICE_ROOTS: Final = {
    "NVIDIA Device Identity CA": bytes.fromhex(
        "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
    ),
}
# CN=NVIDIA CoRIM signing Root CA: vouches for reference integrity manifests.
RIM_ROOTS: Final = {
    "NVIDIA CoRIM signing Root CA": bytes.fromhex(
        "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"
    ),
}
NVIDIA_ROOTS: Final = frozenset(DEVICE_ROOTS.values()) | frozenset(RIM_ROOTS.values())
