"""Azure's confidential VMs on TDX: the verifier of TD quotes put into Azure's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.tee.azure.fields import azure_fields
from cloister.tee.azure.verifier import AzureTdxVerifier
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.verifier import TdxVerifier

__all__ = ["TDX_FIELDS_OF_AZURE", "azure_tdx_verifier"]

TDX_FIELDS_OF_AZURE: Final = azure_fields("tdx", TDX_FIELDS)


def azure_tdx_verifier(anchors: Sequence[bytes]) -> AzureTdxVerifier:
    """Return the verifier of VMs whose TD quotes lead to one of these roots of Intel's.

    Raises:
        ConfigError: None was given (`config.missing`).
    """
    return AzureTdxVerifier(anchors, TdxVerifier)
