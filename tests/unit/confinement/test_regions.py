"""How a folder of the host's is found; mounting is in tests/integration/launcher."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloister.confinement import regions
from cloister.confinement.regions import HostFolder


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's tree, as the stage sees it for a while."""
    monkeypatch.setattr(regions, "OLD_ROOT", str(tmp_path))
    (tmp_path / "stores").mkdir()
    return tmp_path


def opened(*parts: str) -> str:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names, not paths
    try:
        descriptor = regions._open_folder(HostFolder("/stores", parts, read_only=False))
        found = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        os.close(descriptor)
        return found
    finally:
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names, not paths


def test_missing_folders_are_made_for_the_operator_alone(host: Path) -> None:
    """What is there is taken, what is not is made with mode 0700."""
    (host / "stores/x.plain").mkdir(mode=0o755)
    assert opened("x.plain", "a", "b") == str(host / "stores/x.plain/a/b")
    assert opened("x.plain", "a", "b") == str(host / "stores/x.plain/a/b")
    assert (host / "stores/x.plain").stat().st_mode & 0o777 == 0o755
    assert (host / "stores/x.plain/a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["x.plain", "x.plain/a", "x.plain/a/b"])
@pytest.mark.parametrize("target", ["/etc", "../elsewhere", "missing"])
def test_links_are_never_followed(host: Path, place: str, target: str) -> None:
    """A link at the end or on the way is an error, wherever it leads."""
    (host / "stores" / place).parent.mkdir(parents=True, exist_ok=True)
    (host / "elsewhere/a/b").mkdir(parents=True)
    (host / "stores" / place).symlink_to(target)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        opened("x.plain", "a", "b")
    assert not (host / "stores/missing").exists()


def test_a_base_that_became_a_link(host: Path) -> None:
    """The way to the store is not followed through a link either."""
    (host / "stores").rename(host / "real")
    (host / "stores").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        opened("x.plain")


def test_a_base_that_is_gone_is_not_made(host: Path) -> None:
    """Only what lies below the store's folder is made."""
    (host / "stores").rmdir()
    with pytest.raises(FileNotFoundError):
        opened("x.plain")
    assert not (host / "stores").exists()
