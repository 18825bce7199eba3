"""Which roots of trust this machine offers, by which interface, and what is missing of the others.

Each is asked as its attester would ask, but for nothing: no evidence is made, and nothing leaves
the machine. Whatever goes wrong is an answer, not an error; what cannot be used now is told from
what is not there. Nothing here is evidence.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cloister.errors import CloisterError, UnsupportedError
from cloister.tee.azure.attester import AK_HANDLE, HCL_INDEX
from cloister.tee.azure.layout import HclReport, Platform
from cloister.tee.gramine import require_dcap
from cloister.tee.kernel import KernelFiles
from cloister.tee.nvidia.nvml import Nvml
from cloister.tee.places import Places
from cloister.tee.registry import ROOTS_OF_TRUST
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.layout import Selection
from cloister.tee.tpm.transport import TpmPath
from cloister.tee.tsm import TsmInterface

__all__ = ["Machine", "Offer", "offer_of", "offers"]

_TSM_SINCE: Final = (6, 7)
_PROVIDERS: Final = {"tdx": "tdx_guest", "snp": "sev_guest"}
_GUEST_DEVICES: Final = {
    "tdx": (Path("/dev/tdx_guest"), Path("/dev/tdx-guest")),
    "snp": (Path("/dev/sev-guest"),),
}
_SGX_DEVICES: Final = (Path("/dev/sgx_enclave"), Path("/dev/sgx/enclave"))
_RAW_TPM: Final = Path("/dev/tpm0")
_NSM: Final = Path("/dev/nsm")
_VERIFIED_ONLY: Final = "evidence of this kind is judged here, and not collected"


@dataclass(frozen=True, slots=True)
class Offer:
    """One root of trust, as this machine has it.

    Attributes:
        kind: A root of trust's name.
        offered: Whether `cloister evidence collect` would get evidence here.
        interface: By which interface; where it is not offered, the one that was asked.
        missing: What is missing; empty where it is offered.
        remedy: What to do about that; empty where there is nothing.
        trouble: What went wrong where the interface is there and cannot be used now, so that what
            it offers is not known; else None.
    """

    kind: str
    offered: bool
    interface: str
    missing: str = ""
    remedy: str = ""
    trouble: CloisterError | None = None

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "kind": self.kind,
            "offered": self.offered,
            "interface": self.interface,
            "missing": self.missing,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """What is asked about; another one in tests.

    Attributes:
        places: Where the interfaces are.
        kernel: The kernel's release, such as `6.8.0-45-generic`; this one's by default.
        root: Under which `/dev` is looked at, for hints.
        files: Who answers for the kernel's and Gramine's files; None for those.
    """

    places: Places = field(default_factory=Places)
    kernel: str = field(default_factory=lambda: os.uname().release)
    root: Path = Path("/")
    files: KernelFiles | None = None

    def has(self, *paths: Path) -> Path | None:
        """Return the first of these that is there."""
        found = (self.root / path.relative_to("/") for path in paths)
        return next((each for each in found if os.path.lexists(each)), None)

    @property
    def version(self) -> tuple[int, ...]:
        """The kernel's version as numbers; empty where it cannot be read."""
        parts = self.kernel.split("-")[0].split(".")[:2]
        return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else ()


def offers(machine: Machine) -> list[Offer]:
    """Return an offer for each root of trust, in the order of the registry."""
    return [offer_of(machine, root.name) for root in ROOTS_OF_TRUST]


def offer_of(machine: Machine, kind: str) -> Offer:
    """Return the offer for one root of trust, by its name; no other interface is touched."""
    return _OFFERS[kind](machine)


def _asked(kind: str, interface: str, ask: Callable[[], str]) -> Offer:
    """Ask an interface; it returns what more there is to say of it."""
    try:
        more = ask()
    except UnsupportedError as e:
        return Offer(kind, offered=False, interface=interface, missing=e.public, remedy=_remedy(e))
    except CloisterError as e:
        known = Offer(kind, offered=False, interface=interface, missing=e.public)
        return replace(known, remedy=_remedy(e), trouble=e)
    return Offer(kind, offered=True, interface=f"{interface}{more}")


def _remedy(error: CloisterError) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EPERM}:
        return "run as root, or let this user read and write it"
    hint = error.hint or ""
    return "" if "cloister doctor" in hint else hint  # that is where the reader is


def _sgx(machine: Machine) -> str:
    root = machine.places.gramine
    try:
        require_dcap(root, files=machine.files)
    except UnsupportedError as e:
        if e.__cause__ is None or root.exists():  # an enclave, and not one that attests so
            raise
        device = machine.has(*_SGX_DEVICES)
        raise UnsupportedError(
            f"there is no {root}: this is no enclave under Gramine",
            code="machine.attester",
            hint="run the program under Gramine"
            + (f"; the processor has SGX, {device}" if device else " on a processor with SGX"),
        ) from e
    return ", DCAP"


