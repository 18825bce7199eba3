"""The tool that puts digits where a script looks for MNIST writes MNIST's own format."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from docs.pages import ROOT


def _tool() -> ModuleType:
    path = ROOT / "examples" / "with_mnist_files.py"
    spec = importlib.util.spec_from_file_location("mnist_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_task_gets_a_part_to_train_on_and_all_to_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Type and dimensions stand before the bytes, big-endian."""
    images = np.arange(3 * 2 * 2, dtype="u1").reshape(3, 2, 2)
    labels = np.array([7, 8, 9], "u1")
    file = tmp_path / "digits.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    _tool().write_digits(file, tmp_path / "raw")
    assert {path.name: path.read_bytes() for path in (tmp_path / "raw").iterdir()} == {
        "train-images-idx3-ubyte": bytes.fromhex("00000803 00000001 00000002 00000002 04050607"),
        "train-labels-idx1-ubyte": bytes.fromhex("00000801 00000001 08"),
        "t10k-images-idx3-ubyte": bytes.fromhex("00000803 00000003 00000002 00000002")
        + bytes(range(12)),
        "t10k-labels-idx1-ubyte": bytes.fromhex("00000801 00000003 070809"),
    }
