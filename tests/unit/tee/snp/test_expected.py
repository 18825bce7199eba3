"""Reference values from an image, without a first run."""

import builtins
import hashlib
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import ConfigError, MissingExtraError, extra_hint
from cloister.tee.snp.expected import GuestImage, launch_measurement

_HASHES = "7255371f-3a3b-4b04-927b-1da6efa8d454"
_RESET = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
_FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"


def entry(name: str, data: bytes) -> bytes:
    return data + struct.pack("<H", len(data) + 18) + uuid.UUID(name).bytes_le


def firmware(path: Path, *, hashes: bool = True) -> Path:
    """The least firmware that the computation takes: 4 KiB with OVMF's table at its end."""
    sections = [(0x801000, 0x1000, 2), (0x802000, 0x1000, 3)]
    if hashes:
        sections.append((0x803000, 0x1000, 0x10))
    metadata = b"ASEV" + struct.pack("<III", 16 + 12 * len(sections), 1, len(sections))
    metadata += b"".join(struct.pack("<III", *section) for section in sections)
    table = entry(_METADATA, struct.pack("<I", 4096)) + entry(_RESET, struct.pack("<I", 0xFFFFF0))
    table += entry(_HASHES, struct.pack("<II", 0x803400, 0x400)) if hashes else b""
    table += struct.pack("<H", len(table) + 18) + uuid.UUID(_FOOTER).bytes_le
    path.write_bytes(metadata.ljust(4096 - 32 - len(table), b"\0") + table + bytes(32))
    return path


@pytest.fixture
def image(tmp_path: Path) -> dict[str, Any]:
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    return {
        "firmware": firmware(tmp_path / "OVMF.fd"),
        "kernel": tmp_path / "kernel",
        "initrd": tmp_path / "initrd",
        "command_line": "console=ttyS0",
        "vcpus": 2,
        "vcpu": "EPYC-Milan",
    }


def test_everything_of_an_image_is_measured(image: dict[str, Any], tmp_path: Path) -> None:
    """Each part gives another measurement, and the same image the same."""
    other = tmp_path / "other"
    other.write_bytes(b"other")
    firmwares = tmp_path / "other.fd"
    content = image["firmware"].read_bytes()
    firmwares.write_bytes(content[:2000] + b"\1" + content[2001:])
    changes: list[dict[str, Any]] = [
        {},
        {"firmware": firmwares},
        {"kernel": other},
        {"initrd": other},
        {"initrd": None},
        {"command_line": "console=ttyS0 debug"},
        {"kernel": None, "initrd": None, "command_line": ""},
        {"vcpus": 3},
        {"vcpu": "EPYC-Genoa"},
        {"guest_features": 0x21},
        {"monitor": "ec2"},
        {"monitor": "gce"},
    ]
    found = [launch_measurement(GuestImage(**image | change)) for change in changes]
    assert {len(each) for each in found} == {48}
    assert len(set(found)) == len(found)
    assert launch_measurement(GuestImage(**image)) == found[0]


def test_the_firmware_pages_come_first(image: dict[str, Any]) -> None:
    """The chain of page records, as AMD defines it, begins with the firmware (table 70)."""
    from sevsnpmeasure.guest import calc_snp_ovmf_hash  # noqa: PLC0415  # an extra

    page = image["firmware"].read_bytes()
    content = hashlib.sha384(page).digest()
    record = bytes(48) + content + struct.pack("<HBBIQ", 0x70, 1, 0, 0, 0xFFFFF000)
    assert calc_snp_ovmf_hash(str(image["firmware"])) == hashlib.sha384(record).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": None},
        {"kernel": None, "initrd": None},
        {"vcpus": 0},
        {"vcpus": 513},
        {"guest_features": 0},
        {"vcpu": "EPYC-Unheard"},
    ],
)
def test_what_cannot_be_meant(image: dict[str, Any], change: dict[str, Any]) -> None:
    """An initrd that no kernel gets, no processors, another mode, another processor."""
    with pytest.raises(ConfigError) as e:
        launch_measurement(GuestImage(**image | change))
    assert e.value.code == "config.value"


@pytest.mark.parametrize("content", [None, b"", bytes(4096), b"\xff" * 100])
def test_what_is_no_firmware(image: dict[str, Any], content: bytes | None) -> None:
    """Missing, empty, without a table."""
    if content is None:
        image["firmware"].unlink()
    else:
        image["firmware"].write_bytes(content)
    with pytest.raises(ConfigError) as e:
        launch_measurement(GuestImage(**image))
    assert e.value.code == "config.file"


def test_a_firmware_that_measures_no_kernel_is_refused(
    image: dict[str, Any], tmp_path: Path
) -> None:
    """Otherwise the kernel would silently stay out of the measurement."""
    image["firmware"] = firmware(tmp_path / "plain.fd", hashes=False)
    with pytest.raises(ConfigError) as e:
        launch_measurement(GuestImage(**image))
    assert e.value.code == "config.file"


def test_the_extra_is_named(image: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sevsnpmeasure"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError) as e:
        launch_measurement(GuestImage(**image))
    assert (e.value.code, e.value.hint) == ("extra.missing", extra_hint("snp-measure"))
