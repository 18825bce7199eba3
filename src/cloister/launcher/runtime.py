"""Which files the runtime consists of: interpreter, standard library, installed distributions.

Only a look at the running interpreter; `measure` reads the files. What is measured:

- `interpreter`: the executable, and its shared libraries where it is not the system's own;
- `environment`: the virtual environment's configuration, which decides the import path;
- `stdlib`: the standard library, with its cached bytecode, without site-packages;
- `packages/N`: each site-packages folder, whole, with cached bytecode: all of it is executed code;
- `sources/N`: folders that editable installs point to, without `__pycache__` and `.git`, which the
  sandbox shows empty, so that what is not measured is not executed.

The C library and other system libraries in `/usr` are not in the digest: they belong to the image
that the root of trust measures.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cloister
from cloister.errors import ConfigError

__all__ = [
    "MeasuredRoot",
    "RuntimeLayout",
    "executable_layout",
    "running_layout",
    "volume_layout",
]

SKIPPED_IN_SOURCES: Final = frozenset({"__pycache__", ".git"})
_SYSTEM: Final = Path("/usr")


@dataclass(frozen=True, slots=True)
class MeasuredRoot:
    """A file or folder to measure, under its label.

    Folders named in `skipped` are left out at any depth, those in `skipped_at_top` directly below.
    """

    label: str
    path: Path
    skipped: frozenset[str] = frozenset()
    skipped_at_top: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RuntimeLayout:
    """Where the runtime lies.

    Attributes:
        interpreter: What `python` in a policy's command means.
        roots: What is measured.
        visible: Folders that the sandbox shows, as spelled and as links resolve.
        import_path: Folders that `PYTHONPATH` must name: the interpreter's own path lacks them.
    """

    interpreter: Path
    roots: tuple[MeasuredRoot, ...]
    visible: tuple[Path, ...]
    import_path: tuple[Path, ...]


def running_layout() -> RuntimeLayout:
    """Describe the interpreter that runs this, as a fresh one without our variables would start."""
    prefix, base = Path(sys.prefix), Path(sys.base_prefix)
    standard = Path(sysconfig.get_path("stdlib"))
    packages, sources = _import_folders(standard)
    own = Path(cloister.__file__).resolve().parent.parent
    extra = () if _is_inside(own, [*packages, *sources]) else (own,)
    executable = Path(sys.executable)
    roots = [
        *_interpreter_roots(executable, base),
        MeasuredRoot(
            "stdlib", standard, skipped_at_top=frozenset({"site-packages", "dist-packages"})
        ),
        *(MeasuredRoot(f"packages/{n}", path) for n, path in enumerate(packages)),
        *(
            MeasuredRoot(f"sources/{n}", path, skipped=SKIPPED_IN_SOURCES)
            for n, path in enumerate([*sources, *extra])
        ),
    ]
    if (prefix / "pyvenv.cfg").is_file():
        roots.append(MeasuredRoot("environment", prefix / "pyvenv.cfg"))
    visible = [prefix, base, executable.resolve().parent.parent, *packages, *sources, *extra]
    return RuntimeLayout(executable, tuple(roots), tuple(_with_real_places(visible)), extra)


def executable_layout(path: Path) -> RuntimeLayout:
    """Describe a program that is not Python: its file alone is measured, none of its libraries.

    Raises:
        ConfigError: There is no such file.
    """
    if not path.is_file():
        raise ConfigError(
            f"the command {path} is not a file on this machine", code="config.missing"
        )
    visible = tuple(_with_real_places([path]))
    return RuntimeLayout(path, (MeasuredRoot("executable", path.resolve()),), visible, ())


def volume_layout(path: Path) -> RuntimeLayout:
    """Describe a program that a volume or the code tree holds: measured there, not here."""
    return RuntimeLayout(path, (), (), ())


def _import_folders(standard: Path) -> tuple[list[Path], list[Path]]:
    """Return (site-packages folders, folders of editable installs) in the import path's order."""
    site_folders = {Path(folder) for folder in site.getsitepackages()}
    entries = _own_entries(sys.path)
    packages: list[Path] = []
    sources: list[Path] = []
    for entry in [*(Path(item) for item in entries), *_mapped_sources()]:
        if not entry.exists() or entry in packages or entry in sources:
            continue
        if entry in site_folders:
            packages.append(entry)
        elif not _is_inside(entry, [standard, *packages]):
            sources.append(entry)
    return packages, sources


def _own_entries(path: Sequence[str]) -> Sequence[str]:
    """Return what `site` appended: everything behind the standard library's zip file.

    What stands before it came from PYTHONPATH and the started script, which the workload's
    interpreter will not have.
    """
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    for index, entry in enumerate(path):
        if entry.endswith(archive):
            return path[index + 1 :]
    return path


def _mapped_sources() -> Iterator[Path]:
    """Find editable installs that map import names to folders instead of extending the path."""
    for name, module in list(sys.modules.items()):
        mapping = getattr(module, "MAPPING", None)
        if name.startswith("__editable__") and isinstance(mapping, dict):
            yield from (Path(str(place)) for place in mapping.values())


def _interpreter_roots(executable: Path, base: Path) -> Iterator[MeasuredRoot]:
    yield MeasuredRoot("interpreter", executable.resolve())
    library = sysconfig.get_config_var("INSTSONAME")
    folder = sysconfig.get_config_var("LIBDIR")
    if base != _SYSTEM and folder:
        for path in sorted(Path(folder).glob("*.so*")):
            yield MeasuredRoot(f"interpreter/lib/{path.name}", path)
    elif library and folder and (Path(folder) / library).is_file():
        yield MeasuredRoot(f"interpreter/lib/{library}", (Path(folder) / library).resolve())


def _is_inside(path: Path, folders: Sequence[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _with_real_places(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield each place once, as spelled and resolved; the system's own tree is always visible."""
    seen: set[Path] = set()
    for path in paths:
        for place in (path, path.resolve()):
            if place not in seen and not _is_inside(place, [_SYSTEM]):
                seen.add(place)
                yield place
