"""Which files a workload that trains with TensorFlow gets."""

from __future__ import annotations

import ast
import sys

from cloister.training.compat.delivery import COMPAT_FOLDER, compat_files


def test_the_files_stand_on_their_own() -> None:
    """They are read by an interpreter that has Python's own modules, and each other."""
    files = dict(compat_files())
    assert sorted(files) == ["cloister_keras.py", "sitecustomize.py"]
    for content in files.values():
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(content))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert imported <= set(sys.stdlib_module_names)


def test_the_folder_is_among_those_of_the_run() -> None:
    """Where the launcher puts what a run is told."""
    assert COMPAT_FOLDER.startswith("/run/cloister/")
