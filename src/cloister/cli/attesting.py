"""Which attester makes evidence of a kind, from what the user named; the command is `evidence`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.attestation.evidence import Endorsement, Evidence
    from cloister.tee.azure.layout import Platform
    from cloister.tee.offers import Machine
    from cloister.tee.places import Places
    from cloister.tee.tpm.attester import PersistentAk, PrimaryAk, TemplateAk, TpmAttester
    from cloister.tee.tpm.commands import Tpm

__all__ = [
    "GRAMINE",
    "METADATA",
    "NVML",
    "REGISTERS",
    "TPM",
    "TSM",
    "Collected",
    "Wish",
    "collect",
    "collect_composite",
    "machine_at",
    "octets",
    "places",
]

_REPORT_DATA_BYTES: Final = 64
_GPU_NONCE_BYTES: Final = 32

TSM = typer.Option(
    None, envvar="CLOISTER_TSM", help="For tdx and snp: configfs-tsm, where it is elsewhere."
)
GRAMINE = typer.Option(
    None, envvar="CLOISTER_GRAMINE", help="For sgx: Gramine's files, where they are elsewhere."
)
TPM = typer.Option(
    None,
    envvar="CLOISTER_TPM",
    help="For tpm and azure: the device or socket; default: /dev/tpmrm0.",
)
METADATA = typer.Option(
    None, envvar="CLOISTER_METADATA", help="For azure-tdx: the metadata service, as http://HOST."
)
NVML = typer.Option(None, envvar="CLOISTER_NVML", help="For nvidia: NVML, where it is elsewhere.")
REGISTERS = typer.Option(
    None, envvar="CLOISTER_REGISTERS", help="TDX's registers in sysfs, where they are elsewhere."
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What evidence is wanted.

    Attributes:
        places: Where the interfaces are.
        domain: For `sim`: the trust domain; None for the one of the environment.
        vmpl: For `snp`.
        key: For `tpm`: `ecc`, `rsa`, a persistent handle, or `nv:` and an index.
        certificate: For `tpm`: NV index of the key's certificate; empty for none.
        bank: For `tpm`: of the registers.
        pcrs: For `tpm` and Azure: numbers with commas; empty for all.
        log: For `tpm` and Azure: the firmware's log; None for none.
        user_data: For Azure: 64 bytes that a new report shall cover; empty for none.
    """

    places: Places
    domain: Path | None = None
    vmpl: int = 0
    key: str = "ecc"
    certificate: str = ""
    bank: str = "sha256"
    pcrs: str = ""
    log: Path | None = None
    user_data: bytes = b""


@dataclass(frozen=True, slots=True)
class Collected:
    """Evidence, and what came with it.

    Attributes:
        evidence: As it travels.
        endorsements: Untrusted.
        key: PEM of a TPM's attestation key, for whoever pins it; empty for other kinds.
    """

    evidence: Evidence
    endorsements: tuple[Endorsement, ...] = field(default=())
    key: bytes = b""


def collect(kind: str, nonce: bytes, wish: Wish) -> Collected:
    """Have this machine make evidence over a nonce.

    Raises:
        ConfigError: The nonce, or something of the wish, is not for this kind (`config.value`).
        CloisterError: As the kind's attester raises.
    """
    ask = _ATTESTERS.get(kind)
    if ask is None:
        raise ConfigError(
            f"evidence of {kind} is judged here, and not collected",
            code="config.value",
            hint=_ELSEWHERE.get(kind, "cloister doctor shows what this machine offers"),
        )
    return ask(nonce, wish)


