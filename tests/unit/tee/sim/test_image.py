"""The launcher's image is measured from real files."""

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.tee.sim.image import installed_image, measure_image


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package."""
    package = tmp_path / "package"
    (package / "sub").mkdir(parents=True)
    (package / "a.py").write_text("a = 1\n")
    (package / "sub" / "b.py").write_text("b = 1\n")
    (tmp_path / "python").write_bytes(b"ELF")
    return package


def _measure(package: Path) -> bytes:
    return measure_image(package, [package.parent / "python"])


@pytest.mark.spec("SIM-6")
def test_the_same_files_give_the_same_digest(package: Path) -> None:
    """Measuring is deterministic."""
    assert _measure(package) == _measure(package)


@pytest.mark.spec("SIM-6")
@pytest.mark.parametrize("change", ["content", "name", "added", "removed", "interpreter", "data"])
def test_every_change_of_a_file_changes_the_digest(package: Path, change: str) -> None:
    """Sources, names, data files and the interpreter all count."""
    before = _measure(package)
    if change == "content":
        (package / "a.py").write_text("a = 2\n")
    elif change == "name":
        (package / "a.py").rename(package / "c.py")
    elif change == "added":
        (package / "new.py").touch()
    elif change == "removed":
        (package / "sub" / "b.py").unlink()
    elif change == "interpreter":
        (package.parent / "python").write_bytes(b"elf")
    else:
        (package / "data.json").write_text("{}")
    assert _measure(package) != before


@pytest.mark.spec("SIM-6")
def test_compiled_caches_do_not_count(package: Path) -> None:
    """Running the code does not change its measurement."""
    before = _measure(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")
    assert _measure(package) == before


def test_a_file_that_cannot_be_read_is_an_error(package: Path) -> None:
    """An image that was not measured has no digest."""
    (package / "dangling.py").symlink_to(package / "nowhere")
    with pytest.raises(ConfigError) as e:
        _measure(package)
    assert e.value.code == "config.file"


def test_the_installed_image_is_stable() -> None:
    """Two measurements of this installation agree."""
    assert installed_image() == installed_image()
