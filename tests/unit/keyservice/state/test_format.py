"""The format that a backend names for itself."""

import pytest

from cloister.errors import ConfigError, TamperedError
from cloister.keyservice.state.format import FORMAT, require_format


@pytest.mark.spec("KS-23")
def test_this_version_is_read() -> None:
    """Nothing is said about it."""
    require_format(FORMAT)


@pytest.mark.spec("KS-23")
@pytest.mark.parametrize("version", [b"3", b"17"])
def test_a_newer_version_is_told_apart(version: bytes) -> None:
    """The operator has to start another program; nothing was tampered with."""
    with pytest.raises(ConfigError) as e:
        require_format(b"cloister/keyservice-state/v" + version)
    assert e.value.code == "state.newer"


@pytest.mark.spec("KS-23")
@pytest.mark.parametrize(
    "found", [None, b"", b"x", b"cloister/keyservice-state/v0", FORMAT + b"\n", FORMAT + b"1" * 9]
)
def test_anything_else_is_no_state(found: bytes | None) -> None:
    """Missing, foreign, or not a number."""
    with pytest.raises(TamperedError) as e:
        require_format(found)
    assert e.value.code == "state.tampered"
