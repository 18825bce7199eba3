"""Link and sites as processes: three sites, of which one has an altered trainer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest

pytest.importorskip("flwr")

APP: Final = Path(__file__).parents[2] / "examples" / "hospitals" / "tabular"
SITES: Final = 3
TIME_S: Final = 240
SETTINGS: Final = ("--set", "num-server-rounds=1", "--set", "fraction-evaluate=0.0")


@dataclass(frozen=True)
class Ended:
    """What became of the processes."""

    folder: Path
    link: int
    sites: list[int]
    said: list[str]

    @property
    def lines(self) -> str:
        """What the link said."""
        return self.said[0]


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(module: str, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program; what it says goes to a file."""
    command = [sys.executable, "-m", f"cloister.training.federated.{module}", *arguments]
    environment = os.environ | {
        "PYTHONPATH": str(APP.parents[2] / "src"),
        "TMPDIR": str(log.parent),
    }
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)


def federate(folder: Path, apps: Sequence[Path], *, minimum: int, wait: str) -> Ended:
    """Run a link for three sites, and as many sites as there are apps."""
    common = ["--sites", str(SITES), "--deadline", str(TIME_S), *SETTINGS]
    address = f"127.0.0.1:{free_port()}"
    link = start(
        "link",
        folder / "link.log",
        *("--app", str(APP), "--listen", address, "--result", str(folder / "model")),
        *("--minimum", str(minimum), "--wait", wait, *common),
    )
    sites = [
        start(
            "site",
            folder / f"site-{n}.log",
            *("--app", str(app), "--link", address, "--index", str(n), "--wait", "60"),
            *("--node", f"data={folder / str(n)}", *common),
        )
        for n, app in enumerate(apps)
    ]
    every = [link, *sites]
    try:
        statuses = [each.wait(TIME_S + 30) for each in every]
    finally:
        for each in every:
            each.kill()
            each.wait()
    said = [path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.log"))]
    return Ended(folder, statuses[0], statuses[1:], said)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run of one round with a minimum of two: the third site's trainer was altered."""
    folder = tmp_path_factory.mktemp("federation")
    chance = np.random.default_rng(5)
    for n in range(SITES):
        (folder / str(n)).mkdir()
        rows = np.column_stack([chance.random((40, 30)) * 20, chance.integers(0, 2, 40)])
        np.savetxt(folder / str(n) / "patients.csv", rows, delimiter=",")
    altered = folder / "altered"
    shutil.copytree(APP, altered, ignore=shutil.ignore_patterns("__pycache__"))
    client = altered / "hospital" / "client_app.py"
    client.write_text(client.read_text() + "\nopen('/tmp/stolen', 'w').write('patients')\n")
    return federate(folder, [APP, APP, altered], minimum=2, wait="60")


@pytest.mark.slow
@pytest.mark.spec("FED-4", "FED-18")
def test_an_altered_site_leaves_and_the_others_go_on(ended: Ended) -> None:
    """It refuses the link's app, since its own is another; the policy's minimum allows the rest."""
    assert (ended.link, ended.sites) == (0, [0, 0, 77]), ended.said
    assert "federated.other-app" in ended.said[3]
    assert "training is complete" in ended.lines


@pytest.mark.slow
@pytest.mark.spec("FED-12", "FED-13")
def test_the_result_is_one_folder(ended: Ended) -> None:
    """What the app wrote in its own folder, with the record."""
    model = ended.folder / "model"
    names = sorted(path.name for path in model.iterdir())
    assert names == ["federation.json", "model.npz", "rounds.json"]
    record = json.loads((model / "federation.json").read_text())
    assert (record["app"], record["settings"]) == (
        "cloister/hospital-tabular",
        {"num-server-rounds": 1, "fraction-evaluate": 0.0},
    )
    assert (record["expected"], record["minimum"], record["started_with"]) == (3, 2, [0, 1, 2])
    with np.load(model / "model.npz", allow_pickle=False) as arrays:
        assert np.any(arrays["weights"])


@pytest.mark.slow
def test_nothing_is_left_behind(ended: Ended) -> None:
    """No scratch folder with tokens and copies of the app, and no unfinished result."""
    left = {path.name for path in ended.folder.iterdir()}
    assert not {name for name in left if name.startswith(("link-", "site-")) and "." not in name}
    assert ".model.unfinished" not in left


@pytest.mark.spec("FED-15")
def test_a_site_that_never_comes_is_an_error(tmp_path: Path) -> None:
    """After the time to wait, with no result."""
    ended = federate(tmp_path, [], minimum=1, wait="1")
    assert ended.link == 75, ended.said
    assert "0 of 3 sites came within 1 s; 1 are needed [federated.sites]" in ended.lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.log"]
