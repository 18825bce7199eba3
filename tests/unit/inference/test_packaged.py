"""A model that was cut is opened by what checks it."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError, UnsupportedError
from cloister.inference.options import parse_options
from cloister.inference.packaged import open_partitioned
from unit.inference.served import Half

KEY = SigningKey(b"k" * 32).public
WORDS = ["--package", "p", "--secret", "s", "--signer", KEY.text, "--require", "x<=1",
         "--name", "m", "--middle", "127.0.0.1:9"]  # fmt: skip


class Doubles:
    """What opens, checks and runs packages, as far as it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Any] = []
        run = types.SimpleNamespace(of_package=self.of_package)
        modules = {
            "cloister.partition": {},
            "cloister.partition.package": {"open_package": self.open_package},
            "cloister.partition.thresholds": {"read_thresholds": lambda texts: ("read", *texts)},
            "cloister.partition.checking": {"Freivalds": lambda: "checked"},
            "cloister.inference.partitioned": {"PartitionedModel": run},
        }
        for name, names in modules.items():
            module = types.ModuleType(name)
            vars(module).update(names)
            monkeypatch.setitem(sys.modules, name, module)

    def open_package(self, exposed: Any, secret: Any, *, signers: Any, thresholds: Any) -> Any:
        self.seen.append((str(exposed), str(secret), [key.text for key in signers], thresholds))
        return types.SimpleNamespace(labels=("a", "b"))

    def of_package(self, package: Any, **more: Any) -> Half:
        self.seen.append((package.labels, more))
        return Half()


@pytest.mark.spec("SRV-47")
def test_the_package_is_checked_before_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was required goes to whoever opens it; its labels come back."""
    doubles = Doubles(monkeypatch)
    model, labels = open_partitioned(parse_options(WORDS))
    assert isinstance(model, Half)
    assert labels == ("a", "b")
    assert doubles.seen == [
        ("p", "s", [KEY.text], ("read", "x<=1")),
        (("a", "b"), {"address": "127.0.0.1:9", "mode": "checked", "threads": 1}),
    ]


@pytest.mark.spec("SRV-47")
def test_a_signer_that_is_no_key_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the package is looked at."""
    doubles = Doubles(monkeypatch)
    with pytest.raises(MalformedError) as caught:
        open_partitioned(parse_options(["anybody" if w == KEY.text else w for w in WORDS]))
    assert caught.value.code == "wire.malformed"
    assert doubles.seen == []


def test_without_the_parts_that_cut_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is served instead."""
    monkeypatch.setitem(sys.modules, "cloister.partition.package", None)
    with pytest.raises(UnsupportedError) as caught:
        open_partitioned(parse_options(WORDS))
    assert caught.value.code == "machine.program"
