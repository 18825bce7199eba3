"""The same attempts in a cell that a confined workload made, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import cloister
from cloister.confinement import Bind, Command, Sandbox, SandboxSpec
from escape.catalogue import load
from escape.ground import prepare
from escape.table import PROBES
from integration.apart import run_apart, users

load()
_SOURCES = str(Path(cloister.__file__).resolve().parent.parent)
_TESTS = str(Path(__file__).resolve().parent.parent)
_VISIBLE = sorted({str(Path(sys.base_prefix).resolve()), sys.prefix, _SOURCES, _TESTS})
_WORKLOAD = """
import json, os, sys
from dataclasses import replace
from cloister.confinement.cell import Warm
from escape.catalogue import load
from escape.ground import SPEC, tried_in_one_cell
from escape.table import Place
load()
os.makedirs("/run/volumes")
open("/run/volumes/secret", "w").write("s")
names, fields = json.loads(sys.argv[1])
fields |= {"secret": "/run/volumes/secret", "trusted": os.getpid(), "canary": "s"}
place = Place(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})
with Warm(replace(SPEC, preload=("ctypes", "json", "pathlib", "subprocess"))) as warm:
    warm.start()
    print(json.dumps(tried_in_one_cell(warm, names, place)))
"""


@pytest.mark.spec("CELL-60")
@pytest.mark.parametrize("user_id", users())
def test_attempts_are_denied_in_a_workload(user_id: int, tmp_path: Path) -> None:
    """Where a workload may make cells, they are what they are outside."""
    if user_id and os.geteuid() == 0 and not os.access(_SOURCES, os.R_OK):
        pytest.skip("this user cannot read the sources")
    names = [
        name
        for name, found in PROBES.items()
        if not found.alone and found.machine in {"", platform.machine()}
    ]
    with prepare(tmp_path) as ground:
        argument = json.dumps([names, asdict(ground.place)])
        outcomes = run_apart(user_id, _tried, argument)
    assert [*outcomes] == names, "the cell ended early"
    through = {
        name: outcome
        for name, outcome in outcomes.items()
        if outcome.get("denied") not in PROBES[name].denied
    }
    assert through == {}


def _tried(argument: str) -> Any:
    reader, writer = os.pipe()
    binds = tuple(Bind(str(Path(path).resolve()), path) for path in _VISIBLE)
    with Sandbox(SandboxSpec(binds=binds, cells=True)) as sandbox:
        sandbox.start()
        environment = {"PYTHONPATH": f"{_SOURCES}:{_TESTS}"}
        command = Command((sys.executable, "-c", _WORKLOAD, argument), environment, "/")
        sandbox.go(command, stdout=writer, stderr=2, listeners={})
        os.close(writer)
        with os.fdopen(reader) as stream:
            text = stream.read()
        sandbox.wait(timeout_s=60)
    return json.loads(text)
