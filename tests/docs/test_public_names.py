"""What a module says it offers is there, and is described."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Final

import pytest

import cloister
from cloister.errors import MissingExtraError

MODULES: Final = sorted(
    module.name for module in pkgutil.walk_packages(cloister.__path__, "cloister.")
)


@pytest.mark.parametrize("name", MODULES)
def test_public_names_exist_and_are_described(name: str) -> None:
    """Each module has a docstring; each name of its `__all__` exists, once."""
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, MissingExtraError) as e:
        if isinstance(e, ModuleNotFoundError) and (e.name or "").startswith("cloister"):
            raise
        pytest.skip(f"{name} needs an extra: {e}")
    assert module.__doc__, "a module says what it is for"
    public = getattr(module, "__all__", [])
    assert [each for each in public if not hasattr(module, each)] == []
    assert len(public) == len(set(public))
