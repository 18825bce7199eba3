"""A trust domain's directory."""

import json
import stat
from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.keyservice import domain as domain_module
from cloister.keyservice.clock import Moment
from cloister.keyservice.domain import TrustDomain, missing_parents

NOW = Moment(1_800_000_000, 0.0)


@pytest.fixture
def domain(tmp_path: Path) -> TrustDomain:
    """A new trust domain."""
    return TrustDomain.create(tmp_path / "domain", "example.test", moment=NOW)


def test_what_was_made_is_loaded(domain: TrustDomain) -> None:
    """Public facts agree with the secrets beside them."""
    again = TrustDomain.load(domain.directory)
    assert (again.name, again.url, again.origin) == (
        "example.test",
        "embedded",
        "example.test/cloister-log",
    )
    assert again.identity == domain.identity
    assert again.owner_key().public == again.owner
    assert again.anchors["sim"] == (again.platform().anchor,)
    assert again.hpke.raw == domain.hpke.raw
    assert again.ca.startswith(b"-----BEGIN CERTIFICATE")


def test_directories_and_secrets_are_private(domain: TrustDomain) -> None:
    """Only domain.json is for everybody."""
    for path in domain.directory.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif path.name != "domain.json":
            assert mode == 0o600, path


def test_an_empty_directory_may_become_a_domain(tmp_path: Path) -> None:
    """As `mkdir` and `init` do it."""
    (tmp_path / "d").mkdir()
    assert TrustDomain.create(tmp_path / "d", "a", moment=NOW).name == "a"


def test_a_used_directory_is_left_alone(tmp_path: Path) -> None:
    """Nothing is overwritten, nothing is left behind."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").touch()
    with pytest.raises(ConfigError) as e:
        TrustDomain.create(tmp_path / "d", "a", moment=NOW)
    assert e.value.code == "config.exists"
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_missing_parents_are_made_for_their_owner_only(tmp_path: Path) -> None:
    """Each that was not there, 0700; the ones that were keep what they had."""
    tmp_path.chmod(0o755)
    target = tmp_path / "work" / "here" / "domain"
    assert missing_parents(target) == (tmp_path / "work", tmp_path / "work" / "here")
    assert TrustDomain.create(target, "a", moment=NOW).directory == target
    assert missing_parents(target) == ()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in target.parents[:3]]
    assert modes == [0o700, 0o700, 0o755]


@pytest.mark.parametrize("place", ["file/d", "file/no/d"])
def test_a_parent_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    """`config.file`, and the error says where."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as e:
        TrustDomain.create(tmp_path / place, "a", moment=NOW)
    assert e.value.code == "config.file"
    assert str((tmp_path / place).parent) in str(e.value)


def test_made_parents_go_again_where_making_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it or nothing."""

    def fail(*arguments: object, **more: object) -> None:
        raise ConfigError("as if the disk were full", code="config.file")

    monkeypatch.setattr(domain_module, "_build", fail)
    with pytest.raises(ConfigError):
        TrustDomain.create(tmp_path / "work" / "here" / "domain", "a", moment=NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a/b", "a" * 63, "ä"])
def test_a_name_is_plain(tmp_path: Path, name: str) -> None:
    """It is part of every identity."""
    with pytest.raises(ConfigError) as e:
        TrustDomain.create(tmp_path / "d", name, moment=NOW)
    assert e.value.code == "config.value"


def test_no_domain_is_named(tmp_path: Path) -> None:
    """The hint says how to make one."""
    with pytest.raises(ConfigError) as e:
        TrustDomain.load(tmp_path)
    assert e.value.code == "config.missing"
    assert e.value.hint is not None
    assert "cloister init" in e.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"format": "cloister/domain/v2"},
        {"name": 1},
        {"name": "A"},
        {"identity": "ed25519:00"},
        {"hpke": "hpke:zz"},
        {"hpke": "hpke:00"},
        {"owner": "x"},
        {"anchors": []},
        {"anchors": {"sim": "x"}},
        {"anchors": {"sim": [1]}},
        {"extra": 1},
    ],
)
def test_a_malformed_file_is_refused(domain: TrustDomain, change: dict[str, object]) -> None:
    """Unknown keys, wrong types and wrong values."""
    path = domain.directory / "domain.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError) as e:
        TrustDomain.load(domain.directory)
    assert e.value.code == "config.file"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "x" * 70000, "[" * 60000])
def test_other_bytes_are_refused(domain: TrustDomain, text: str) -> None:
    """Whatever lies there."""
    (domain.directory / "domain.json").write_text(text)
    with pytest.raises(ConfigError) as e:
        TrustDomain.load(domain.directory)
    assert e.value.code == "config.file"


def test_an_owners_key_open_to_others_is_refused(domain: TrustDomain) -> None:
    """It may have been read."""
    (domain.directory / "owner" / "owner.key").chmod(0o644)
    with pytest.raises(ConfigError) as e:
        domain.owner_key()
    assert e.value.code == "config.file"


@pytest.mark.parametrize("data", [b"x" * 32, b"short"])
def test_another_owners_key_is_refused(domain: TrustDomain, data: bytes) -> None:
    """It would be refused later, with less to go on."""
    path = domain.directory / "owner" / "owner.key"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as e:
        domain.owner_key()
    assert e.value.code == "config.file"


def test_a_domain_with_a_database_names_an_address(tmp_path: Path) -> None:
    """Nothing is started on demand there, and nothing was made."""
    with pytest.raises(ConfigError) as e:
        TrustDomain.create(
            tmp_path / "d", "example.test", moment=Moment(0, 0.0), database="postgresql://u@h/d"
        )
    assert e.value.code == "config.value"
    assert not (tmp_path / "d").exists()
