"""A furnished desk of an ordinary user, for functions that `run_apart` runs as one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from integration.cli.conftest import furnish
from integration.cli.desk import Desk

__all__ = ["furnished_for_user"]


@contextlib.contextmanager
def furnished_for_user() -> Iterator[Desk]:
    """Make a trust domain, volumes and a policy as whoever runs this, and remove all of it."""
    desk = Desk(Path(tempfile.mkdtemp(prefix="cloister-desk-")))
    try:
        yield furnish(desk)
    finally:
        desk.stop_service()
        shutil.rmtree(desk.folder, ignore_errors=True)
