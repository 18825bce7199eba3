"""The simulated platform's directory."""

import errno
import json
import stat
from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.tee.sim.platform import SimPlatform, read_secret_file, write_secret_file


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A platform's directory."""
    SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    return tmp_path / "platform"


def test_what_was_made_is_loaded(directory: Path) -> None:
    """Anchor and sealing keys stay the same."""
    first, again = SimPlatform.load(directory), SimPlatform.load(directory)
    assert first.anchor == again.anchor
    assert first.sealing_key(b"x") == again.sealing_key(b"x")
    assert (first.svn, first.debug) == (1, False)


def test_sealing_keys_differ_by_purpose_and_platform(directory: Path, tmp_path: Path) -> None:
    """One purpose's key tells nothing of another's."""
    platform = SimPlatform.load(directory)
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    keys = {platform.sealing_key(b"x"), platform.sealing_key(b"y"), other.sealing_key(b"x")}
    assert len(keys) == 3


def test_modes_are_private(directory: Path) -> None:
    """The directory is 0700, each file 0600."""
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["signing.key", "sealing.key", "platform.json"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_open_to_others_is_refused(directory: Path, name: str, mode: int) -> None:
    """A readable key may have been read."""
    (directory / name).chmod(mode)
    with pytest.raises(ConfigError) as e:
        SimPlatform.load(directory)
    assert e.value.code == "config.file"


@pytest.mark.parametrize("name", ["signing.key", "sealing.key", "platform.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    """The error says which."""
    (directory / name).unlink()
    with pytest.raises(ConfigError) as e:
        SimPlatform.load(directory)
    assert e.value.code == "config.missing"
    assert name in e.value.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "other", "svn": 1, "debug": false}',
        '{"format": "cloister/sim-platform/v1", "svn": true, "debug": false}',
        '{"format": "cloister/sim-platform/v1", "svn": 70000, "debug": false}',
        '{"format": "cloister/sim-platform/v1", "svn": 1, "debug": 0}',
        '{"format": "cloister/sim-platform/v1", "svn": 1, "debug": false, "more": 1}',
        "[" * 3000,
    ],
)
def test_a_malformed_state_is_refused(directory: Path, text: str) -> None:
    """Nothing is guessed."""
    (directory / "platform.json").write_text(text)
    with pytest.raises(ConfigError) as e:
        SimPlatform.load(directory)
    assert e.value.code == "config.file"


def test_a_short_key_is_refused(directory: Path) -> None:
    """A truncated key is not padded."""
    (directory / "signing.key").write_bytes(b"short")
    with pytest.raises(ConfigError) as e:
        SimPlatform.load(directory)
    assert e.value.code == "config.file"


def test_a_long_key_is_refused(directory: Path) -> None:
    """Nor is a longer one cut."""
    (directory / "signing.key").write_bytes(b"x" * 33)
    with pytest.raises(ConfigError) as e:
        SimPlatform.load(directory)
    assert e.value.code == "config.file"


def test_a_link_is_not_followed(directory: Path, tmp_path: Path) -> None:
    """A secret is a plain file."""
    (directory / "signing.key").rename(tmp_path / "elsewhere")
    (directory / "signing.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError) as e:
        SimPlatform.load(directory)
    assert e.value.code == "config.missing"


def test_an_existing_platform_is_not_replaced(directory: Path) -> None:
    """A second creation is refused."""
    with pytest.raises(ConfigError) as e:
        SimPlatform.create(directory, svn=1, debug=False)
    assert e.value.code == "config.exists"


@pytest.mark.parametrize("svn", [-1, 65536])
def test_a_version_out_of_range_is_refused(tmp_path: Path, svn: int) -> None:
    """Versions have 16 bits."""
    with pytest.raises(ConfigError) as e:
        SimPlatform.create(tmp_path / "p", svn=svn, debug=False)
    assert e.value.code == "config.value"


def test_a_counter_only_grows(directory: Path) -> None:
    """It keeps its largest value, also when opened again."""
    platform = SimPlatform.load(directory)
    counter = platform.counter("x")
    assert counter.value == 0
    counter.raise_to(5)
    counter.raise_to(3)
    counter.close()
    again = platform.counter("x")
    assert again.value == 5
    again.close()


def test_a_secret_file_is_never_overwritten(tmp_path: Path) -> None:
    """Writing twice is refused."""
    write_secret_file(tmp_path / "s", b"1")
    with pytest.raises(ConfigError) as e:
        write_secret_file(tmp_path / "s", b"2")
    assert e.value.code == "config.exists"
    assert read_secret_file(tmp_path / "s", max_bytes=1) == b"1"


def test_a_secret_file_that_is_not_whole_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the name is free again: the next attempt is not told that it exists."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cloister.tee.sim.platform.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_secret_file(tmp_path / "s", b"1")
    assert list(tmp_path.iterdir()) == []
    write_secret_file(tmp_path / "s", b"1")


def test_state_is_plain_json(directory: Path) -> None:
    """A person can read what the platform is."""
    state = json.loads((directory / "platform.json").read_text())
    assert state == {"format": "cloister/sim-platform/v1", "svn": 1, "debug": False}
