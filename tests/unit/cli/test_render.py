"""`cloister render`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from cloister.cli.main import app
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from unit.training.kubernetes.rendering import IMAGE, policy_text

_SHORTEST_SECRET = 16
_WORDS = ("--claim", "code=code-store", "--claim", "model=model-store", "--image", IMAGE)
_FILES = [
    "10-configuration.yaml",
    "20-network.yaml",
    "30-jobs.yaml",
    "Containerfile",
    "README.md",
    "initdata.toml",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a trust domain and a policy."""
    TrustDomain.create(
        tmp_path / "domain", "lab.test", moment=read_clock(), url="http://10.1.2.3:8400"
    )
    (tmp_path / "policy.yaml").write_text(policy_text())
    return tmp_path


def _render(folder: Path, *words: str, output: str = "out") -> Result:
    return CliRunner().invoke(
        app,
        [
            *("render", "kubernetes", str(folder / "policy.yaml")),
            *("--domain", str(folder / "domain"), "--output", str(folder / output)),
            *(words or _WORDS),
        ],
    )


def _run_command() -> Any:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group.get_command(typer.Context(group), "run")


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


def _secrets(domain: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file of a trust domain but the public one, in each form that text could have."""
    for file in sorted(domain.rglob("*")):
        if not file.is_file() or file.name == "domain.json":
            continue
        data = file.read_bytes()
        if len(data) < _SHORTEST_SECRET:
            continue
        for form in (data, data.hex().encode(), base64.b64encode(data)):
            yield file.name, form[:_SHORTEST_SECRET]
            yield file.name, form[len(form) // 2 :][:_SHORTEST_SECRET]


def test_files_are_written(folder: Path) -> None:
    """With what a policy must say, for people and for machines."""
    found = _render(folder, *_WORDS, "--json")
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout)
    assert sorted(Path(each).name for each in record["files"]) == _FILES
    assert (record["root_of_trust"], record["claim"]) == ("tdx", "mr_config_id")
    assert record["bound"] is False
    assert "accepts guests with other rules" in found.stderr
    said = _render(folder)
    assert f"mr_config_id of the guests will be {record['digest']}" in said.stdout


def test_no_secret_is_in_any_file(folder: Path) -> None:
    """Neither as it is, nor in hex, nor in base64."""
    assert _render(folder).exit_code == 0
    assert _render(folder, *_WORDS, "--jobset", output="set").exit_code == 0
    written = b"".join([*_contents(folder / "out").values(), *_contents(folder / "set").values()])
    secrets = list(_secrets(folder / "domain"))
    assert {"owner.key"} <= {name for name, _ in secrets}
    assert len({name for name, _ in secrets}) > 2
    assert [name for name, form in secrets if form in written] == []


def test_the_search_for_secrets_finds_one(folder: Path) -> None:
    """Were it there."""
    key = (folder / "domain" / "owner" / "owner.key").read_bytes()
    leaked = f"data: {base64.b64encode(key).decode()}".encode()
    assert any(form in leaked for _, form in _secrets(folder / "domain"))


def test_the_same_call_writes_the_same_bytes(folder: Path) -> None:
    """Over the older files, which are its own."""
    assert _render(folder).exit_code == 0
    first = _contents(folder / "out")
    assert _render(folder).exit_code == 0
    assert _contents(folder / "out") == first


def test_a_policy_that_names_the_digest_is_not_warned_about(folder: Path) -> None:
    """Rendered, named, rendered again: the digest is the same, and it is the policy's."""
    digest = json.loads(_render(folder, *_WORDS, "--json").stdout)["digest"]
    line = f'      mr_config_id: {{one_of: ["{digest}"]}}\n'
    (folder / "policy.yaml").write_text(policy_text(claims=line))
    again = _render(folder, *_WORDS, "--json")
    assert json.loads(again.stdout)["digest"] == digest
    assert json.loads(again.stdout)["bound"] is True
    assert again.stderr == ""


def test_options_arrive(folder: Path) -> None:
    """Each where it belongs."""
    (folder / "rules.rego").write_text("package agent_policy\n")
    found = _render(
        folder,
        *_WORDS,
        *("--runtime-class", "kata-cc", "--receipts", "kept", "--cluster-namespace", "team"),
        *("--cpu", "4", "--memory", "8Gi", "--relay-port", "9443", "--scratch", "3Gi"),
        *("--keyservice", "http://keys.example.org:8400"),
        *("--agent-policy", str(folder / "rules.rego"), "--jobset", "--fixed-ports"),
    )
    assert found.exit_code == 0, found.output
    files = _contents(folder / "out")
    jobset = yaml.safe_load(files["30-jobs.yaml"])
    assert (jobset["kind"], jobset["metadata"]["namespace"]) == ("JobSet", "team")
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["runtimeClassName"] == "kata-cc"
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "8Gi"}
    assert pod["containers"][0]["ports"][0]["containerPort"] == 9443
    assert b"'''\npackage agent_policy\n'''" in files["initdata.toml"]
    assert pod["containers"][0]["args"][-1] == "--fixed-ports"
    assert b"claimName: kept" in files["30-jobs.yaml"]
    assert b"sizeLimit: 3Gi" in files["30-jobs.yaml"]
    assert b"http://keys.example.org:8400" in files["10-configuration.yaml"]


def test_what_pods_are_told_to_run_has_these_options(folder: Path) -> None:
    """Of the command that their image has."""
    assert _render(folder, *_WORDS, "--fixed-ports").exit_code == 0
    said = {
        word
        for job in yaml.safe_load_all((folder / "out" / "30-jobs.yaml").read_text())
        for word in job["spec"]["template"]["spec"]["containers"][0]["args"]
        if word.startswith("--")
    }
    known = {option for each in _run_command().params for option in each.opts}
    assert said - known == set()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--image", "train:latest", *_WORDS[:4]), "config.value"),
        (("--image", IMAGE, "--claim", "code"), "config.value"),
        (("--image", IMAGE, "--claim", "code=a", "--claim", "code=b"), "config.value"),
        ((*_WORDS, "--agent-policy", "missing.rego"), "config.file"),
    ],
)
def test_a_word_that_is_none_is_refused(folder: Path, words: Sequence[str], code: str) -> None:
    """And no file is written."""
    found = _render(folder, *words)
    assert getattr(found.exception, "code", None) == code
    assert not (folder / "out").exists()


def test_rules_that_no_annotation_holds_are_refused(folder: Path) -> None:
    """The cluster would refuse the pod."""
    (folder / "rules.rego").write_bytes(b"#" * 131_073)
    found = _render(folder, *_WORDS, "--agent-policy", str(folder / "rules.rego"))
    assert getattr(found.exception, "code", None) == "config.file"
    (folder / "rules.rego").write_bytes(b"\xff")
    found = _render(folder, *_WORDS, "--agent-policy", str(folder / "rules.rego"))
    assert getattr(found.exception, "code", None) == "config.file"


def test_a_folder_with_other_files_is_left_alone(folder: Path) -> None:
    """Somebody would apply them with ours."""
    (folder / "out").mkdir()
    (folder / "out" / "other.yaml").write_text("kind: Pod\n")
    found = _render(folder)
    assert getattr(found.exception, "code", None) == "config.exists"
    assert [each.name for each in (folder / "out").iterdir()] == ["other.yaml"]
