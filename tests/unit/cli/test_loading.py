"""Loading without garbage collection."""

from __future__ import annotations

import gc

import pytest

from cloister.cli.loading import loading


def test_collection_pauses_and_comes_back() -> None:
    """Also where loading fails; what was loaded is set aside."""
    try:
        with loading():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        with pytest.raises(ImportError), loading():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