def collect_composite(kind: str, nonce: bytes, gpu_nonce: bytes, wish: Wish) -> Collected:
    """Have this machine's processor and its GPUs make evidence, each for the other.

    Args:
        kind: Of the processor's evidence.
        nonce: The 64 bytes that it would bind, were there no GPU.
        gpu_nonce: The verifier's 32 bytes.
        wish: Where both are asked, and what else is wanted of the processor's.

    Raises:
        ConfigError: Another length, or a kind that is no processor's (`config.value`).
        UnsupportedError: Too many GPUs for one envelope (`machine.attester`).
        CloisterError: As either attester raises.
    """
    from cloister.attestation.evidence import ReportData
    from cloister.tee.composite import attest_composite
    from cloister.tee.nvidia.attester import NvidiaAttester

    if kind not in _ATTESTERS or kind == "nvidia":
        raise ConfigError(
            f"--gpu-nonce goes with a processor's evidence, not with {kind}", code="config.value"
        )
    if len(gpu_nonce) != _GPU_NONCE_BYTES:
        raise ConfigError("--gpu-nonce takes 32 bytes as 64 hex digits", code="config.value")
    request = ReportData(_whole(nonce))
    processor: list[Collected] = []

    def cpu(report_data: ReportData) -> Evidence:
        processor.append(collect(kind, report_data.value, wish))
        return processor[-1].evidence

    gpu = NvidiaAttester(wish.places.nvml).collect
    both = attest_composite(cpu, gpu, nonce=gpu_nonce, request=request).to_envelope()
    [found] = processor
    return Collected(both, found.endorsements, found.key)


def places(
    *,
    tsm: Path | None = None,
    gramine: Path | None = None,
    tpm: Path | None = None,
    metadata: str | None = None,
    nvml: Path | None = None,
    registers: Path | None = None,
) -> Places:
    """Return where the interfaces are; what is None is where this system has it."""
    from cloister.tee.places import Places

    usual = Places()
    return Places(
        tsm=tsm or usual.tsm,
        gramine=gramine or usual.gramine,
        tpm=tpm or usual.tpm,
        metadata=metadata or usual.metadata,
        nvml=nvml or usual.nvml,
        registers=registers or usual.registers,
    )


def machine_at(
    *,
    tsm: Path | None,
    gramine: Path | None,
    tpm: Path | None,
    metadata: str | None,
    nvml: Path | None,
) -> Machine | None:
    """Return a machine with interfaces where they were named; None where nothing was."""
    if not any((tsm, gramine, tpm, metadata, nvml)):
        return None
    from cloister.tee.offers import Machine

    return Machine(places(tsm=tsm, gramine=gramine, tpm=tpm, metadata=metadata, nvml=nvml))


def octets(text: str, name: str) -> bytes:
    """Read hex digits.

    Raises:
        ConfigError: They are none (`config.value`).
    """
    try:
        return bytes.fromhex(text)
    except ValueError as e:
        raise ConfigError(f"{name} takes hex digits", code="config.value") from e


def _sim(nonce: bytes, wish: Wish) -> Collected:
    from cloister.attestation.evidence import ReportData
    from cloister.tee.sim.attester import SimAttester

    report_data = ReportData(_whole(nonce))
    platform = settings.find_domain(wish.domain).platform()
    return Collected(SimAttester(platform).collect(report_data))


def _sgx(nonce: bytes, wish: Wish) -> Collected:
    from cloister.attestation.evidence import ReportData
    from cloister.tee.sgx.attester import SgxAttester

    report_data = ReportData(_whole(nonce))
    return Collected(SgxAttester(root=wish.places.gramine).collect(report_data))


def _tdx(nonce: bytes, wish: Wish) -> Collected:
    from cloister.attestation.evidence import ReportData
    from cloister.tee.tdx.attester import TdxAttester
    from cloister.tee.tsm import TsmInterface

    report_data = ReportData(_whole(nonce))
    return Collected(TdxAttester(TsmInterface(root=wish.places.tsm)).collect(report_data))


def _snp(nonce: bytes, wish: Wish) -> Collected:
    from cloister.attestation.evidence import ReportData
    from cloister.tee.snp.attester import SnpAttester
    from cloister.tee.tsm import TsmInterface

    report_data = ReportData(_whole(nonce))
    attester = SnpAttester(TsmInterface(root=wish.places.tsm), vmpl=wish.vmpl)
    found = attester.collect_all(report_data)
    return Collected(found.evidence, found.endorsements)


def _tpm(nonce: bytes, wish: Wish) -> Collected:
    from cloister.tee.tpm.layout import TpmEvidence

    with _tpm_open(wish) as tpm:
        found = _tpm_attester(tpm, wish).collect_all(_some(nonce))
    key = base64.encodebytes(TpmEvidence.from_bytes(found.evidence.body).ak)
    pem = b"-----BEGIN PUBLIC KEY-----\n" + key + b"-----END PUBLIC KEY-----\n"
    return Collected(found.evidence, found.endorsements, pem)


