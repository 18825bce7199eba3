"""Where lint looks for the script of a command."""

import pytest

from cloister.keyservice.policy.lint_workload import SYSTEM_PATHS, _script_index, _within


@pytest.mark.parametrize(
    ("command", "index"),
    [
        (("python", "/code/x.py"), 1),
        (("python", "-u", "-B", "/code/x.py", "-m"), 3),
        (("python", "-W", "error", "-X", "dev", "/code/x.py"), 5),
        (("python", "-m", "module"), None),
        (("python", "-c", "pass"), None),
        (("python", "-cpass"), None),
        (("python", "-"), None),
        (("python", "-W"), None),
        (("python",), None),
    ],
)
def test_the_script_is_found(command: tuple[str, ...], index: int | None) -> None:
    """After options and their values; modules and literal programs have none."""
    assert _script_index(command) == index


@pytest.mark.parametrize(
    ("path", "folder", "inside"),
    [
        ("/usr", "/usr", True),
        ("/usr/share", "/usr", True),
        ("/usrlocal", "/usr", False),
        ("/", "/usr", False),
        ("/code/../usr", "/code", False),
    ],
)
def test_folders_hold_what_is_below_them(path: str, folder: str, *, inside: bool) -> None:
    """By parts of the path, not by letters."""
    assert _within(path, folder) is inside
    assert all(system.startswith("/") for system in SYSTEM_PATHS)
