"""What genuine values of each kind's claims look like: lengths, words, names of parts.

Nothing is judged by this. It tells a policy that compares with something that evidence never says,
which refuses everything and looks as if it checked, from one that means what it says.

Spec: evidence-policy-v1, clause EVP-23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["SHAPES", "Shape", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What values of one claim can be.

    Attributes:
        sizes: Lengths of byte strings; empty where any may be.
        words: All texts that there are; None where they are not known.
        pattern: What every text matches as a whole; empty for anything.
        example: A text that matches, for messages.
        parts: Names that versions may have; empty where they are not known.
    """

    sizes: frozenset[int] = frozenset()
    words: frozenset[str] | None = None
    pattern: str = ""
    example: str = ""
    parts: frozenset[str] = frozenset()


_ANY: Final = Shape()
_FACTS = Mapping[str, Shape]


def _octets(*sizes: int) -> Shape:
    return Shape(sizes=frozenset(sizes))


def _words(*words: str) -> Shape:
    return Shape(words=frozenset(words))


_SHA256, _SHA384 = _octets(32), _octets(48)
_ARM_DIGEST: Final = _octets(32, 48, 64)
_INTEL_STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
_RELAUNCH: Final = ("TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded")
_TCB: Final = frozenset({f"{number:02}" for number in range(1, 17)} | {"pcesvn"})
_AMD_TCB: Final = frozenset(
    {"bootloader", "tee", "snp", "microcode", "fmc", "spl4", "spl5", "spl6", "spl7"}
)
_INTEL: Final[_FACTS] = {
    "report_data": _octets(64),
    "status": _words(*_INTEL_STATUSES),
    "advisories": Shape(pattern=r"INTEL-SA-[0-9]{5}", example="INTEL-SA-00615"),
    "hardware_id": _octets(16),
    "fmspc": _octets(6),
    "platform_instance_id": _octets(0, 16),
    "tcb": Shape(parts=_TCB),
}
_SGX: Final[_FACTS] = {
    **_INTEL,
    "measurement": _SHA256,
    "mr_signer": _SHA256,
    "attributes": _octets(16),
    "config_id": _octets(64),
    "isv_ext_prod_id": _octets(16),
    "isv_family_id": _octets(16),
}
_TDX: Final[_FACTS] = {
    **_INTEL,
    "status": _words(*_INTEL_STATUSES, *_RELAUNCH),
    "measurement": _SHA384,
    **{f"rtmr{number}": _SHA384 for number in range(4)},
    "mr_service_td": _octets(0, 48),
    "xfam": _octets(8),
    "mr_config_id": _SHA384,
    "mr_owner": _SHA384,
    "mr_owner_config": _SHA384,
    "mr_seam": _SHA384,
    "td_id": _SHA256,
    "event_log.format": _words("none", "ccel", "dstack"),
}
_SNP: Final[_FACTS] = {
    "measurement": _SHA384,
    "report_data": _octets(64),
    "status": _words(""),
    "advisories": _words(),
    "hardware_id": _octets(0, 64),
    "product": _words("Milan", "Genoa", "Turin"),
    "signing_key": _words("VCEK", "VLEK"),
    "family_id": _octets(16),
    "image_id": _octets(16),
    "host_data": _SHA256,
    "id_key_digest": _SHA384,
    "author_key_digest": _SHA384,
    "report_id": _SHA256,
    "report_id_ma": _SHA256,
    **{
        f"{name}_tcb": Shape(parts=_AMD_TCB)
        for name in ("reported", "committed", "current", "launch")
    },
    "current_version": Shape(parts=frozenset({"major", "minor", "build"})),
    "committed_version": Shape(parts=frozenset({"major", "minor", "build"})),
    "policy.abi": Shape(parts=frozenset({"major", "minor"})),
}
_QUOTE: Final[_FACTS] = {
    "secure_boot": _words("on", "off", "unknown"),
    "pcr_digest": _octets(20, 32, 48, 64),
    **{f"pcrs.sha256.{index}": _SHA256 for index in range(24)},
    **{f"pcrs.sha384.{index}": _SHA384 for index in range(24)},
}
_EXTRA_DATA: Final = _octets(*range(65))
_TPM: Final[_FACTS] = {
    **_QUOTE,
    "measurement": _SHA256,
    "report_data": _EXTRA_DATA,
    "status": _words(""),
    "ak": _SHA256,
}
_NVIDIA: Final[_FACTS] = {
    "report_data": _SHA256,
    "measurement": _octets(0, 48),
    "measres": _words("success", "fail", "unknown"),
    "revocation": _words("good", "unknown"),
    "dbgstat": _words("disabled", "enabled", "unknown"),
    "arch": _words("HOPPER", "BLACKWELL"),
    "fwid": Shape(pattern=r"[0-9a-f]{96}", example="96 lower-case hex digits"),
}
_NITRO: Final[_FACTS] = {
    "measurement": _SHA384,
    **{f"pcrs.{index}": _SHA384 for index in range(1, 32)},
}
_CCA: Final[_FACTS] = {
    "measurement": _ARM_DIGEST,
    "report_data": _octets(64),
    "hardware_id": _octets(33),
    "implementation_id": _SHA256,
    "personalization_value": _octets(64),
    **{f"extensible.{index}": _ARM_DIGEST for index in range(4)},
}
_SIM: Final[_FACTS] = {"measurement": _SHA256, "report_data": _octets(64)}
_COMMON: Final = frozenset({"measurement", "status", "advisories", "hardware_id"})


def _azure(platform: str, inner: _FACTS) -> _FACTS:
    """Common claims keep their names, the others lie below their parts' names."""
    return {
        **{
            name if name in _COMMON else f"{platform}.{name}": shape
            for name, shape in inner.items()
            if name != "report_data"
        },
        **{f"tpm.{name}": shape for name, shape in _QUOTE.items()},
        "report_data": _EXTRA_DATA,
        "ak": _SHA256,
        "user_data": _octets(64),
    }


SHAPES: Final[Mapping[str, _FACTS]] = MappingProxyType(
    {
        "sim": _SIM,
        "sgx": _SGX,
        "tdx": _TDX,
        "snp": _SNP,
        "tpm": _TPM,
        "azure-snp": _azure("snp", _SNP),
        "azure-tdx": _azure("tdx", _TDX),
        "nvidia": _NVIDIA,
        "nitro": _NITRO,
        "cca": _CCA,
    }
)


def shape_of(kind: str, path: str) -> Shape:
    """Return what is known of a claim's values; nothing where nothing is known."""
    return SHAPES.get(kind, {}).get(path, _ANY)
