"""A plain code tree in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.launcher import code
from cloister.launcher.code import read_code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A script with a module."""
    (tmp_path / "lib" / "__pycache__").mkdir(parents=True)
    (tmp_path / "train.py").write_text("import lib.a\n")
    (tmp_path / "lib" / "a.py").write_text("x = 1\n")
    (tmp_path / "lib" / "__pycache__" / "a.pyc").write_bytes(b"cached")
    return tmp_path


@pytest.mark.spec("LM-30")
def test_files_are_read_once_and_sorted(folder: Path) -> None:
    """Caches and version control stay out; what was read stays what it was."""
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    tree = read_code(folder)
    assert [file.path for file in tree.files] == ["lib/a.py", "train.py"]
    before = tree.digest()
    (folder / "train.py").write_text("import evil\n")
    assert tree.digest() == before
    assert read_code(folder).digest() != before


@pytest.mark.spec("LM-31")
def test_content_names_and_the_executable_bit_count(folder: Path) -> None:
    """Each of them changes the digest."""
    digests = {read_code(folder).digest()}
    (folder / "train.py").chmod(0o755)
    digests.add(read_code(folder).digest())
    (folder / "train.py").rename(folder / "other.py")
    digests.add(read_code(folder).digest())
    (folder / "lib" / "a.py").write_text("x = 2\n")
    digests.add(read_code(folder).digest())
    assert len(digests) == 4


@pytest.mark.spec("LM-32")
def test_links_are_refused(folder: Path) -> None:
    """`config.file`: a link could mean something else inside."""
    (folder / "data").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError) as caught:
        read_code(folder)
    assert caught.value.code == "config.file"


@pytest.mark.spec("LM-32")
def test_pipes_are_refused_and_not_waited_for(folder: Path) -> None:
    """`config.value`."""
    os.mkfifo(folder / "pipe")
    with pytest.raises(ConfigError) as caught:
        read_code(folder)
    assert caught.value.code == "config.value"


@pytest.mark.spec("LM-34")
@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_no_code_is_refused(tmp_path: Path, name: str) -> None:
    """`config.missing` for a folder that is not there, or has no files."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        read_code(tmp_path / name)
    assert caught.value.code == "config.missing"


@pytest.mark.spec("LM-33")
@pytest.mark.parametrize("limit", ["MAX_CODE_BYTES", "MAX_CODE_FILES"])
def test_too_much_code_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """`config.value`: data does not belong there."""
    monkeypatch.setattr(code, limit, 1)
    with pytest.raises(ConfigError) as caught:
        read_code(folder)
    assert caught.value.code == "config.value"


@pytest.mark.spec("LM-33")
def test_too_deep_a_tree_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config.value`."""
    monkeypatch.setattr(code, "MAX_CODE_DEPTH", 0)
    with pytest.raises(ConfigError) as caught:
        read_code(folder)
    assert caught.value.code == "config.value"
