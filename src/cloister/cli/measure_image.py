"""`cloister measure tdx` and `snp`: reference values computed from an image, not from a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import typer

from cloister.cli import console
from cloister.errors import ConfigError

__all__ = ["snp", "tdx"]

_JSON = typer.Option(False, "--json", help="One JSON object.")
_MAX_LOG: Final = 1 << 20
_RTMR0: Final = "the monitor's tables and the firmware's variables are in it"
_RTMR1: Final = "the kernel is in it with what the monitor wrote into its header"
_RTMR2: Final = "no command line was given: --append, or --append '' for an empty one"
_RTMR3: Final = "what runs inside extends it; zero where nothing does"


def tdx(  # noqa: PLR0917  # options: typer passes them by name
    firmware: Path = typer.Option(help="The image of the firmware, such as OVMF.fd, whole."),
    page_order: str = typer.Option(
        "page", help="page: as Linux's KVM measures; section: all pages of a section added first."
    ),
    append: str | None = typer.Option(
        None, help="Where QEMU passes the kernel: its -append; gives RTMR2 as well."
    ),
    initrd: Path | None = typer.Option(None, help="Its -initrd."),
    event_log: Path | None = typer.Option(
        None, help="A log to play: its registers, for which whoever made the log vouches."
    ),
    as_json: bool = _JSON,
) -> None:
    """Compute MRTD from a firmware image; RTMR2 for a kernel that QEMU passes; say what is not."""
    from cloister.tee.tdx.direct_boot import boot_register, load_options
    from cloister.tee.tdx.firmware import MAX_IMAGE_BYTES, PageOrder, TdxFirmware

    orders: tuple[PageOrder, ...] = get_args(PageOrder)
    order = next((each for each in orders if each == page_order), None)
    if order is None:
        raise ConfigError(
            f"--page-order takes {' or '.join(orders)}, not {page_order!r}", code="config.value"
        )
    if initrd is not None and append is None:
        raise ConfigError("--initrd goes with --append", code="config.value", hint=_RTMR2)
    image = TdxFirmware.from_bytes(_read(firmware, MAX_IMAGE_BYTES))
    values = {"measurement": image.mrtd(order)}
    missing = {"rtmr0": _RTMR0, "rtmr1": _RTMR1, "rtmr2": _RTMR2, "rtmr3": _RTMR3}
    if append is not None:
        options = load_options(append, initrd=initrd is not None)
        values["rtmr2"] = boot_register(options, None if initrd is None else _sha384(initrd))
    if event_log is not None:
        values |= _registers(event_log, values)
    for name in values:
        missing.pop(name, None)
    _tell("tdx", values, missing, as_json=as_json)


def snp(  # noqa: PLR0917  # options: typer passes them by name
    ovmf: Path = typer.Option(help="The image of the firmware, whole."),
    vcpus: int = typer.Option(help="How many processors the guest is launched with."),
    vcpu: str = typer.Option(help="Their model as QEMU names it, such as EPYC-Milan."),
    kernel: Path | None = typer.Option(None, help="QEMU's -kernel, where it passes one."),
    initrd: Path | None = typer.Option(None, help="QEMU's -initrd."),
    append: str = typer.Option("", help="QEMU's -append."),
    guest_features: int = typer.Option(1, help="SEV_FEATURES; 1 is SNP and nothing else."),
    monitor: str = typer.Option("qemu", help="Who launches it: qemu, ec2 or gce."),
    as_json: bool = _JSON,
) -> None:
    """Compute MEASUREMENT of an SEV-SNP guest from its image; needs the extra snp-measure."""
    from cloister.tee.snp.expected import GuestImage, Monitor, launch_measurement

    monitors: tuple[Monitor, ...] = get_args(Monitor)
    named = next((each for each in monitors if each == monitor), None)
    if named is None:
        raise ConfigError(
            f"--monitor takes {', '.join(monitors)}, not {monitor!r}", code="config.value"
        )
    image = GuestImage(ovmf, kernel, initrd, append, vcpus, vcpu, guest_features, named)
    _tell("snp", {"measurement": launch_measurement(image)}, {}, as_json=as_json)


def _registers(path: Path, values: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what a log gives; where a register was computed as well, both must agree."""
    from cloister.tee.tdx.eventlog import read_log, replay

    data = _read(path, _MAX_LOG)
    form = "dstack" if data.lstrip()[:1] in {b"[", b"{"} else "ccel"
    played = {f"rtmr{n}": each for n, each in enumerate(replay(read_log(form, data)))}
    for name, value in values.items():
        if name in played and played[name] != value:
            raise ConfigError(
                f"the log gives another {name} than command line and initial disk",
                code="config.value",
                hint="leave one of the two out",
            )
    return played


def _tell(
    kind: str, values: Mapping[str, bytes], missing: Mapping[str, str], *, as_json: bool
) -> None:
    found = {name: value.hex() for name, value in values.items()}
    if as_json:
        console.emit({"kind": kind, "values": found, "not_computed": dict(missing)})
        return
    for name, value in found.items():
        console.lines(f"{name:<11} {value}")
    for name, reason in missing.items():
        console.lines(f"{name:<11} not computed: {reason}")


def _sha384(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha384").digest()
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if len(data) > max_bytes:
        raise ConfigError(f"{path} has more than {max_bytes} bytes", code="config.value")
    return data
