"""The words of `cloister policy draft`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloister.cli.draft import (
    DraftWords,
    WorkloadWords,
    draft_from_words,
    is_store,
    program_of,
    program_of_all,
)
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.model import Unchecked
from cloister.launcher.local import LocalFacts
from cloister.volume.opening import create_volume

_FACTS = LocalFacts("ed25519:" + "ab" * 32, b"l" * 32, b"r" * 32, 1)


def _words(base: Path, code: Path, **role: Any) -> DraftWords:
    return DraftWords(
        name="p",
        namespace="n",
        code=code,
        workloads={"w": WorkloadWords(command="/bin/sh -c 'a b'", **role)},
        logs="drop",
        predecessor="none",
        base=base,
    )


def test_a_draft_is_a_valid_policy(tmp_path: Path, plain: Path) -> None:
    """Pins what is read, follows what is written, and names each volume once."""
    for name in ("data", "Out Put"):
        create_volume(tmp_path / name, b"k" * 32)
    words = _words(
        tmp_path,
        plain,
        volumes=(f"/data={tmp_path}/data:read", f"/out={tmp_path}/Out Put:write"),
        environment=("SEED=7", "EMPTY="),
        listen=("api=8443",),
        clients=("spiffe://example.org/n/clients/ann/*",),
    )
    policy = parse_policy(draft_from_words(words, _FACTS).encode(), source="draft")
    role = policy.workloads["w"]
    assert tuple(role.command) == ("/bin/sh", "-c", "a b")
    assert dict(role.environment) == {"SEED": "7", "EMPTY": ""}
    assert {path: mount.access for path, mount in role.volumes.items()} == {
        "/data": "read",
        "/out": "write",
    }
    assert policy.volumes["out-put"].root == "latest"
    assert policy.volumes["data"].root.startswith("sha256:")
    assert policy.volumes["data"].location == "data"
    assert role.listen["api"].port == 8443
    assert role.output.logs == "drop"


def test_regions_are_those_of_a_volume(tmp_path: Path, plain: Path) -> None:
    """By the volume's name in the policy; what is none, or said twice, is refused."""
    create_volume(tmp_path / "out", b"k" * 32)
    words = _words(tmp_path, plain, volumes=(f"/out={tmp_path}/out:write",))

    def drafted(*regions: str) -> object:
        text = draft_from_words(replace(words, regions=regions), _FACTS)
        return parse_policy(text.encode(), source="draft").volumes["out"].regions

    assert drafted() is None
    assert drafted("out:/a=plain", "out:/b/c=ephemeral") == {"/a": "plain", "/b/c": "ephemeral"}
    for bad in ("in:/a=plain", "/a=plain", "out:/a", "out:/a=open", ""):
        with pytest.raises(ConfigError) as caught:
            drafted(bad)
        assert caught.value.code == "config.value"
    with pytest.raises(ConfigError):
        drafted("out:/a=plain", "out:/a=plain")
    with pytest.raises(MalformedError) as invalid:
        drafted("out:a=plain")
    assert invalid.value.code == "policy.invalid"


def test_sealed_code_is_mounted_as_code(tmp_path: Path) -> None:
    """A volume's store is told from a plain folder."""
    create_volume(tmp_path / "code", b"k" * 32)
    assert is_store(tmp_path / "code")
    assert not is_store(tmp_path)
    text = draft_from_words(_words(tmp_path, tmp_path / "code"), _FACTS)
    policy = parse_policy(text.encode(), source="draft")
    assert policy.workloads["w"].volumes["/code"].volume == "code"


@pytest.mark.parametrize(
    "role",
    [
        {"volumes": ("data=store:read",)},
        {"volumes": ("/data=store",)},
        {"volumes": ("/data=store:append",)},
        {"environment": ("SEED",)},
        {"listen": ("api=http",)},
        {"listen": ("api=1",)},
        {"listen": ("api=1", "more=2"), "clients": ("api=spiffe://example.org/lab/clients/a/1",)},
        {"clients": ("spiffe://example.org/lab/clients/ann/1",)},
        {"any_client": "nobody listens"},
        {"listen": ("api=1",), "any_client": "trial"},
        {"listen": ("api=1",), "any_client": "r" * 301},
        {"listen": ("api=1",), "any_client": "two\nlines of it"},
        {
            "listen": ("api=1",),
            "clients": ("spiffe://example.org/lab/clients/ann/1",),
            "any_client": "they have clients",
        },
        {"listen": ("api=1",), "clients": ("other=spiffe://example.org/lab/clients/ann/1",)},
        {"clients": ("api=spiffe://example.org/lab/clients/ann/1",)},
    ],
)
def test_words_that_cannot_be_read_are_refused(
    tmp_path: Path, plain: Path, role: dict[str, Any]
) -> None:
    """With how to write them."""
    with pytest.raises(ConfigError) as caught:
        draft_from_words(_words(tmp_path, plain, **role), _FACTS)
    assert caught.value.code == "config.value"
    assert caught.value.hint


def test_a_draft_names_its_clients(tmp_path: Path, plain: Path) -> None:
    """Of each listener its own; one without any is open for the reason that was given."""
    ann, ben = (f"spiffe://example.org/lab/clients/{name}/*" for name in ("ann", "ben"))
    words = _words(
        tmp_path,
        plain,
        listen=("api=8443", "open=8444"),
        clients=(f"api={ann}", f"api={ben}"),
        any_client="a health check",
    )
    listen = (
        parse_policy(draft_from_words(words, _FACTS).encode(), source="draft").workloads["w"].listen
    )
    assert listen["api"].clients == (ann, ben)
    assert listen["open"].clients == Unchecked(unchecked="a health check")


def test_a_client_without_a_listeners_name_is_for_all(tmp_path: Path, plain: Path) -> None:
    """Once each, also where somebody is named twice."""
    ann, ben = (f"spiffe://example.org/lab/clients/{name}/*" for name in ("ann", "ben"))
    words = _words(
        tmp_path, plain, listen=("api=8443", "more=8444"), clients=(ann, f"more={ben}", ann)
    )
    text = draft_from_words(words, _FACTS)
    listen = parse_policy(text.encode(), source="draft").workloads["w"].listen
    assert listen["api"].clients == (ann,)
    assert listen["more"].clients == (ann, ben)
    assert "unchecked" not in "".join(line for line in text.splitlines() if "port:" in line)


def test_a_client_that_is_none_makes_no_draft(tmp_path: Path, plain: Path) -> None:
    """A name is a SPIFFE ID."""
    words = _words(tmp_path, plain, listen=("api=8443",), clients=("api=ann",))
    with pytest.raises(MalformedError) as caught:
        draft_from_words(words, _FACTS)
    assert caught.value.code == "policy.invalid"


@pytest.mark.parametrize("command", ["", "'open"])
def test_a_command_without_a_program_is_refused(command: str) -> None:
    """There is nothing to measure."""
    with pytest.raises(ConfigError) as caught:
        program_of(command)
    assert caught.value.code == "config.value"
    assert program_of("python -m x") == "python"


def test_a_draft_measures_one_program() -> None:
    """Commands that begin with two have two runtimes."""
    words = [WorkloadWords(command=f"python /code/{name}.py") for name in "ab"]
    assert program_of_all(words) == "python"
    with pytest.raises(ConfigError):
        program_of_all([*words, WorkloadWords(command="/bin/sh /code/c.sh")])