def _tsm(machine: Machine, kind: str) -> Offer:
    root, provider = machine.places.tsm, _PROVIDERS[kind]

    def ask() -> str:
        try:
            found = TsmInterface(root=root, files=machine.files).provider()
        except UnsupportedError as e:
            if root.exists():
                raise
            raise _without_tsm(machine, kind, e) from e
        if found != provider:
            raise UnsupportedError(
                f"reports are made by {found!r} here, not by {provider!r}",
                code="machine.attester",
            )
        return f", provider {provider}"

    return _asked(kind, f"configfs-tsm, {root}", ask)


def _without_tsm(machine: Machine, kind: str, error: UnsupportedError) -> UnsupportedError:
    """Say why there is no report directory: an old kernel, no configfs, or no such guest."""
    if machine.version and machine.version < _TSM_SINCE:
        sentence = f"Linux {machine.kernel} has no configfs-tsm"
        return UnsupportedError(sentence, code=error.code, hint="Linux 6.7 or newer")
    device = machine.has(*_GUEST_DEVICES[kind])
    if device is not None:
        hint = "mount -t configfs none /sys/kernel/config; modprobe tsm_report (older: tsm)"
        sentence = f"there is {device}, and no {machine.places.tsm}"
        return UnsupportedError(sentence, code=error.code, hint=hint)
    names = {"tdx": "a TDX trust domain", "snp": "an SEV-SNP guest"}
    return UnsupportedError(
        f"there is no {machine.places.tsm}: this is not {names[kind]}",
        code=error.code,
        hint=f"run in {names[kind]}",
    )


@contextmanager
def _tpm_open(machine: Machine) -> Iterator[Tpm]:
    path = machine.places.tpm
    if not path.exists():
        raw = machine.has(_RAW_TPM)
        raise UnsupportedError(
            f"there is no {path}",
            code="machine.attester",
            hint=f"there is {raw}, without its resource manager: a kernel of 4.12 or newer"
            if raw
            else "a machine with a TPM 2.0, physical or virtual",
        )
    with TpmPath(path) as transport:
        yield Tpm(transport)


def _tpm(machine: Machine) -> str:
    with _tpm_open(machine) as tpm:
        tpm.read_pcrs([Selection("sha256", (0,))])
    return ""


def _azure(machine: Machine, platform: Platform) -> Offer:
    def ask() -> str:
        with _tpm_open(machine) as tpm:
            if tpm.nv_public(HCL_INDEX) is None:
                raise UnsupportedError(
                    "the TPM holds no report of Azure's firmware",
                    code="machine.attester",
                    hint="run in a confidential VM of Azure's",
                )
            found = HclReport.from_bytes(tpm.nv_read(HCL_INDEX)).platform
            if found != platform:
                raise UnsupportedError(f"this VM's reports are of {found}", code="machine.attester")
            tpm.read_public(AK_HANDLE).require_attestation_key()
        if platform == "snp":
            return ""
        return f"; TD quotes from {machine.places.metadata}, which was not asked"

    return _asked(f"azure-{platform}", f"Azure's vTPM, {machine.places.tpm}", ask)


def _nvidia(machine: Machine) -> str:
    with Nvml(machine.places.nvml) as nvml:
        gpus = nvml.gpus()
        nvml.require_confidential()
        names = sorted({nvml.architecture(gpu) for gpu in gpus})
    return f", {len(gpus)} of {' and '.join(names)}"


def _verified_only(machine: Machine, kind: str, interface: str, remedy: str) -> Offer:
    there = kind == "nitro" and machine.has(_NSM) is not None
    missing = _VERIFIED_ONLY + (f"; there is {_NSM}" if there else "")
    return Offer(kind, offered=False, interface=interface, missing=missing, remedy=remedy)


_OFFERS: Final[dict[str, Callable[[Machine], Offer]]] = {
    "sim": lambda _: Offer(
        "sim", offered=True, interface="a simulated platform, made by cloister init"
    ),
    "sgx": lambda machine: _asked(
        "sgx", f"Gramine, {machine.places.gramine}", lambda: _sgx(machine)
    ),
    "tdx": lambda machine: _tsm(machine, "tdx"),
    "snp": lambda machine: _tsm(machine, "snp"),
    "tpm": lambda machine: _asked("tpm", f"TPM 2.0, {machine.places.tpm}", lambda: _tpm(machine)),
    "azure-snp": lambda machine: _azure(machine, "snp"),
    "azure-tdx": lambda machine: _azure(machine, "tdx"),
    "nvidia": lambda machine: _asked(
        "nvidia", f"NVML, {machine.places.nvml}", lambda: _nvidia(machine)
    ),
    "nitro": lambda machine: _verified_only(
        machine, "nitro", str(_NSM), "use AWS's tools inside the enclave"
    ),
    "cca": lambda machine: _verified_only(
        machine, "cca", "configfs-tsm, provider arm_cca_guest", ""
    ),
}
