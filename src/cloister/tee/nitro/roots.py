"""AWS's pinned root for Nitro Enclaves: SHA-256 of the certificate's DER.

Source: https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip, whose fingerprint is
in AWS's documentation ("Verifying the root of trust").
"""

from __future__ import annotations

from typing import Final

__all__ = ["NITRO_ROOTS"]

# The root is called aws.nitro-enclaves, generation 1.
NITRO_ROOTS: Final = frozenset(
    {bytes.fromhex("641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")}
)
