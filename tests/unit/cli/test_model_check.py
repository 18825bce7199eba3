"""`cloister model check`: what it needs to be told; packages themselves are in test_model_cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.partition.package import write_exposed
from cloister.testing.partition import SampleCut
from unit.cli.conftest import Door


@pytest.fixture
def exposed(door: Door) -> Path:
    folder = door.folder / "exposed"
    write_exposed(folder, SampleCut().make())
    return folder


SIGNER = SampleCut().key.public.text


def test_a_package_is_checked_without_runtime_or_key_service(door: Door, exposed: Path) -> None:
    """Its parts here are texts: nothing of it is run."""
    record = door.record("model", "check", exposed, "--signer", SIGNER)
    assert record["model"]["name"] == "sample"
    assert record["held"][0] == {
        "threshold": "decoder.ssim-gain.high<=0.5",
        "knows": "representation",
        "value": 0.36,
    }
    assert "not checked" in door.call("model", "check", exposed, "--signer", SIGNER).stdout


def test_a_signer_must_be_named(door: Door, exposed: Path) -> None:
    """There is no check of nobody's package."""
    assert door.call("model", "check", exposed).exit_code != 0
    found = door.call("model", "check", exposed, "--signer", "somebody")
    assert getattr(found.exception, "code", None) == "wire.malformed"


def test_a_changed_file_is_found(door: Door, exposed: Path) -> None:
    """And the message says which."""
    (exposed / "middle.onnx").write_bytes(b"middle WEIGHTS")
    found = door.call("model", "check", exposed, "--signer", SIGNER)
    assert getattr(found.exception, "code", None) == "package.tampered"
    assert "middle.onnx" in str(found.exception)


def test_a_volume_of_something_else_is_no_secret_side(
    door: Door, exposed: Path, plain: Path
) -> None:
    """It opens, and has no plan."""
    door.record("volume", "seal", plain, "store")
    found = door.call("model", "check", exposed, "--signer", SIGNER, "--secret", "store")
    assert getattr(found.exception, "code", None) == "config.missing"
