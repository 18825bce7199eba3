"""Run programs on a private mount; shared by the tests that need a real kernel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("mounted_cases.py")
MEMORY = "cloister.testing.private_mount:open_memory"
VOLUME = "cloister.testing.file_volume:open_file_volume"


def needs_program(name: str) -> pytest.MarkDecorator:
    """Skip, and say so, where a program is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


@dataclass(frozen=True)
class Mount:
    """Where and how commands are run: a fresh file system and namespace for each."""

    mount_point: Path
    filesystem: str
    config: str
    flags: tuple[str, ...]

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command with the mount as its working directory; it must succeed."""
        done = self.attempt(*command, timeout_s=timeout_s)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def attempt(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "cloister.testing.private_mount",
                f"--filesystem={self.filesystem}",
                f"--config={self.config}",
                *self.flags,
                str(self.mount_point),
                "--",
                *command,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def case(self, name: str, *arguments: str, timeout_s: float = 120) -> str:
        """Run one function of `mounted_cases.py` on the mount; return what it printed."""
        return self.run(sys.executable, str(CASES), name, *arguments, timeout_s=timeout_s).stdout


def make_mount(
    tmp_path: Path, *, filesystem: str = MEMORY, config: str = "", flags: tuple[str, ...] = ()
) -> Mount:
    """Prepare a mount point; a volume is made beside it unless `config` says where."""
    mount_point = tmp_path / "mnt"
    mount_point.mkdir()
    if filesystem == VOLUME and not config:
        config = str(tmp_path / "volume")
    return Mount(mount_point, filesystem, config, flags)
