"""The words of `cloister serve` become a workload."""

from __future__ import annotations

import ast
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
        {"package": True, "signers": ["k"], "require": ["x<=1", "y z<=2"], "name": "m",
         "middle": "gpu.example.org:9000", "check": "recompute:0.5", "top": 2},
        ["--package", "/models", "--secret", "/models", "--signer", "k", "--require", "x<=1",
         "--require", "y z<=2", "--middle", "tcp:gpu.example.org:9000", "--check",
         "recompute:0.5", "--top", "2", "--name", "m"],
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
    assert len(role.volumes) == 1
    outside = "gpu.example.org:9000=1000000000000/1000000000"
    assert (role.egress, role.instances) == (((outside,), "1") if case == "package" else ((), ""))


PACKAGE: dict[str, Any] = {"package": True, "name": "m", "signers": ["k"], "require": ["x"]}


def test_the_middle_on_the_same_machine_has_a_name_that_a_policy_takes() -> None:
    """With the bytes and the rate that were said."""
    role = workload_of(
        words(**PACKAGE, middle="localhost:9000", middle_bytes=5000, middle_rate=100)
    )
    assert role.egress == ("middle.localhost:9000=5000/100",)
    assert "--middle tcp:middle.localhost:9000 " in role.command


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "config.missing"),
        ({"file": "m.tflite"}, "config.missing"),
        ({"file": "m.tflite", "catalogue": True, "name": "m"}, "config.value"),
        ({"catalogue": True, "name": "m"}, "config.value"),
        ({"file": "../m.tflite", "name": "m"}, "config.value"),
        ({"file": "/m.tflite", "name": "m"}, "config.value"),
        ({"catalogue": True, "folder": "a//b"}, "config.value"),
        (PACKAGE | {"middle": "localhost:1", "require": []}, "config.missing"),
        (PACKAGE | {"middle": "localhost:1", "signers": []}, "config.missing"),
        (PACKAGE, "config.missing"),
        (PACKAGE | {"middle": "localhost"}, "config.value"),
        (PACKAGE | {"middle": "localhost:0"}, "config.value"),
        (PACKAGE | {"middle": "localhost:65536"}, "config.value"),
        (PACKAGE | {"middle": "10.0.0.7:9000"}, "config.value"),
        (PACKAGE | {"middle": "[::1]:9000"}, "config.value"),
        (PACKAGE | {"middle": "host:9000"}, "config.value"),
        ({"catalogue": True, "check": "recompute"}, "config.value"),
        ({"catalogue": True, "top": 1}, "config.value"),
    ],
)
def test_words_that_name_no_model_are_refused(given: dict[str, Any], code: str) -> None:
    """None, two kinds, a name where there is none, a path that leaves the volume."""
    with pytest.raises(ConfigError) as caught:
        workload_of(words(**given))
    assert caught.value.code == code


def test_a_missing_name_is_named() -> None:
    """With one that would do."""
    with pytest.raises(ConfigError) as caught:
        workload_of(words(file="a/digits.tflite"))
    assert "--name is missing" in caught.value.public
    assert caught.value.hint == "such as --name digits"


LINES: dict[str, Any] = {"trust": "work/domain.json", "policy": "sha256:00", "named": False}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"command": ["--name", "digits"]}, ['"https://127.0.0.1:8443"', 'model="digits"']),
        ({"command": ["--models", "/models"], "model": "one"}, ['model="one"', " Client("]),
        ({"command": [], "named": True}, ["credential="]),
        (
            {"command": ["--private", "--outer-plain"], "named": True},
            ['"http://127.0.0.1:8443"', 'policy="sha256:00"', "asker=", "PrivateClient("],
        ),
    ],
)
def test_three_lines_are_a_program(changes: dict[str, Any], expected: list[str]) -> None:
    """They compile, name the address, the identity and the trust, and the client that is taken."""
    text = three_lines("127.0.0.1:8443", "spiffe://a/b/c/serve/*", **(LINES | changes))
    compile(text, "client.py", "exec")
    assert len(text.splitlines()) == 3
    for each in (*expected, '"spiffe://a/b/c/serve/*"', 'trust="work/domain.json"'):
        assert each in text


@pytest.mark.parametrize("trust", ['a "b"/domain.json', "a\\b/d.json", "für/d.json", "a\n/\udcff"])
def test_three_lines_say_any_path(trust: str) -> None:
    """A folder may be called anything; umlauts stay readable."""
    text = three_lines(
        "127.0.0.1:8443", "spiffe://a/b/c/serve/*", **(LINES | {"trust": trust, "command": []})
    )
    lines = text.splitlines()
    assert len(lines) == 3
    call = ast.parse(lines[1].removeprefix("client = "), mode="eval").body
    assert isinstance(call, ast.Call)
    found = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    assert found["trust"] == trust
    assert ("für" in text) == ("für" in trust)
