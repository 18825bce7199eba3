"""`cloister keyservice recovery`, `pin-platform`, `key holder`, and `init --recovery`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cloister.cli import settings
from cloister.crypto.signature import SigningKey
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.store import Store
from unit.cli.conftest import Door

HOLDERS = ("ann", "ben", "cat")
PUBLIC = tuple(word for name in HOLDERS for word in ("--holder", f"{name}.key.pub"))


@pytest.fixture
def holders(door: Door) -> Door:
    """Three holders with keys."""
    for name in HOLDERS:
        door.record("key", "holder", f"{name}.key")
    return door


def refused(door: Door, *words: str | Path) -> str:
    """The code of a command that fails."""
    return str(getattr(door.call(*words).exception, "code", None))


def test_a_holders_key_is_made(door: Door) -> None:
    """A secret file and a public one; never over another."""
    made = door.record("key", "holder", "ann.key")
    assert Path("ann.key").stat().st_mode & 0o777 == 0o600
    assert Path("ann.key.pub").read_text().startswith("hpke:")
    assert made["digest"].startswith("sha256:")
    assert refused(door, "key", "holder", "ann.key") == "config.exists"
    Path("ann.key.pub").unlink()
    assert refused(door, "key", "holder", "ann.key") == "config.exists"
    assert door.call("key", "holder", "ben.key").stdout.startswith("sha256:")


@pytest.mark.spec("BR-20", "BR-21", "BR-26", "BR-27", "BR-30", "BR-31")
def test_a_service_is_recovered_command_by_command(
    holders: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a plan to a service on a new platform, with the identity that it had."""
    door, old = holders, holders.bench.domain
    owner_key = old.directory / "owner" / "owner.key"
    command = ("keyservice", "recovery")
    plan = ("--threshold", "2", *PUBLIC, "--out", "plan")
    assert door.record(*command, "propose", *plan)["holders"] == 3
    door.record("keyservice", "approve", "plan", "--key", owner_key, "--out", "yes")
    door.record("keyservice", "backup", "backup")
    door.bench.close()
    split = (*command, "split", "plan", *PUBLIC, "--into", "shares")
    assert refused(door, *split) == "approval.pending"
    assert len(door.record(*split, "--approval", "yes")["shares"]) == 3
    shutil.rmtree(old.keyservice_directory)
    shutil.rmtree(old.directory / "platform")
    platform = door.record(*command, "prepare", "new")["platform"]
    assert refused(door, *command, "prepare", "new") == "config.exists"
    request = (*command, "request", "--out", "request", "--domain", "new")
    assert door.record(*request)["platform"] == platform

    def give(name: str, place: int) -> tuple[str | Path, ...]:
        share = f"shares/share-{place}"
        return (
            *command,
            "give",
            share,
            "request",
            "--key",
            f"{name}.key",
            "--out",
            f"{name}.given",
        )

    assert refused(door, *give("ann", 1)) == "endorsement.anchor"
    assert door.record("keyservice", "pin-platform", platform)["pinned"] == [platform]
    assert refused(door, *give("ann", 2)) == "recovery.share"
    assert door.record(*give("ann", 1))["platform"] == platform
    door.record(*give("cat", 3))
    reset = ("keyservice", "reset", "propose", "backup", "--platform", platform)
    door.record(*reset, "--given-up", "500", "--out", "statement")
    door.record("keyservice", "approve", "statement", "--key", owner_key, "--out", "go")
    finish = (*command, "finish", "backup", "request", "statement", "--domain", "new")
    given = ("--share", "ann.given", "--share", "cat.given")
    assert refused(door, *finish, *given[:2], "--approval", "go") == "recovery.too-few"
    assert refused(door, *finish, *given) == "approval.pending"
    said = door.call(*finish, *given, "--approval", "go")
    assert "the service is back" in said.stdout
    monkeypatch.setenv(settings.DOMAIN_VARIABLE, "new")
    new = TrustDomain.load(Path("new"))
    door.bench.store = Store.open(new.keyservice_directory, new.platform())
    seed = door.bench.store.secrets().signing_seed
    assert SigningKey(seed).public == old.identity


def test_only_the_owner_pins_platforms(door: Door) -> None:
    """One more, or another instead."""
    before = door.bench.domain.service.anchors[0].text
    other = SigningKey.generate().public.text
    both = door.record("keyservice", "pin-platform", other, "--keep")
    assert both == {"before": [before], "pinned": [before, other]}
    assert "pinned" in door.call("keyservice", "pin-platform", other).stdout
    facts = json.loads((door.bench.domain.directory / "domain.json").read_text())
    assert facts["anchors"] == {"sim": [other]}
    (door.bench.domain.directory / "owner" / "owner.key").unlink()
    assert refused(door, "keyservice", "pin-platform", before) == "config.missing"


@pytest.mark.spec("BR-20")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--recovery", "2/2", *PUBLIC), "config.value"),
        (("--recovery", "2", *PUBLIC), "config.value"),
        (("--recovery", "x/3", *PUBLIC), "config.value"),
        (PUBLIC, "config.value"),
        (("--recovery", "2/3"), "config.value"),
        (("--recovery", "1/3", *PUBLIC), "message.malformed"),
        (("--recovery", "2/2", *PUBLIC[:2], *PUBLIC[:2]), "message.malformed"),
        (("--recovery", "2/2", "--holder", "ann.key", "--holder", "ben.key"), "config.file"),
        (("--recovery", "2/2", "--holder", "none", *PUBLIC[:2]), "config.file"),
    ],
)
def test_init_makes_nothing_where_the_shares_cannot_be(
    holders: Door, words: tuple[str, ...], code: str
) -> None:
    """Found out before a domain exists."""
    assert refused(holders, "init", "made", *words) == code
    assert not Path("made").exists()


@pytest.mark.spec("BR-21")
def test_init_splits_the_new_key(holders: Door) -> None:
    """One share for each holder, in the domain's folder."""
    made = holders.record("init", "made", "--recovery", "2/3", *PUBLIC)
    assert made["recovery"] == [f"made/recovery/share-{n}" for n in (1, 2, 3)]
    said = holders.call("init", "more", "--recovery", "2/3", *PUBLIC)
    assert said.stdout.count("sealed: give it to its holder") == 3
    assert holders.record("init", "plain")["recovery"] == []


def test_files_that_are_not_there_are_told(holders: Door) -> None:
    """By the code of files."""
    words = ("keyservice", "recovery", "give", "none", "none", "--key", "ann.key", "--out", "x")
    assert refused(holders, *words) == "config.file"
