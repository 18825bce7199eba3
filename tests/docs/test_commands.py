"""The commands in README and guides are the ones that work.

Each fenced block marked `sh` of a page is run, in order, in one directory and one shell, as a
reader would type them. A block behind a comment `<!-- file: NAME -->` is the content of that file.
Blocks of other kinds are output, and are not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

from cloister.testing.postgres import PostgresServer
from docs.pages import ROOT, fenced_blocks

_FILE: Final = re.compile(r"<!-- file: (\S+) -->\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUIDES: Final = sorted((ROOT / "docs" / "guide").glob("*.md"))
ROOM: Final = ROOT / "docs" / "guide" / "offer-a-recipe.md"
HOSPITALS: Final = ROOT / "docs" / "guide" / "train-across-hospitals.md"
WORKERS: Final = ROOT / "docs" / "guide" / "run-several-workers.md"
MACHINES: Final = ROOT / "docs" / "guide" / "train-across-machines.md"
LONG: Final = (HOSPITALS, MACHINES, ROOM, WORKERS)
PRIVACY: Final = ROOT / "docs" / "guide" / "train-with-differential-privacy.md"
REPLICAS: Final = ROOT / "docs" / "guide" / "run-several-replicas.md"
CLUSTER: Final = ROOT / "docs" / "guide" / "train-on-one-machine.md"


def cloister_beside(python: str) -> Path | None:
    """Return the installed `cloister` command of this environment, or None."""
    path = Path(sysconfig.get_path("scripts")) / "cloister"
    return path if path.exists() else None


def run_page(page: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Write the page's files and run its commands in `folder`, stopping at the first that fails."""
    text = page.read_text("utf-8")
    for name, content in _FILE.findall(text):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    script = "set -eux\n" + "".join(body for kind, body in fenced_blocks(text) if kind == "sh")
    command = cloister_beside(sys.executable)
    assert command is not None
    environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        **variables,
    }
    return subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.frameworks("sklearn")
@pytest.mark.parametrize(
    "guide",
    [
        pytest.param(guide, marks=[pytest.mark.jobs] if guide in LONG else [])
        for guide in GUIDES
        if guide not in (CLUSTER, PRIVACY, REPLICAS)
    ],
    ids=lambda path: path.stem,
)
def test_the_commands_of_a_guide_work(guide: Path, tmp_path: Path) -> None:
    """Typing a guide's commands in order, in an empty directory, succeeds."""
    if cloister_beside(sys.executable) is None:
        pytest.skip("cloister is not installed in this environment; make setup")
    done = run_page(guide, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n--- stderr\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.frameworks("sklearn", "tensorflow", "dp_accounting")
def test_the_commands_of_the_guide_to_private_training_work(tmp_path: Path) -> None:
    """The same, where TensorFlow is; nothing is mounted."""
    if cloister_beside(sys.executable) is None:
        pytest.skip("cloister is not installed in this environment; make setup")
    done = run_page(PRIVACY, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n--- stderr\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.fuse
@pytest.mark.frameworks("torch")
def test_the_commands_of_the_guide_to_jobs_work(tmp_path: Path) -> None:
    """The same, with PyTorch in three processes whose connections are redirected."""
    if cloister_beside(sys.executable) is None:
        pytest.skip("cloister is not installed in this environment; make setup")
    if shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("no nft here: install nftables")
    done = run_page(CLUSTER, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n--- stderr\n{done.stderr}"


@pytest.mark.slow
def test_the_commands_of_the_guide_to_replicas_work(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """The same, with an empty database, whose address the reader has."""
    if cloister_beside(sys.executable) is None:
        pytest.skip("cloister is not installed in this environment; make setup")
    done = run_page(REPLICAS, tmp_path, DATABASE=postgres.address(postgres.database()))
    assert done.returncode == 0, f"{done.stdout}\n--- stderr\n{done.stderr}"


def test_the_readme_names_the_two_commands() -> None:
    """README's first block is the two commands, and the Makefile has both."""
    blocks = fenced_blocks((ROOT / "README.md").read_text("utf-8"))
    first = next(body for kind, body in blocks if kind == "sh")
    commands = [line.partition("#")[0].strip() for line in first.splitlines()]
    assert commands == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"\n{name.split()[1]}:" in makefile for name in commands)


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDES], ids=lambda path: path.stem)
def test_every_command_named_exists(page: Path) -> None:
    """Each `cloister <command>` that a page's blocks use is one that `cloister --help` lists."""
    command = cloister_beside(sys.executable)
    if command is None:
        pytest.skip("cloister is not installed in this environment; make setup")
    used = {
        tuple(match.split()[1:])
        for kind, body in fenced_blocks(page.read_text("utf-8"))
        if kind in ("sh", "console")
        for match in re.findall(
            r"^\$? ?(cloister [a-z]+(?: [a-z]+(?:-[a-z]+)*)?)\b", body, re.MULTILINE
        )
    }
    groups = {"volume", "policy", "secret", "keyservice", "evidence", "audit"}
    groups |= {"namespace", "key", "source", "endorsements", "cluster"}
    for words in sorted(used):
        asked = words if words[0] in groups else words[:1]
        done = subprocess.run(
            [str(command), *asked, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"cloister {' '.join(asked)}: {done.stderr}"
