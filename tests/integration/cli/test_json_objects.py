"""Every command with `--json` prints one object, also when it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from cloister.cli.main import app
from integration.cli.desk import Desk

# Enough words for each command to be understood, and to fail for want of a trust domain or file.
_WORDS = {
    "doctor": (),
    "init": ("there",),
    "demo": ("--folder", "/proc/nowhere"),
    "measure snp": ("--ovmf", "none", "--vcpus", "1", "--vcpu", "EPYC-Milan"),
    "measure tdx": ("--firmware", "none"),
    "endorsements check": ("none",),
    "endorsements fetch": ("none", "--kind", "tdx", "-o", "out"),
    "endorsements import": ("none", "-o", "out"),
    "endorsements show": ("none",),
    "evidence explain": ("none", "--kind", "tdx"),
    "evidence policy": ("--kind", "none"),
    "keyservice rekey apply": ("none",),
    "keyservice rekey propose": ("--out", "out"),
    "measure": (),
    "model assess": ("none.keras", "--sample", "none.npz", "--out", "report.json"),
    "model cut": ("none.keras", "--report", "none", "--out", "out", "--volume", "store"),
    "model check": ("none", "--signer", "ed25519:" + "00" * 32),
    "proxy": ("https://127.0.0.1:1", "--identity", "spiffe://x/y"),
    "serve": ("store", "--catalogue", "--any-client", "a test"),
    "run": ("none.yaml", "--workload", "x"),
    "query": ("https://127.0.0.1:1", "none.npy", "--identity", "spiffe://x/y"),
    "keyservice status": (),
    "keyservice doctor": (),
    "keyservice pin": (),
    "keyservice members": (),
    "keyservice budgets": ("lab/digits",),
    "keyservice expel": ("lab/digits", "train", "run-1"),
    "audit fetch": ("mirror",),
    "audit cosign": ("mirror", "--witness", "http://127.0.0.1:1=x"),
    "audit verify": ("mirror",),
    "audit show": ("mirror",),
    "audit receipt": ("none",),
    "policy lint": ("none.yaml",),
    "policy show": ("none.yaml",),
    "policy hash": ("none.yaml",),
    "policy apply": ("none.yaml",),
    "policy explain": ("none.yaml", "--workload", "x"),
    "policy approve": ("none.yaml", "--key", "none"),
    "policy pending": (),
    "policy diff": ("none.yaml", "none.yaml"),
    "policy history": ("lab/digits",),
    "key new": ("/proc/nowhere",),
    "namespace draft": ("lab", "--approver", "x"),
    "namespace apply": ("none.yaml",),
    "namespace show": ("lab",),
    "namespace list": (),
    "secret put": ("none.yaml", "x"),
    "secret list": ("none.yaml",),
    "policy draft": ("--name", "n", "--workload", "w", "--code", "none", "--command", "/bin/sh"),
    "token new-key": ("/proc/nowhere", "jwks.json"),
    "token keys": ("jwks.json",),
    "token verify": ("none", "--jwks", "none", "--audience", "a", "--nonce", "bm9uY2Utbm9uY2U"),
    "volume seal": ("none", "store"),
    "volume create": ("store",),
    "volume open": ("store", "target"),
    "policy refusals": ("lab/digits",),
    "source add": ("lab", "vault", "--address", "v:1", "--ca", "ca.pem"),
    "source list": ("lab",),
    "source remove": ("lab", "vault"),
    "keyservice view-tokens": (),
    "keyservice revoke-view-token": ("0" * 32,),
    "volume ls": ("store",),
    "volume verify": ("store",),
    "volume observe": ("store",),
    "volume mount": ("store", "point"),
    "volume rotate": ("store",),
    "volume rekey": ("store",),
    "volume retire": ("store",),
    "evidence collect": ("out", "--kind", "sim", "--nonce", "00"),
    "evidence certificate": ("out", "--key", "key", "--kind", "nitro"),
    "evidence convert": ("none", "out", "--kind", "tdx", "--to", "raw"),
    "evidence extend": ("ab",),
    "evidence fields": ("--kind", "none"),
    "evidence show": ("none", "--kind", "tdx"),
    "evidence verify": ("none", "--kind", "tdx"),
    "evidence verify-composite": (
        *("none", "--policy", "none", "--gpu-policy", "none"),
        *("--nonce", "00", "--gpu-nonce", "00"),
    ),
    "key holder": ("/proc/nowhere",),
    "keyservice approve": ("none", "--key", "none"),
    "keyservice backup": ("file",),
    "keyservice restore": ("file",),
    "keyservice pin-platform": ("ed25519:00",),
    "keyservice reset propose": ("file", "--out", "out"),
    "keyservice reset apply": ("file", "statement"),
    "keyservice recovery propose": ("--threshold", "2", "--out", "out"),
    "keyservice recovery split": ("plan", "--into", "shares"),
    "keyservice recovery prepare": ("there",),
    "keyservice recovery request": ("--out", "out"),
    "keyservice recovery give": ("share", "request", "--key", "none", "--out", "out"),
    "keyservice recovery finish": ("file", "request", "statement"),
    "keyservice platform prepare": ("there",),
    "keyservice platform request": ("--out", "out"),
    "keyservice platform propose": ("request", "--out", "out", "--quorum", "2"),
    "keyservice platform admit": ("request", "statement", "--out", "out"),
    "keyservice platform join": ("request", "grant"),
    "cluster run": ("none.yaml",),
    "cluster status": (),
    "cluster stop": (),
    "cluster pull": ("there",),
    "cleanroom draft": (
        *("--name", "n", "--namespace", "lab", "--model-owner", "x", "--data-owner", "y"),
        *("--shard", "none=1", "--shape", "1", "--classes", "2", "--recipe", "none"),
        *("--recipe-digest", "x", "--model", "none", "--model-owner-report", "none"),
        *("--data-owner-report", "none", "--principal", "a=b"),
    ),
    "cleanroom digest": ("none",),
    "cleanroom offer": ("none.yaml", "--key", "none"),
    "cleanroom show": ("none",),
    "cleanroom accept": ("none", "--key", "none"),
    "cleanroom train": ("none",),
    "cleanroom status": ("none",),
    "cleanroom query": ("https://x:1", "none.npy", "--principal", "a", "--key", "none"),
    "cleanroom budget": ("none", "--key", "none"),
    "cleanroom serve": ("none",),
    "cleanroom demo": ("--folder", "/proc/nowhere"),
    "cleanroom close": ("none", "--key", "none"),
    "render kubernetes": ("none.yaml", "--image", "none", "--output", "there"),
    "source pin": ("lab", "other", "--address", "v:1", "--of", "there"),
}
_WITHOUT_JSON = {
    "keyservice serve": "prints a line of JSON when it is ready, by itself",
    "keyservice witness": "likewise",
    "keyservice view-token": "prints the token and nothing else",
    "cluster logs": "prints what the instances printed, and nothing else",
    "source entry": "prints JSON, which is what it is for",
}


def _commands() -> dict[str, Any]:
    """Every command by its words, those of groups within groups too."""
    root: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    waiting = [(name, root.get_command(None, name)) for name in root.list_commands(None)]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:
            found[name] = command
        if inner is not None:
            waiting += [(f"{name} {each}", below) for each, below in inner.items()]
    return found


def test_every_command_takes_json() -> None:
    """A new command is listed here, and has the option or a reason."""
    commands = _commands()
    assert set(commands) == set(_WORDS) | set(_WITHOUT_JSON)
    for name in _WORDS:
        options = [option for parameter in commands[name].params for option in parameter.opts]
        assert "--json" in options, name


@pytest.mark.parametrize("name", [name for name in _WORDS if name not in {"doctor", "init"}])
def test_an_error_is_one_object(tmp_path: Path, name: str) -> None:
    """Code, message, hint and whether to try again; nothing else on standard output."""
    done = Desk(tmp_path).json(*name.split(), *_WORDS[name])
    assert done.status not in {0, 1, 2}, done
    assert set(done.error) >= {"code", "message", "hint", "retryable"}
    assert "Traceback" not in done.stderr


def test_words_that_make_no_command_are_one_object(tmp_path: Path) -> None:
    """Misuse has a code as well."""
    for words in (("volume", "ls"), ("volume", "nothing"), ("run", "x", "--nothing")):
        done = Desk(tmp_path).json(*words)
        assert (done.status, done.code) == (64, "caller.misuse")


def test_json_after_two_dashes_is_not_ours(tmp_path: Path) -> None:
    """What follows `--` belongs to the other program: our error stays for people."""
    done = Desk(tmp_path).run("volume", "mount", "store", "point", "--", "program", "--json")
    assert done.stdout == ""
    assert "config.missing" in done.stderr


def test_success_is_one_object(desk: Desk) -> None:
    """Commands that look only, on a furnished desk."""
    for words in (
        ("volume", "ls", "sealed/data"),
        ("volume", "observe", "sealed/data"),
        ("policy", "lint", "policy.yaml"),
        ("policy", "show", "policy.yaml"),
        ("policy", "hash", "policy.yaml"),
        ("policy", "explain", "policy.yaml", "--workload", "copy"),
        ("keyservice", "status"),
        ("measure", "--program", "/bin/sh"),
    ):
        assert json.loads(desk.json(*words).good().stdout)
