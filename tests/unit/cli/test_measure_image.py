"""`cloister measure tdx` and `snp`: reference values of an image."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.cli import measure
from cloister.errors import CloisterError
from cloister.tee.snp.expected import GuestImage, launch_measurement
from cloister.tee.tdx.direct_boot import boot_register, load_options
from cloister.tee.tdx.firmware import TdxFirmware
from unit.tee.snp.test_expected import firmware
from unit.tee.tdx.test_firmware import PAGE, build


def run(*words: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(measure.app, [str(word) for word in words])


def record(*words: str | Path) -> dict[str, Any]:
    """What `--json` prints."""
    done = run(*words, "--json")
    assert done.exit_code == 0, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def code(*words: str | Path) -> str:
    """The code of a command that is refused."""
    error = run(*words).exception
    assert isinstance(error, CloisterError), error
    return error.code


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A firmware image for TDX."""
    path = tmp_path / "OVMF.fd"
    path.write_bytes(build(bytes(range(256)) * 32, [(0, 2 * PAGE, 0x1000, 2 * PAGE, 0, 1)]))
    return path


@pytest.mark.spec("TDL-13", "TDL-23")
def test_what_is_computed_and_what_is_not(image: Path) -> None:
    """Nothing is guessed: what an image does not tell has its reason."""
    found = record("tdx", "--firmware", image)
    expected = TdxFirmware.from_bytes(image.read_bytes())
    assert found["values"] == {"measurement": expected.mrtd("page").hex()}
    assert set(found["not_computed"]) == {"rtmr0", "rtmr1", "rtmr2", "rtmr3"}
    other = record("tdx", "--firmware", image, "--page-order", "section")
    assert other["values"] == {"measurement": expected.mrtd("section").hex()}
    text = run("tdx", "--firmware", image).stdout
    assert f"measurement {expected.mrtd('page').hex()}" in text
    assert "rtmr0       not computed: " in text


@pytest.mark.spec("TDL-21", "TDL-23")
def test_command_line_and_initial_disk(image: Path, tmp_path: Path) -> None:
    """They give RTMR2; an empty command line is one."""
    disk = tmp_path / "initrd"
    disk.write_bytes(b"disk")
    digest = hashlib.sha384(b"disk").digest()
    for text in ("quiet", ""):
        found = record("tdx", "--firmware", image, "--append", text, "--initrd", disk)
        options = load_options(text, initrd=True)
        assert found["values"]["rtmr2"] == boot_register(options, digest).hex()
        assert "rtmr2" not in found["not_computed"]
    assert code("tdx", "--firmware", image, "--initrd", disk) == "config.value"
    words = ("tdx", "--firmware", image, "--append", "", "--initrd", tmp_path / "nowhere")
    assert code(*words) == "config.file"


@pytest.mark.spec("TDL-24")
def test_a_log_is_played(image: Path, tmp_path: Path) -> None:
    """And must agree with what was computed."""
    digest = hashlib.sha384(load_options("quiet", initrd=False)).hexdigest()
    event = {"imr": 2, "event_type": 6, "digest": digest, "event": "", "event_payload": ""}
    log = tmp_path / "log.json"
    log.write_text(json.dumps([event]))
    words = ("tdx", "--firmware", image, "--event-log", log)
    found = record(*words)
    assert found["not_computed"] == {}
    assert found["values"]["rtmr2"] == boot_register(bytes.fromhex(""), bytes.fromhex(digest)).hex()
    assert found["values"]["rtmr0"] == "00" * 48
    assert record(*words, "--append", "quiet")["values"] == found["values"]
    assert code(*words, "--append", "loud") == "config.value"


def test_mistakes_are_named(image: Path, tmp_path: Path) -> None:
    """A file that is none, an order that there is not, a file that is no firmware."""
    assert code("tdx", "--firmware", tmp_path / "nowhere") == "config.file"
    assert code("tdx", "--firmware", image, "--page-order", "random") == "config.value"
    image.write_bytes(b"no firmware")
    assert code("tdx", "--firmware", image) == "firmware.malformed"


def test_snp_is_what_the_library_computes(tmp_path: Path) -> None:
    """The command adds nothing."""
    path = firmware(tmp_path / "OVMF.fd")
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel" * 100)
    words = ("snp", "--ovmf", path, "--vcpus", "2", "--vcpu", "EPYC-Milan")
    plain = GuestImage(path, None, None, "", 2, "EPYC-Milan")
    assert record(*words)["values"] == {"measurement": launch_measurement(plain).hex()}
    direct = GuestImage(path, kernel, None, "quiet", 2, "EPYC-Milan")
    found = record(*words, "--kernel", kernel, "--append", "quiet")
    assert found["values"] == {"measurement": launch_measurement(direct).hex()}
    assert code(*words, "--append", "quiet") == "config.value"
    assert code(*words, "--monitor", "vax") == "config.value"