def _azure(platform: Platform) -> Callable[[bytes, Wish], Collected]:
    def ask(nonce: bytes, wish: Wish) -> Collected:
        from cloister.tee.azure.attester import AzureAttester
        from cloister.tee.azure.metadata import MetadataService

        with _tpm_open(wish) as tpm:
            attester = AzureAttester(
                tpm,
                platform,
                metadata=MetadataService(wish.places.metadata),
                user_data=wish.user_data,
                pcrs=_pcrs(wish.pcrs),
                log=_log(wish.log),
            )
            return Collected(attester.collect_over(_some(nonce)))

    return ask


def _nvidia(nonce: bytes, wish: Wish) -> Collected:
    from cloister.tee.nvidia.attester import NvidiaAttester

    if len(nonce) != _GPU_NONCE_BYTES:
        raise _length("32 bytes as 64", 32)
    return Collected(NvidiaAttester(wish.places.nvml).collect(nonce))


_ATTESTERS: Final[dict[str, Callable[[bytes, Wish], Collected]]] = {
    "sim": _sim,
    "sgx": _sgx,
    "tdx": _tdx,
    "snp": _snp,
    "tpm": _tpm,
    "azure-snp": _azure("snp"),
    "azure-tdx": _azure("tdx"),
    "nvidia": _nvidia,
}
_ELSEWHERE: Final = {
    "nitro": "inside the enclave AWS's tools ask /dev/nsm; the document they get is judged here",
    "cca": "the realm's own tools ask for a token, which is judged here",
}


@contextmanager
def _tpm_open(wish: Wish) -> Iterator[Tpm]:
    from cloister.tee.tpm.commands import Tpm
    from cloister.tee.tpm.transport import TpmPath

    with TpmPath(wish.places.tpm) as transport:
        yield Tpm(transport)


def _tpm_attester(tpm: Tpm, wish: Wish) -> TpmAttester:
    from cloister.tee.tpm.attester import TpmAttester
    from cloister.tee.tpm.layout import BANKS

    bank = next((each for each in BANKS if each == wish.bank), None)
    if bank is None:
        raise ConfigError(
            f"there is no bank {wish.bank!r}", code="config.value", hint=", ".join(BANKS)
        )
    return TpmAttester(
        tpm,
        _key(wish.key),
        bank=bank,
        pcrs=_pcrs(wish.pcrs),
        certificate=_place(wish.certificate) if wish.certificate else None,
        log=_log(wish.log),
    )


def _key(text: str) -> PrimaryAk | TemplateAk | PersistentAk:
    from cloister.tee.tpm.attester import PersistentAk, PrimaryAk, TemplateAk

    if text == "ecc":
        return PrimaryAk("ecc")
    if text == "rsa":
        return PrimaryAk("rsa")
    if text.startswith("nv:"):
        return TemplateAk(_place(text.removeprefix("nv:")))
    return PersistentAk(_place(text))


def _place(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as e:
        raise ConfigError(
            f"{text!r} is no handle", code="config.value", hint="such as 0x81000003"
        ) from e


def _pcrs(text: str) -> tuple[int, ...]:
    from cloister.tee.tpm.layout import PCRS

    if not text:
        return tuple(range(PCRS))
    parts = text.split(",")
    if not all(part.isdecimal() and part.isascii() for part in parts):
        raise ConfigError(
            "--pcrs takes numbers from 0 to 23, ascending", code="config.value", hint="0,1,2,7"
        )
    return tuple(int(part) for part in parts)


def _log(path: Path | None) -> bytes:
    from cloister.tee.tpm.attester import read_firmware_log

    return b"" if path is None else read_firmware_log(path)


def _whole(nonce: bytes) -> bytes:
    if len(nonce) != _REPORT_DATA_BYTES:
        raise _length("64 bytes as 128", 64)
    return nonce


def _some(nonce: bytes) -> bytes:
    if not 0 < len(nonce) <= _REPORT_DATA_BYTES:
        raise _length("1 to 64 bytes as 2 to 128", 32)
    return nonce


def _length(what: str, usual: int) -> ConfigError:
    return ConfigError(
        f"--nonce takes {what} hex digits for this kind",
        code="config.value",
        hint=f"python3 -c 'import secrets; print(secrets.token_hex({usual}))'",
    )
