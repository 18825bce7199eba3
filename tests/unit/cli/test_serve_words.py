"""The words of `cloister serve` become a workload."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from cloister.cli.serve_words import ServeWords, three_lines, workload_of
from cloister.errors import ConfigError
from cloister.inference.options import parse_options, require_one_source


def words(**changes: Any) -> ServeWords:
    given = {"store": Path("sealed/models"), "any_client": "a test", "port": 8443}
    return ServeWords(**(given | changes))


CASES = {
    "file": ({"file": "a/m.tflite", "name": "m"}, ["--model", "/models/a/m.tflite", "--name", "m"]),
    "catalogue": ({"catalogue": True, "folder": "served"}, ["--models", "/models/served"]),
    "whole": ({"catalogue": True, "more": ["--metrics"]}, ["--models", "/models", "--metrics"]),
    "package": (
        {"package": Path("p"), "signers": ["k"], "require": ["x<=1", "y z<=2"], "name": "m",
         "middle": "h:1"},
        ["--package", "/package", "--secret", "/models", "--signer", "k", "--require", "x<=1",
         "--require", "y z<=2", "--middle", "h:1", "--name", "m"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_server_is_started_with_what_was_said(case: str) -> None:
    """And it understands it."""
    given, expected = CASES[case]
    role = workload_of(words(**given))
    argv = shlex.split(role.command)
    assert argv[:3] == ["python", "-m", "cloister.inference.server"]
    assert argv[3:] == expected
    require_one_source(parse_options(argv[3:]))
    assert role.listen == ("predict=8443",)
    assert role.volumes[0] == "/models=sealed/models:latest"
    assert len(role.volumes) == (2 if case == "package" else 1)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "config.missing"),
        ({"file": "m.tflite"}, "config.value"),
        ({"file": "m.tflite", "catalogue": True, "name": "m"}, "config.value"),
        ({"catalogue": True, "name": "m"}, "config.value"),
        ({"file": "../m.tflite", "name": "m"}, "config.value"),
        ({"file": "/m.tflite", "name": "m"}, "config.value"),
        ({"catalogue": True, "folder": "a//b"}, "config.value"),
        ({"package": Path("p"), "name": "m", "signers": ["k"]}, "config.missing"),
        ({"package": Path("p"), "name": "m", "require": ["x"]}, "config.missing"),
        (
            {"package": Path("p"), "name": "m", "require": ["x"], "signers": ["k"]},
            "config.missing",
        ),
    ],
)
def test_words_that_name_no_model_are_refused(given: dict[str, Any], code: str) -> None:
    """None, two kinds, a name where there is none, a path that leaves the volume."""
    with pytest.raises(ConfigError) as caught:
        workload_of(words(**given))
    assert caught.value.code == code


def test_three_lines_are_a_program() -> None:
    """They compile, and name the address and the identity."""
    text = three_lines("127.0.0.1:8443", "spiffe://a/b/c/serve/*")
    compile(text, "client.py", "exec")
    assert len(text.splitlines()) == 3
    assert '"https://127.0.0.1:8443"' in text
    assert '"spiffe://a/b/c/serve/*"' in text
