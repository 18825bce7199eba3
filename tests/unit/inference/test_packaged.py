"""A model that was cut is opened by what checks it."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from cloister.errors import UnsupportedError
from cloister.inference.options import parse_options
from cloister.inference.packaged import open_partitioned
from unit.inference.served import Half

WORDS = ["--package", "p", "--secret", "s", "--signer", "k", "--require", "x<=1", "--name", "m",
         "--middle", "127.0.0.1:9"]  # fmt: skip


@pytest.mark.spec("SRV-47")
def test_the_package_is_checked_before_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was required goes to whoever opens it."""
    seen: list[Any] = []

    def open_package(exposed: Any, secret: Any, *, signers: Any, thresholds: Any) -> str:
        seen.append((str(exposed), str(secret), signers, thresholds))
        return "opened"

    def open_served(package: Any, *, middle: Any, threads: int) -> Half:
        seen.append((package, middle, threads))
        return Half()

    package = types.ModuleType("cloister.partition.package")
    package.open_package = open_package  # type: ignore[attr-defined]
    partitioned = types.ModuleType("cloister.inference.partitioned")
    partitioned.open_served = open_served  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cloister.partition", types.ModuleType("cloister.partition"))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, partitioned.__name__, partitioned)
    open_partitioned(parse_options(WORDS))
    assert seen == [("p", "s", ["k"], ["x<=1"]), ("opened", "127.0.0.1:9", 1)]


def test_without_the_parts_that_cut_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is served instead."""
    monkeypatch.setitem(sys.modules, "cloister.partition.package", None)
    with pytest.raises(UnsupportedError) as caught:
        open_partitioned(parse_options(WORDS))
    assert caught.value.code == "machine.program"
